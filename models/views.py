"""Tensors as views of bytes that were checked."""

from __future__ import annotations

import torch

from models.tensor_header import Extent

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F64": torch.float64,
}


def viewed(content: memoryview, extent: Extent) -> torch.Tensor:
    """A tensor over the bytes of an extent; nothing is copied where they are aligned, as writers align them."""
    dtype = DTYPES[extent.dtype]
    if extent.start == extent.end:
        return torch.empty(extent.shape, dtype=dtype)
    part = content[extent.start : extent.end]
    source = bytearray(part) if extent.start % dtype.itemsize else part
    return torch.frombuffer(source, dtype=dtype).view(extent.shape)
