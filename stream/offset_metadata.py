"""What is complete beyond a committed offset, as the text that travels in the commit's metadata: pure.

A set of offsets is an array of shape (n, 2): runs [start, stop), ascending, apart from each other, none before the
committed offset. It is written as the shorter of two forms, both in base64 behind a name that carries the version:

    cs1r…  variable-length integers: from the committed offset to the first run, its length, to the next run, …
    cs1b…  one bit an offset, from the committed offset on

A check sum covers the committed offset as well, so that a text which was cut, or belongs to another offset, is noticed.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator

import numpy as np

from stream.records import Flags, Integers

MOST_CHARACTERS = 4_000
_RUNS, _BITMAP = "cs1r", "cs1b"
_CHECK_BYTES = 4
_PAYLOAD = (MOST_CHARACTERS - len(_RUNS)) * 3 // 4 - _CHECK_BYTES
_LONGEST_INTEGER = 9
_LARGEST = 2**63 - 1

# Whatever completes of offsets that span so much from the committed one on, its bitmap fits; and whatever completes of
# fewer records than that, however far apart, their runs fit: a run needs two integers, and a record beyond it ends it.
MOST_OFFSETS = 8 * _PAYLOAD
MOST_INTEGERS = _PAYLOAD // _LONGEST_INTEGER

NOTHING: Integers = np.empty((0, 2), np.int64)


def written(committed: int, runs: Integers) -> str:
    """The text for a set; empty for the empty set. ValueError where neither form fits."""
    if len(runs) == 0:
        return ""
    distances = np.diff(runs.ravel(), prepend=committed)
    bits = int(runs[-1, 1]) - committed
    in_runs = _integer_bytes(distances)
    if min(in_runs, -(-bits // 8)) > _PAYLOAD:
        raise ValueError(f"{len(runs)} runs over {bits} offsets do not fit into a commit's metadata")
    if in_runs * 8 <= bits:
        return _text(_RUNS, committed, b"".join(map(_as_bytes, distances.tolist())))
    return _text(_BITMAP, committed, _as_bitmap(committed, runs, bits))


def read(committed: int, text: str) -> Integers:
    """The set in a text; ValueError, which says why, for one that this version did not write for this offset."""
    if not text:
        return NOTHING
    kind, body = text[: len(_RUNS)], text[len(_RUNS) :]
    if kind not in {_RUNS, _BITMAP} or len(text) > MOST_CHARACTERS:
        raise ValueError("it is of another version or another program")
    try:
        content = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is no base64") from error
    if base64.b64encode(content).decode() != body:
        raise ValueError("it is no base64 that this version writes")
    check, payload = content[:_CHECK_BYTES], content[_CHECK_BYTES:]
    if check != _check(kind, committed, payload) or not payload:
        raise ValueError("its check sum is wrong, or it belongs to another offset")
    return _from_integers(committed, payload) if kind == _RUNS else _from_bitmap(committed, payload)


def contains(runs: Integers, offsets: Integers) -> Flags:
    """Which offsets are in a set that is not empty."""
    place = np.searchsorted(runs[:, 0], offsets, side="right") - 1
    found: Flags = (place >= 0) & (offsets < runs[np.maximum(place, 0), 1])
    return found


def _text(kind: str, committed: int, payload: bytes) -> str:
    return kind + base64.b64encode(_check(kind, committed, payload) + payload).decode()


def _check(kind: str, committed: int, payload: bytes) -> bytes:
    return zlib.crc32(f"{kind} {committed} ".encode() + payload).to_bytes(_CHECK_BYTES, "big")


def _as_bitmap(committed: int, runs: Integers, bits: int) -> bytes:
    edges = np.zeros(bits + 1, np.int8)
    edges[runs[:, 0] - committed] = 1
    edges[runs[:, 1] - committed] = -1
    return np.packbits(np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)).tobytes()


def _from_bitmap(committed: int, payload: bytes) -> Integers:
    bits = np.unpackbits(np.frombuffer(payload, np.uint8)).astype(np.int8)
    edges = np.flatnonzero(np.diff(bits, prepend=0, append=0))
    return edges.reshape(-1, 2).astype(np.int64) + committed


def _integer_bytes(numbers: Integers) -> int:
    """Bytes of variable-length integers, seven bits a byte."""
    limits = np.array([1 << (7 * n) for n in range(1, _LONGEST_INTEGER)], np.int64)
    return int(np.searchsorted(limits, numbers, side="right").sum()) + len(numbers)


def _as_bytes(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _from_integers(committed: int, payload: bytes) -> Integers:
    distances = list(_integers(payload))
    if len(distances) % 2 or 0 in distances[1:] or committed + sum(distances) > _LARGEST:
        raise ValueError("its runs are no runs")
    return (np.cumsum(np.array(distances, np.int64)) + committed).reshape(-1, 2)


def _integers(payload: bytes) -> Iterator[int]:
    number, shift = 0, 0
    for byte in payload:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number, shift = 0, 0
    if shift:
        raise ValueError("its last run is cut")
