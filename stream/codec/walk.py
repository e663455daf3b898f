"""Walks one encoded record by its shape: says exactly where it ends, or what is wrong and at which byte.

Stricter than both Avro libraries, which accept integers that do not fit, booleans other than 0 and 1, negative
branches and symbols, and wrong block sizes. Accepts every encoding that the Avro specification allows.
"""

from __future__ import annotations

from collections.abc import Callable

from stream.codec.shapes import Shape, least_bytes
from stream.errors import DecodeError

Step = Callable[[bytes, int], int]

_VARINT_BITS = 70
_INT = (-(1 << 31), (1 << 31) - 1)


class Walker:
    """Checks records of one shape."""

    def __init__(self, shape: Shape) -> None:
        self._step = _compiled(shape)

    def check(self, value: bytes, start: int = 0) -> None:
        """Raises DecodeError unless the bytes from `start` are one record and nothing else."""
        end = self.end(value, start)
        if end < len(value):
            raise DecodeError(f"{len(value) - end} bytes follow the record's end at byte {end}")

    def end(self, value: bytes, start: int = 0) -> int:
        """Where the record that begins at `start` ends. Raises DecodeError unless there is a whole one."""
        try:
            end = self._step(value, start)
        except IndexError:
            raise DecodeError(f"the value ends inside the record, at byte {len(value)}") from None
        if end > len(value):
            raise DecodeError(f"the value ends inside the record, at byte {len(value)}")
        return end


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint of at most 64 bits, and where it ends."""
    start, bits, shift = at, 0, 0
    while True:
        byte = data[at]
        at += 1
        bits |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift >= _VARINT_BITS:
            raise DecodeError(f"an integer at byte {start} is longer than 10 bytes")
    if bits >> 64:
        raise DecodeError(f"an integer at byte {start} does not fit 64 bits")
    return (bits >> 1) ^ -(bits & 1), at


def _compiled(shape: Shape) -> Step:
    if shape.kind in _LEAVES:
        return _LEAVES[shape.kind]
    if shape.kind == "fixed":
        return _skip(shape.size)
    if shape.kind == "enum":
        return _enum(len(shape.names))
    steps = [_compiled(part) for part in shape.parts]
    if shape.kind == "record":
        return _record(steps)
    if shape.kind == "nullable":
        return _union([_skip(0), *steps] if shape.size == 0 else [*steps, _skip(0)])
    if shape.kind == "union":
        return _union(steps)
    if shape.kind == "map":
        return _blocks(_record([_string, *steps]), 1 + least_bytes(shape.parts[0]))
    return _blocks(steps[0], least_bytes(shape.parts[0]))


def _skip(size: int) -> Step:
    def step(_: bytes, at: int) -> int:
        return at + size

    return step


def _int(data: bytes, at: int) -> int:
    number, end = _number(data, at)
    if not _INT[0] <= number <= _INT[1]:
        raise DecodeError(f"the int at byte {at} does not fit 32 bits")
    return end


def _long(data: bytes, at: int) -> int:
    return _number(data, at)[1]


def _boolean(data: bytes, at: int) -> int:
    if data[at] > 1:
        raise DecodeError(f"the boolean at byte {at} is {data[at]}, neither 0 nor 1")
    return at + 1


def _bytes(data: bytes, at: int) -> int:
    return _span(data, at)[1]


def _span(data: bytes, at: int) -> tuple[int, int]:
    size, start = _number(data, at)
    if size < 0:
        raise DecodeError(f"the length at byte {at} is negative, {size}")
    if start + size > len(data):
        raise DecodeError(f"the length at byte {at} says {size} bytes, {max(len(data) - start, 0)} are left")
    return start, start + size


def _string(data: bytes, at: int) -> int:
    start, end = _span(data, at)
    try:
        data[start:end].decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"the string at byte {start} is not UTF-8 at byte {start + error.start}") from error
    return end


def _enum(symbols: int) -> Step:
    def step(data: bytes, at: int) -> int:
        index, end = _number(data, at)
        if not 0 <= index < symbols:
            raise DecodeError(f"the enum at byte {at} has symbol {index} of {symbols}")
        return end

    return step


def _record(steps: list[Step]) -> Step:
    def step(data: bytes, at: int) -> int:
        for field in steps:
            at = field(data, at)
        return at

    return step


def _union(steps: list[Step]) -> Step:
    def step(data: bytes, at: int) -> int:
        branch, start = _number(data, at)
        if not 0 <= branch < len(steps):
            raise DecodeError(f"the union at byte {at} has branch {branch} of {len(steps)}")
        return steps[branch](data, start)

    return step


def _blocks(item: Step, least: int) -> Step:
    """Array or map: blocks of items, each at least `least` bytes long, until an empty block."""

    def step(data: bytes, at: int) -> int:
        while True:
            count, start, declared = _block(data, at)
            if count == 0:
                return start
            if count * least > len(data) - start:
                raise DecodeError(
                    f"the block at byte {at} says {count} items, {len(data) - start} bytes are left"
                )
            end = start
            for _ in range(count):
                end = item(data, end)
            if declared is not None and end - start != declared:
                raise DecodeError(f"the block at byte {at} says {declared} bytes and takes {end - start}")
            at = end

    return step


def _block(data: bytes, at: int) -> tuple[int, int, int | None]:
    """Count of items, where they begin, and their bytes if the block says so."""
    count, start = _number(data, at)
    if count >= 0:
        return count, start, None
    declared, start = _number(data, start)
    return -count, start, declared


_LEAVES: dict[str, Step] = {
    "null": _skip(0),
    "boolean": _boolean,
    "int": _int,
    "long": _long,
    "float": _skip(4),
    "double": _skip(8),
    "string": _string,
    "bytes": _bytes,
}
