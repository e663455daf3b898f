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
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from models.devices import CPU, told_apart
from models.errors import ArtifactError, DeviceError
from models.exported import Archive
from models.program_guards import guarded
from models.program_rules import Payload

# torch's deserializer keeps its state in a global and refuses to work twice at once.
_ALONE = threading.Lock()


def module(archive: Archive, device: str = CPU) -> torch.nn.Module:
    """The module of an exported program; on a CPU its weights are views of the archive.

    `torch.export.load` would unpickle what an archive holds (weights, constants, sample inputs), so the tensors are
    taken from their bytes here, and torch gets the checked program and nothing else.

    Raises ArtifactError, MemoryError, DeviceError.
    """
    try:
        with told_apart(device):
            exported = _exported(archive)
            if device != CPU:
                # It was exported on a CPU, and says so where it makes a tensor or asserts where one is.
                exported = move_to_device_pass(exported, device)
            return guarded(_registered(exported.module(check_guards=False)), indices=device != CPU)
    except (OSError, MemoryError, DeviceError):
        raise
    except Exception as error:
        raise ArtifactError(
            f"{archive.name}: torch {torch.__version__} cannot build this program: {error}; "
            "export it anew with this torch"
        ) from error


def _exported(archive: Archive) -> ExportedProgram:
    state = {key: _tensor(archive, payload) for key, payload in archive.weights.items()}
    constants = {key: _tensor(archive, payload) for key, payload in archive.constants.items()}
    described: Any = _dict_to_dataclass(schema.ExportedProgram, archive.program)  # type: ignore[no-untyped-call]
    with _ALONE:
        return ExportedProgramDeserializer().deserialize(described, state, constants, None)


def _registered(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Its constants become buffers, which a module counts and lets go of."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor):
                delattr(part, name)
                part.register_buffer(name, value, persistent=False)
    return module


def _tensor(archive: Archive, payload: Payload) -> torch.Tensor:
    content = archive.member(payload.path)
    dtype = deserialize_scalar_type(schema.ScalarType(payload.dtype))
    if not content:
        return torch.empty(payload.sizes, dtype=dtype)
    flat = torch.frombuffer(content, dtype=dtype, count=len(content) // dtype.itemsize)
    tensor = flat.as_strided(payload.sizes, payload.strides, payload.offset)
    return torch.nn.Parameter(tensor, requires_grad=False) if payload.is_parameter else tensor
