"""Exported programs, built from an archive that was checked."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor
from torch._export.serde import schema
from torch._export.serde.serialize import (
    ExportedProgramDeserializer,
    _dict_to_dataclass,
    deserialize_scalar_type,
)
from torch.nn.functional import scaled_dot_product_attention

from models.errors import ArtifactError
from models.exported import Archive
from models.program_rules import Payload

# torch's deserializer keeps its state in a global and refuses to work twice at once.
_ALONE = threading.Lock()


def module(archive: Archive) -> torch.nn.Module:
    """The module of an exported program; its weights are views of the archive. Raises ArtifactError.

    `torch.export.load` would unpickle what an archive holds (weights, constants, sample inputs), so the tensors are
    taken from their bytes here, and torch gets the checked program and nothing else.
    """
    state = {key: _tensor(archive, payload) for key, payload in archive.weights.items()}
    constants = {key: _tensor(archive, payload) for key, payload in archive.constants.items()}
    try:
        described: Any = _dict_to_dataclass(schema.ExportedProgram, archive.program)  # type: ignore[no-untyped-call]
        with _ALONE:
            exported = ExportedProgramDeserializer().deserialize(described, state, constants, None)
        return _guarded(exported.module(check_guards=False))
    except Exception as error:
        raise ArtifactError(
            f"{archive.name}: torch {torch.__version__} cannot build this program: {error}; "
            "export it anew with this torch"
        ) from error


def _guarded(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.scaled_dot_product_attention.default:
            node.target = _attention
    module.recompile()
    return module


def _attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
    """torch's own reads past the end of `key` where `value` is longer (2.15, on a CPU)."""
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(f"keys of shape {tuple(key.shape)} have values of shape {tuple(value.shape)}")
    return scaled_dot_product_attention(query, key, value, *rest, **options)


def _tensor(archive: Archive, payload: Payload) -> torch.Tensor:
    content = archive.member(payload.path)
    dtype = deserialize_scalar_type(schema.ScalarType(payload.dtype))
    if not content:
        return torch.empty(payload.sizes, dtype=dtype)
    flat = torch.frombuffer(content, dtype=dtype, count=len(content) // dtype.itemsize)
    tensor = flat.as_strided(payload.sizes, payload.strides, payload.offset)
    return torch.nn.Parameter(tensor, requires_grad=False) if payload.is_parameter else tensor
