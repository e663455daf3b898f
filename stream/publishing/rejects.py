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
    """`row` counts the rows of the file from 1, the header included: the line, if no value spans two."""

    row: int
    claim_id: str
    reason: str


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """A CSV file with one row a reject. Raises UsageError when the place cannot be written."""
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(HEADER)
            writer.writerows((reject.row, reject.claim_id, reject.reason) for reject in rejects)
    except OSError as error:
        raise UsageError(f"cannot write the rejects file {path}: {error.strerror}") from error
