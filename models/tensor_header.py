"""The header of a safetensors file, checked before anything is built from it; needs no torch.

Format: https://huggingface.co/docs/safetensors. Eight bytes of length, a JSON object of that length, the tensors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import ArtifactError

LIMIT = 4 * 1024 * 1024
LENGTH_BYTES = 8
START = b"{"
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}

_MOST_DIMENSIONS = 8
_METADATA = "__metadata__"

# Possessive throughout: the time is linear in the header's length, whatever it holds.
_SPACE = rb"[ \t\r\n]*+"
_STRING = rb'"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*+"'
_WHOLE = rb"[0-9]{1,16}+"
_WHOLES = rb"\[" + _SPACE + rb"(?:" + _WHOLE + _SPACE + rb"(?:," + _SPACE + _WHOLE + _SPACE + rb")*+)?+\]"
_FIELD = _STRING + _SPACE + rb":" + _SPACE + rb"(?:" + _STRING + rb"|" + _WHOLES + rb")" + _SPACE
_VALUE = rb"\{" + _SPACE + rb"(?:" + _FIELD + rb"(?:," + _SPACE + _FIELD + rb")*+)?+\}"
_ENTRY = re.compile(
    rb"(?P<key>" + _STRING + rb")" + _SPACE + rb":" + _SPACE + rb"(?P<value>" + _VALUE + rb")" + _SPACE
)
_BLANK = re.compile(_SPACE)


@dataclass(frozen=True, slots=True)
class Extent:
    """One tensor: its type, its shape, and where in the file its bytes start and end."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def extents(content: memoryview, name: str) -> dict[str, Extent]:
    """Where the tensors are: within the file, one after the other, each of the size that its shape says.

    Memory is a small multiple of the header's LIMIT. Raises ArtifactError that names the file and the tensor.
    """
    length = _length(content, name)
    body = LENGTH_BYTES + length
    found: dict[str, Extent] = {}
    for key, value in _entries(bytes(content[LENGTH_BYTES:body]), name):
        if key in found:
            raise ArtifactError(f"{name}: its header lists {key!r} twice")
        found[key] = _extent(value, body, f"{name}: {key!r}")
    found.pop(_METADATA, None)
    _check_tiling(found, body, len(content), name)
    return found


def _length(content: memoryview, name: str) -> int:
    if len(content) < LENGTH_BYTES:
        raise ArtifactError(f"{name}: {len(content)} bytes are too few for a safetensors file")
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    if length > len(content) - LENGTH_BYTES:
        raise ArtifactError(f"{name}: its header claims {length} bytes; the file has {len(content)}")
    if length > LIMIT:
        raise ArtifactError(f"{name}: its header claims {length} bytes; at most {LIMIT} are read")
    return length


def _entries(header: bytes, name: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Key and fields of each entry, read one at a time, so that nothing is built from what comes after a fault."""
    position, separator = 0, START
    while separator != b"}":
        if header[position : position + 1] != separator:
            raise _not_one(name, position)
        position = _after_blanks(header, position + 1)
        if separator == START and header[position : position + 1] == b"}":
            break
        if (entry := _ENTRY.match(header, position)) is None:
            raise _not_one(name, position)
        yield _decoded(entry, name, position)
        position = entry.end()
        separator = b"}" if header[position : position + 1] == b"}" else b","
    if header[position + 1 :].strip(b" "):
        raise ArtifactError(f"{name}: its header goes on after its end, at byte {position + 1}")


def _after_blanks(header: bytes, position: int) -> int:
    blank = _BLANK.match(header, position)
    return blank.end() if blank else position


def _decoded(entry: re.Match[bytes], name: str, position: int) -> tuple[str, dict[str, object]]:
    try:
        key = json.loads(entry["key"])
        fields = json.loads(entry["value"], object_pairs_hook=list)
    except ValueError as error:
        raise _not_one(name, position) from error
    if not key.isprintable():
        raise ArtifactError(f"{name}: its header has a name that cannot be printed: {key!r}")
    if len(dict(fields)) != len(fields):
        raise ArtifactError(f"{name}: {key!r} says the same thing twice")
    if key == _METADATA:
        return key, {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    return key, dict(fields)


def _not_one(name: str, position: int) -> ArtifactError:
    return ArtifactError(f"{name}: its header is not one of safetensors, at byte {position}")


def _extent(fields: dict[str, object], body: int, place: str) -> Extent:
    if set(fields) != {"dtype", "shape", "data_offsets"}:
        raise ArtifactError(
            f"{place} has {', '.join(sorted(fields))}; a tensor has dtype, shape, data_offsets"
        )
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ArtifactError(f"{place} is of type {dtype!r}; there are {', '.join(ITEM_BYTES)}")
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS:
        raise ArtifactError(f"{place} has no shape of at most {_MOST_DIMENSIONS} dimensions")
    if not isinstance(offsets, list) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ArtifactError(f"{place} has no start and end")
    size = math.prod(shape) * ITEM_BYTES[dtype]
    if size != offsets[1] - offsets[0]:
        raise ArtifactError(
            f"{place} contradicts itself: shape {shape} of {dtype} is {size} bytes, its place has "
            f"{offsets[1] - offsets[0]}"
        )
    return Extent(dtype, tuple(shape), body + offsets[0], body + offsets[1])


def _check_tiling(found: dict[str, Extent], body: int, size: int, name: str) -> None:
    """One after the other, without gap or overlap, up to the end of the file."""
    position = body
    for key, extent in sorted(found.items(), key=lambda item: (item[1].start, item[1].end)):
        if extent.end > size:
            raise ArtifactError(
                f"{name}: {key!r} ends at byte {extent.end}; the file has {size}: it is truncated"
            )
        if extent.start != position:
            fault = "overlaps the one before" if extent.start < position else "leaves a gap before it"
            raise ArtifactError(f"{name}: {key!r} {fault}, at byte {extent.start}")
        position = extent.end
    if position != size:
        raise ArtifactError(f"{name}: its tensors end at byte {position}, the file at {size}: it is padded")
