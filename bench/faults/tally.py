"""What came of many schedules, in blocks that are kept in a file: a long run may be interrupted and split."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from bench.faults.schedule import Verdict, run

BLOCK = 50
# Schemas and the catalog of models decide as well.
_SUFFIXES = {".py", ".avsc", ".yaml"}
_SOURCES = ("stream", "models", "schemas", "config", "bench/faults")


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over `count` schedules from seed `first` on. `fewest` and `most` faults met by one of them.

    `beyond`: the most of `Verdict.beyond`.
    """

    mode: str
    first: int
    count: int
    seconds: float
    lost: int
    duplicated: int
    out_of_order: int
    wrong: int
    repeated: int
    met: int
    fewest: int
    most: int
    lives: int
    beyond: int
    failing: tuple[int, ...]


def counted(mode: str, first: int, verdicts: Sequence[Verdict], seconds: float) -> Tally:
    findings, met = [verdict.finding for verdict in verdicts], [verdict.met for verdict in verdicts]
    return Tally(
        mode,
        first,
        len(verdicts),
        seconds,
        sum(finding.lost for finding in findings),
        sum(finding.duplicated for finding in findings),
        sum(finding.out_of_order for finding in findings),
        sum(finding.wrong for finding in findings),
        sum(finding.repeated for finding in findings),
        sum(met),
        min(met),
        max(met),
        sum(verdict.lives for verdict in verdicts),
        max(verdict.beyond for verdict in verdicts),
        tuple(verdict.seed for verdict in verdicts if not verdict.sound),
    )


class Book:
    """Tallies of blocks, one a line; those of another state of the program are passed over.

    So is a line that a run which was ended has cut off.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        content = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        self._begun = bool(content) and not content.endswith("\n")
        tallies = [tally for line in content.splitlines() if (tally := _noted(line)) is not None]
        self._known = {(tally.mode, tally.first, tally.count): tally for tally in tallies}

    def tallies(self, mode: str, first: int, count: int, done: Callable[[float], None]) -> list[Tally]:
        """Of these seeds; runs those that are not known yet, and notes them. `done` is told of each schedule."""
        return [
            self._tally(mode, start, min(BLOCK, first + count - start), done)
            for start in range(first, first + count, BLOCK)
        ]

    def _tally(self, mode: str, first: int, count: int, done: Callable[[float], None]) -> Tally:
        if (known := self._known.get((mode, first, count))) is not None:
            done(count)
            return known
        started = time.perf_counter()
        verdicts = list(_run(mode, range(first, first + count), done))
        tally = counted(mode, first, verdicts, time.perf_counter() - started)
        self._note(tally)
        return tally

    def _note(self, tally: Tally) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as book:
            book.write("\n" * self._begun + json.dumps(asdict(tally) | {"sources": sources()}) + "\n")
        self._begun = False


def _noted(line: str) -> Tally | None:
    """What a line tells of this state of the program."""
    try:
        content = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(content, dict) or content.pop("sources", None) != sources():
        return None
    return Tally(**{**content, "failing": tuple(content["failing"])})


def _run(mode: str, seeds: Iterable[int], done: Callable[[float], None]) -> Iterable[Verdict]:
    for seed in seeds:
        yield run(seed, mode)
        done(1)


@cache
def sources() -> str:
    """What tells one state of the program from another."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted(path for path in (root / folder).rglob("*") if path.suffix in _SUFFIXES):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]
