"""Claims of a file with what became of them: the label and the time come from columns that no feature is read from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.errors import UsageError
from stream.publishing.arrow_calls import Column, booleans, column, compute
from stream.publishing.claim_source import Counts
from stream.publishing.claims_file import load_claims
from stream.publishing.fields import parse_day
from stream.publishing.mapping import DATE_FORMATS, Mapping, Source

# Named as the options are, because messages about columns name the key that reads them.
LABEL = "--label"
TIME = "--time"

_MOST_SHOWN = 8
_MOST_UNREADABLE = 0.01


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """`positive` is the value to predict, every other one its absence; of `undecided` ones nothing is learned.

    Values are compared without regard to case.
    """

    label: str
    positive: str
    time: str
    undecided: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledClaims:
    """Claims with a label (0 or 1) and a day (since 1970-01-01) each; `values` counts what the label column held."""

    claims: pa.RecordBatch
    labels: npt.NDArray[np.float32]
    days: npt.NDArray[np.int64]
    counts: Counts
    values: dict[str, int]
    undated: int


def load_labelled(path: Path, mapping: Mapping, columns: LabelColumns) -> LabelledClaims:
    """The claims of `path` that have a label and a time; of a claim with several rows the first filled ones count.

    Raises UsageError for a column that is missing, is a feature, or does not hold what it should.
    """
    _refuse_feature(mapping, columns.label)
    loaded = load_claims(path, _widened(mapping, columns))
    texts = _texts(loaded.claims, LABEL)
    folded = _folded(texts)
    known = booleans(texts.is_valid()) & ~_among(folded, columns.undecided)
    positive = _among(folded, (columns.positive,))
    values = Counter(texts.filter(column(known)).to_pylist())
    _check_classes(path, columns, values, int((positive & known).sum()))
    times = _texts(loaded.claims, TIME)
    days, dated = _days(times, known, mapping, columns.time, path)
    kept = np.flatnonzero(known & dated)
    return LabelledClaims(
        claims=loaded.claims.take(column(kept)),
        labels=positive[kept].astype(np.float32),
        days=days[kept],
        counts=loaded.counts,
        values=dict(values.most_common()),
        undated=int((known & ~dated).sum()),
    )


def _refuse_feature(mapping: Mapping, label: str) -> None:
    """A model must not read what it predicts, by whatever name the mapping calls it."""
    for name, key in mapping.columns().items():
        if _plain(label) in map(_plain, (name, *mapping.headers.also.get(name, ()))):
            raise UsageError(
                f"the mapping reads {key} from {name}, which is the label: what became of a claim cannot be a "
                f"feature. Take {key} out of the mapping and name {name} among its outcomes"
            )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _widened(mapping: Mapping, columns: LabelColumns) -> Mapping:
    """The mapping, with label and time as attributes: whatever kind the file is, they are read as all else is."""
    own = {LABEL: Source(columns=(columns.label,)), TIME: Source(columns=(columns.time,))}
    return mapping.model_copy(update={"attributes": {**mapping.attributes, **own}})


def _texts(claims: pa.RecordBatch, name: str) -> Column:
    found: Column = compute.map_lookup(claims.column("attributes"), name, "last")
    return found


def _folded(texts: Column) -> Column:
    folded: Column = compute.utf8_lower(compute.utf8_trim_whitespace(texts))
    return folded


def _among(folded: Column, values: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    wanted = column([value.strip().lower() for value in values], pa.string())
    return booleans(compute.is_in(folded, value_set=wanted))


def _check_classes(path: Path, columns: LabelColumns, values: Counter[str], positives: int) -> None:
    total = values.total()
    if not total:
        raise UsageError(f"{path}: no claim has a value in {columns.label}; name another column (--label)")
    shown = ", ".join(f"{value!r} ({count})" for value, count in values.most_common(_MOST_SHOWN))
    if not positives:
        raise UsageError(
            f"{path}: no claim has {columns.positive!r} in {columns.label}; its values are {shown}. "
            "Name one of them (--positive)"
        )
    if positives == total:
        raise UsageError(
            f"{path}: {columns.label} has one class: all {total} claims that have it are {shown}. "
            "A model is learned from both; name another column (--label) or give the other claims as well"
        )


def _days(
    times: Column, known: npt.NDArray[np.bool_], mapping: Mapping, name: str, path: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Days since 1970-01-01, and which claims have one."""
    formats = _formats(mapping, name)
    encoded = times.dictionary_encode()
    parsed = [parse_day(str(text), formats) for text in encoded.dictionary.to_pylist()]
    table = np.array([*(0 if day is None else day for day in parsed), 0], np.int64)
    readable = np.array([*(day is not None for day in parsed), False], np.bool_)
    place = compute.fill_null(encoded.indices, len(parsed)).to_numpy(zero_copy_only=False)
    dated = readable[place]
    lost = np.flatnonzero(known & ~dated)
    if len(lost) > _MOST_UNREADABLE * known.sum():
        raise UsageError(
            f"{path}: {name} gives no day for {len(lost)} of {int(known.sum())} labelled claims, the first of them "
            f"{times[int(lost[0])].as_py()!r}; read as {' or '.join(formats)}. Name another column (--time), or a date "
            f"field of the mapping that reads {name} with the right formats"
        )
    return table[place], dated


def _formats(mapping: Mapping, name: str) -> tuple[str, ...]:
    """Those of the mapping's date fields, the ones that read this column first."""
    fields = [
        field for field in (mapping.claim.received_date, mapping.claim.service_date) if field is not None
    ]
    fields.sort(key=lambda field: name not in field.columns)
    return tuple(dict.fromkeys((*(form for field in fields for form in field.formats), *DATE_FORMATS)))
