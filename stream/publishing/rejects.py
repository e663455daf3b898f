"""Rows of an input file that became no claim, each with its reason."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.errors import UsageError

HEADER = ("row", "claim_id", "reason")


@dataclass(frozen=True, slots=True)
class Reject:
    """`row` counts the rows of the file from 1, a header included: the line, if no value spans two."""

    row: int
    claim_id: str
    reason: str


class RejectsFile:
    """A CSV file with one row a reject, written as they come.

    Raises UsageError when the place cannot be written, and when it is made rather than later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._write("w", [HEADER])

    def add(self, rejects: Sequence[Reject]) -> None:
        if rejects:
            self._write("a", [(reject.row, reject.claim_id, reject.reason) for reject in rejects])

    def _write(self, mode: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            with self._path.open(mode, encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(rows)
        except OSError as error:
            raise UsageError(f"cannot write the rejects file {self._path}: {error.strerror}") from error


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """All of them at once. Raises UsageError when the place cannot be written."""
    RejectsFile(path).add(rejects)
