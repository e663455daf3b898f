"""Claims as JSON lines: one claim_event a line, dates as 2024-01-31."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from stream.publishing.claim_checks import accepted
from stream.publishing.claim_schema import claim_schema
from stream.publishing.claim_source import BATCH_ROWS, ClaimRows
from stream.publishing.claim_values import ClaimValues
from stream.publishing.file_kinds import Kind
from stream.publishing.json_rows import json_lines, parsed
from stream.publishing.rejects import Reject
from stream.publishing.unread import claim_names, unread_values


class JsonClaims:
    """Reads the file once through when it is made: how many claims it holds and which lines are none."""

    kind = Kind.JSON_LINES

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = ClaimValues()
        self._ignored: set[str] = set()
        self._read = list(self._stretches())

    @property
    def expected(self) -> int:
        return sum(read.claims.num_rows for read in self._read)

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(sorted(self._ignored))

    def batches(self) -> Iterator[ClaimRows]:
        return iter(self._read)

    def _stretches(self) -> Iterator[ClaimRows]:
        claims: list[dict[str, object]] = []
        numbers: list[int] = []
        rejects: list[Reject] = []
        for number, line in json_lines(self._path):
            found = self._claim(line, number)
            if isinstance(found, Reject):
                rejects.append(found)
            else:
                claims.append(found)
                numbers.append(number)
            if len(claims) + len(rejects) == BATCH_ROWS:
                yield _columns(claims, numbers, rejects)
                claims, numbers, rejects = [], [], []
        if claims or rejects:
            yield _columns(claims, numbers, rejects)

    def _claim(self, line: bytes, number: int) -> dict[str, object] | Reject:
        value = parsed(line)
        if isinstance(value, str):
            return Reject(number, "", value)
        self._ignored.update(unread_values(value, claim_names()))
        try:
            return self._values.read(value)
        except ValueError as error:
            return Reject(number, str(value.get("claim_id", "")), str(error))


def _columns(claims: list[dict[str, object]], numbers: list[int], rejects: list[Reject]) -> ClaimRows:
    batch = pa.RecordBatch.from_pylist(claims, schema=claim_schema())
    return accepted(batch, np.asarray(numbers, dtype=np.int64), tuple(rejects))
