"""Readers of one writer schema under one framing: the fast path first, the reference for whatever it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from stream.codec.definitions import aliases
from stream.codec.exact import Lengths
from stream.codec.fast import FastReader, is_fast
from stream.codec.framing import Framing
from stream.codec.reference import Reference, to_batch
from stream.codec.resolution import check_meaning, project
from stream.codec.shapes import Shape, parse
from stream.errors import RecordError

# Where a fault is among so few, the reference finds it sooner than further halving.
_LEAF = 16


@dataclass(frozen=True, slots=True)
class Target:
    """What every writer's records become."""

    schema: Mapping[str, Any]
    shape: Shape
    arrow: pa.Schema


@dataclass(frozen=True, slots=True)
class Read:
    """Columns of the good values, the place of each among those given, and what was wrong with the others."""

    claims: pa.RecordBatch
    places: list[int]
    failures: list[tuple[int, RecordError]]


class WriterReader:
    """Reads values that begin with one prefix into the target's columns. Raises UsageError for a bad schema."""

    def __init__(self, writer: Mapping[str, Any], target: Target, framing: Framing, prefix: bytes) -> None:
        shape = parse(writer)
        names = aliases(target.schema, target.shape, target.arrow)
        check_meaning(shape, target.shape, shape.full_name, names)
        self._target = target
        self._start = len(prefix)
        self._reference = Reference(writer, target.schema, shape, target.shape)
        self._fast: FastReader | None = None
        if is_fast(shape):
            self._projection = project(target.schema, shape, target.shape, target.arrow)
            self._fast = FastReader(writer, shape, framing, prefix) if self._projection else None

    def whole(self, values: list[bytes], given: Lengths) -> pa.RecordBatch | None:
        """All values (of `given` bytes) at once; None if there is anything the matter with one of them."""
        if self._fast is None or self._projection is None:
            return None
        written = self._fast.read(values, given)
        return None if written is None else self._projection.apply(written)

    def each(self, values: list[bytes]) -> Read:
        """Every value on its own merits."""
        return joined(self._parts(values, 0), self._target.arrow)

    def _parts(self, values: list[bytes], first: int) -> list[Read]:
        """Halves until the parts are whole, or few."""
        claims = self.whole(values, byte_lengths(values)) if values else None
        if claims is not None:
            return [Read(claims, list(range(first, first + len(values))), [])]
        if self._fast is None or len(values) <= _LEAF:
            return [self._by_reference(values, first)]
        middle = len(values) // 2
        return [*self._parts(values[:middle], first), *self._parts(values[middle:], first + middle)]

    def _by_reference(self, values: Sequence[bytes], first: int) -> Read:
        records: list[dict[str, Any]] = []
        places: list[int] = []
        failures: list[tuple[int, RecordError]] = []
        for place, value in enumerate(values, first):
            try:
                records.append(self._reference.read(value, self._start))
                places.append(place)
            except RecordError as error:
                failures.append((place, error))
        return Read(to_batch(records, self._target.arrow), places, failures)


def joined(parts: Sequence[Read], schema: pa.Schema) -> Read:
    """One read out of several, in the order of their places."""
    if len(parts) == 1:
        return parts[0]
    places = [place for part in parts for place in part.places]
    failures = sorted(
        (failure for part in parts for failure in part.failures), key=lambda failure: failure[0]
    )
    filled = [part.claims for part in parts if part.claims.num_rows] or [empty_batch(schema)]
    columns = [pa.concat_arrays([claims.column(index) for claims in filled]) for index in range(len(schema))]
    claims = pa.RecordBatch.from_arrays(columns, schema=schema)
    order = sorted(range(len(places)), key=places.__getitem__)
    if order != list(range(len(places))):
        claims = claims.take(pa.array(order, pa.int64()))
    return Read(claims, sorted(places), failures)


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """No rows of these columns."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def byte_lengths(values: Sequence[bytes]) -> Lengths:
    """Raises TypeError for a null among the values."""
    return np.fromiter(map(len, values), np.int64, len(values))
