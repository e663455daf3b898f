"""Files of a model: verified before anything parses them; pickle is refused, always."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from models.errors import ArtifactError

_HEADER_LIMIT = 16 * 1024 * 1024
_LENGTH_BYTES = 8
_HEADER_START = b"{"
_PICKLE_OR_ZIP = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


def verified(folder: Path, name: str, digest: str) -> bytes:
    """Content of a file whose SHA-256 is the given one. Raises ArtifactError that names file and reason."""
    path = folder / name
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ArtifactError(f"{path}: not a regular file; links are not followed")
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ArtifactError(
            f"{path}: its SHA-256 is {found[:12]}…, the manifest says {digest[:12]}…; push the version anew"
        )
    return content


def tensors(content: bytes, name: str) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file whose header stays within its bounds. Raises ArtifactError."""
    _check_kind(content, name)
    _check_header(content, name)
    try:
        loaded: dict[str, torch.Tensor] = safetensors.torch.load(content)
    except SafetensorError as error:
        raise ArtifactError(f"{name}: its header contradicts itself: {error}") from error
    return loaded


def _check_kind(content: bytes, name: str) -> None:
    # The first bytes alone do not tell: a header of 640 bytes begins as a pickle of protocol 2 does.
    if content[_LENGTH_BYTES : _LENGTH_BYTES + 1] != _HEADER_START and content.startswith(_PICKLE_OR_ZIP):
        raise ArtifactError(f"{name}: looks like a pickle or an archive; only safetensors are loaded")


def _check_header(content: bytes, name: str) -> None:
    if len(content) < _LENGTH_BYTES:
        raise ArtifactError(f"{name}: {len(content)} bytes are too few for a safetensors file")
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if length > min(_HEADER_LIMIT, len(content) - _LENGTH_BYTES):
        raise ArtifactError(f"{name}: its header claims {length} bytes; the file has {len(content)}")
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        end = max(
            (int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"),
            default=0,
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{name}: its header is not one of safetensors: {error!r}") from error
    if end != len(content) - _LENGTH_BYTES - length:
        raise ArtifactError(f"{name}: its tensors do not end where the file does; it is truncated or padded")
