"""Training on a file of labelled claims: reads, splits by time, learns, writes version and model card."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from models.manifest import NAME_PATTERN, VERSION_PATTERN
from stream.cli.models.place import check_free, make_place
from stream.cli.output import notice, progress
from stream.errors import UsageError
from stream.publishing import load_mapping
from stream.publishing.labels import LabelColumns, LabelledClaims, load_labelled
from stream.publishing.mapping import Mapping

if TYPE_CHECKING:
    from models.date_tokens import DateToken
    from models.learning import Learned, Parts, Task
    from models.model_card import Origin
    from models.time_split import TimeSplit

_NAMELESS = "trained_model"


@dataclass(frozen=True, slots=True)
class FileTraining:
    """What the command was asked for."""

    data: Path
    mapping: str
    columns: LabelColumns
    test_from: date | None
    numbers: tuple[str, ...]
    dates: tuple[DateToken, ...]
    name: str | None
    version: str
    epochs: int
    seed: int
    output: Path | None
    arguments: Sequence[str]

    @property
    def model(self) -> str:
        """The given name, or that of the mapping where it can be one."""
        stem = Path(self.mapping).stem.lower().replace("-", "_")
        return self.name or (stem if re.fullmatch(NAME_PATTERN, stem) else _NAMELESS)

    @property
    def folder(self) -> Path:
        return self.output or Path("out") / self.model / self.version


def train_file(asked: FileTraining) -> Learned:
    """Nothing but the empty folder is written before the model is learned. Raises UsageError, TrainingError."""
    _check_place(asked)
    mapping = load_mapping(asked.mapping)
    tokens, numbers = _attributes(mapping, asked.numbers)
    notice(f"reading {asked.data.name}")
    found = load_labelled(asked.data, mapping, asked.columns)
    # torch takes seconds to import, which a wrong file does not owe.
    from models.learning import Task, learn, repeated, spec_for
    from models.model_card import write_card
    from models.time_split import split

    parts_of = split(found.days, found.labels, asked.test_from)
    parts = _parts(found, parts_of)
    known = parts.train.claims[0]
    twins = repeated(known, tokens)
    task = Task(
        name=asked.model,
        version=asked.version,
        features=spec_for(known, [name for name in tokens if name not in twins], numbers, asked.dates),
        epochs=asked.epochs,
        seed=asked.seed,
        data=_described(asked, found),
    )
    make_place(asked.folder)
    learned = learn(task, parts, asked.folder, progress)
    write_card(asked.folder, learned, parts, _origin(asked, mapping, found, parts_of, task, twins))
    return learned


def _check_place(asked: FileTraining) -> None:
    """What would show only after minutes."""
    for option, text, pattern in (
        ("name", asked.model, NAME_PATTERN),
        ("version", asked.version, VERSION_PATTERN),
    ):
        if not re.fullmatch(pattern, text):
            wanted = (
                "lower-case letters, digits and _" if option == "name" else "three numbers, such as 1.0.0"
            )
            raise UsageError(f"--{option} {text!r}: it has to be {wanted}")
    check_free(asked.folder)
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "the model card needs matplotlib: pip install --require-hashes -r requirements.txt, in the clone"
        )


def _attributes(mapping: Mapping, numbers: Sequence[str]) -> tuple[list[str], list[str]]:
    """Attributes that are categories, and those that are numbers; one that never varies is neither."""
    if unknown := [name for name in numbers if name not in mapping.attributes]:
        known = ", ".join(mapping.attributes) or "none"
        raise UsageError(f"--number {unknown[0]}: the mapping has no such attribute; it has {known}")
    varying = [name for name, source in mapping.attributes.items() if source.constant is None]
    return [name for name in varying if name not in numbers], list(numbers)


def _parts(found: LabelledClaims, parts_of: TimeSplit) -> Parts:
    from models.learning import Parts
    from models.training import Labelled

    def part(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Labelled:
        return Labelled([found.claims.take(pa.array(rows))], found.labels[rows])

    return Parts(part(parts_of.train), part(parts_of.validation), part(parts_of.test))


def _described(asked: FileTraining, found: LabelledClaims) -> str:
    columns = asked.columns
    with asked.data.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return (
        f"{asked.data.name} (SHA-256 {digest[:16]}…) by mapping {Path(asked.mapping).stem}, "
        f"{len(found.labels)} claims; label {columns.label} = {columns.positive}, seed {asked.seed}"
    )


def _origin(
    asked: FileTraining,
    mapping: Mapping,
    found: LabelledClaims,
    parts_of: TimeSplit,
    task: Task,
    twins: dict[str, str],
) -> Origin:
    from models.model_card import Origin

    counts, columns = found.counts, asked.columns
    facts = [
        ("data", task.data),
        ("mapping", f"{asked.mapping}: {mapping.description or 'no description'}"),
        (
            "rows",
            f"{counts.rows:,}: {counts.claims:,} claims, {counts.rejected:,} rejected, {counts.merged:,} merged",
        ),
        ("decided, with a day", f"{len(found.labels):,}"),
        ("decided, without a readable day, left out", f"{found.undated:,}"),
        ("label", f"{columns.label}: " + ", ".join(f"{value} {n:,}" for value, n in found.values.items())),
        ("time", columns.time),
        *(("left out", f"attribute {name}, which says the same as {twin}") for name, twin in twins.items()),
    ]
    return Origin(
        facts=facts,
        predicts=f"{columns.label} is {columns.positive}",
        outcomes=list(dict.fromkeys((columns.label, *mapping.outcomes))),
        validation_from=parts_of.validation_from,
        test_from=parts_of.test_from,
        command=shlex.join(("claimstream", "models", "train", *asked.arguments)),
    )
