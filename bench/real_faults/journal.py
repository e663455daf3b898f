"""Trials on disk, a line each, so that a long run goes on where it was interrupted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.real_faults.trial import Trial

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which a trial was made: the state of the program, how often it was to be struck, and how patiently."""

    program: str
    strikes: int
    patience: float


class Journal:
    """Every line is a whole trial, or was cut off when the run was. Trials of other conditions are passed over."""

    def __init__(self, file: Path, conditions: Conditions) -> None:
        self._file = file
        self._conditions = asdict(conditions)

    def trials(self) -> list[Trial]:
        return list(self._read())

    def add(self, trial: Trial) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as sink:
            sink.write("\n" + json.dumps(asdict(trial) | {"conditions": self._conditions}))

    def _read(self) -> Iterator[Trial]:
        if not self._file.exists():
            return
        for line in filter(None, self._file.read_text(encoding="utf-8").splitlines()):
            try:
                entry = json.loads(line)
            except ValueError:
                log.warning("%s: a line that was cut off is left out", self._file)
                continue
            if entry.pop("conditions", None) == self._conditions:
                yield _trial(entry)


def _trial(entry: dict[str, object]) -> Trial:
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}
    return Trial(**values)  # type: ignore[arg-type]
