"""Files of a model: opened without following links, told apart by content, checked before anything parses them.

There are three kinds: safetensors, exported programs and JSON. Whatever else there is, a pickle in any wrapping
above all, is none of them and refused.
"""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models.devices import CPU
from models.errors import ArtifactError
from models.exported import ZIP, Archive
from models.manifest import Kind, Manifest, parse_json
from models.tensor_header import LENGTH_BYTES, START, Extent, extents

if TYPE_CHECKING:
    import torch

JSON_LIMIT = 64 * 1024 * 1024

_FOREIGN = {
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"ZF": "a joblib file",
    b"\x1f\x8b": "a gzip file",
    b"x\x01": "a zlib stream, as joblib writes",
    b"x\x5e": "a zlib stream, as joblib writes",
    b"x\x9c": "a zlib stream, as joblib writes",
    b"x\xda": "a zlib stream, as joblib writes",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x04\x22\x4d\x18": "an lz4 file",
    ZIP: "an archive",
}


def opened(anchor: Path, *parts: str, size: int) -> int:
    """A descriptor of the regular file of that size under `anchor`; no part may be a link. Raises ArtifactError."""
    path = anchor.joinpath(*parts)
    folder = -1
    try:
        folder = os.open(anchor, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        # A pipe without a writer would be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return _checked(os.open(parts[-1], flags, dir_fd=folder), path, size)
    except OSError as error:
        if path.is_symlink() or any(parent.is_symlink() for parent in path.parents[: len(parts) - 1]):
            raise ArtifactError(f"{path}: not a regular file; links are not followed") from error
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        if folder >= 0:
            os.close(folder)


def read(folder: Path, name: str, size: int) -> memoryview:
    """A file of the version in `<name>/<version>`, in writable memory of its own. Raises ArtifactError."""
    descriptor = opened(folder.parent.parent, folder.parent.name, folder.name, name, size=size)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
        content = memoryview(mmap.mmap(-1, size)) if size else memoryview(bytearray())
        position = 0
        while position < size:
            if not (count := file.readinto(content[position:])):
                raise ArtifactError(
                    f"{folder / name}: it ends at byte {position} of {size}; push the version anew"
                )
            position += count
    return content


def tensors(content: memoryview, name: str) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file, views of `content`. Raises ArtifactError before anything is built."""
    found = safetensors(content, name)
    # torch takes seconds to import, which whoever only looks at files does not owe.
    from models.views import viewed

    return {key: viewed(content, extent) for key, extent in found.items()}


def program(content: memoryview, name: str, device: str = CPU) -> torch.nn.Module:
    """The module of an exported program, on a device; nothing in it is unpickled, compiled or evaluated.

    Raises ArtifactError, and MemoryError or DeviceError where the device is to blame.
    """
    archive = Archive(content, name)
    from models.programs import module

    return module(archive, device)


def safetensors(content: memoryview, name: str) -> dict[str, Extent]:
    """Where the tensors of a safetensors file are. Raises ArtifactError."""
    # The first bytes alone do not tell: a header of 640 bytes begins as a pickle of protocol 2 does.
    if content[LENGTH_BYTES : LENGTH_BYTES + 1] != START:
        _refuse_foreign(content, name, "safetensors")
    return extents(content, name)


def check(content: memoryview, name: str, kind: Kind | Literal["json"]) -> int:
    """Bytes of its tensors, of a file that is of that kind by its content. Raises ArtifactError for any other."""
    if kind == "safetensors":
        return sum(extent.end - extent.start for extent in safetensors(content, name).values())
    if kind == "pt2":
        return Archive(content, name).tensor_bytes
    _refuse_foreign(content, name, "JSON")
    if len(content) > JSON_LIMIT:
        raise ArtifactError(f"{name}: {len(content)} bytes; of JSON at most {JSON_LIMIT} are read")
    try:
        parse_json(bytes(content))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name}: neither weights that a precision names nor JSON: {error}") from error
    return 0


def kinds(manifest: Manifest) -> dict[str, Kind | Literal["json"]]:
    """What each file of a version has to be."""
    weights = {variant.file: variant.kind for variant in manifest.precisions.values()}
    return {name: weights.get(name, "json") for name in manifest.files}


def _checked(descriptor: int, path: Path, size: int) -> int:
    state = os.fstat(descriptor)
    if stat.S_ISREG(state.st_mode) and state.st_size == size:
        return descriptor
    os.close(descriptor)
    if not stat.S_ISREG(state.st_mode):
        raise ArtifactError(f"{path}: not a regular file")
    raise ArtifactError(
        f"{path}: {state.st_size} bytes, the manifest says {size}: it is truncated or another; push the version anew"
    )


def _refuse_foreign(content: memoryview, name: str, wanted: str) -> None:
    for start, what in _FOREIGN.items():
        if content[: len(start)] == start:
            raise ArtifactError(
                f"{name}: looks like {what}; {wanted} is wanted, and pickles are never loaded"
            )
