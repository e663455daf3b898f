"""Which column of a file a mapping means, and what is said where there is none."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import schemas
from stream.errors import UsageError
from stream.publishing.mapping import Headers, folded


def found_columns(
    path: Path, header: Sequence[str], wanted: Mapping[str, str], headers: Headers
) -> dict[str, str]:
    """The file's name of each wanted column that it has; `wanted` is column: the mapping's key that asks for it.

    Raises UsageError for a column that is missing though the mapping needs it, or is there twice.
    """
    found: dict[str, str] = {}
    missing: list[str] = []
    for name in wanted:
        matches = matching(name, header, headers)
        if len(matches) > 1:
            raise UsageError(
                f"{path} has the column {name} twice ({' and '.join(matches)}): rename one of them"
            )
        if matches:
            found[name] = matches[0]
        elif name not in headers.optional:
            missing.append(name)
    if missing:
        raise UsageError(_missing(path, header, wanted, missing))
    if not found:
        raise UsageError(f"{path} has none of the mapping's columns: {', '.join(wanted)}")
    return found


def matching(name: str, header: Sequence[str], headers: Headers) -> list[str]:
    """Columns of the first way to say `name` that the header knows: itself, then its other names."""
    for said in (name, *headers.also.get(name, ())):
        matches = [column for column in header if column == said]
        if not matches and headers.match == "loose":
            matches = [column for column in header if folded(column) == folded(said)]
        if matches:
            return matches
    return []


def _missing(path: Path, header: Sequence[str], wanted: Mapping[str, str], missing: Sequence[str]) -> str:
    reasons = "; ".join(_reason(name, wanted[name], header) for name in missing[:5])
    more = f" (and {len(missing) - 5} more)" if len(missing) > 5 else ""
    return f"{path} does not fit the mapping: {reasons}{more}. Correct the mapping or the file."


def _reason(name: str, key: str, header: Sequence[str]) -> str:
    folded = {column.casefold(): column for column in header}
    nearest = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    hint = f"nearest column: {folded[nearest[0]]}" if nearest else f"its columns: {', '.join(header[:8])}"
    return f"no column {name} ({key}), {hint}"


def check_claim_fields(path: Path, header: Sequence[str]) -> None:
    """Raises UsageError unless the fields are those of claims as they are, which need no mapping."""
    required = [field["name"] for field in schemas.load("claim_event")["fields"] if "default" not in field]
    missing = [name for name in required if name not in header]
    if missing:
        raise UsageError(
            f"{path} holds no claims as they are: it has no {', '.join(missing)}, its columns are"
            f" {', '.join(header[:8])}. Name a --mapping that says how its columns become claims."
        )
