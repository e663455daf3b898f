"""What a command writes must be nothing that it reads, and no two of its files one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, combinations, product
from pathlib import Path

from stream.errors import UsageError
from stream.publishing import load_mapping, shipped_mappings
from stream.publishing.joining import found_table

Places = Mapping[str, Path | None]


def check_places(written: Places, read: Places, mapping: str | None = None) -> None:
    """Before anything is opened. Places by the option that names them; None is one that was not given.

    `mapping` is the option --mapping of the claims in `read["FILE"]`. Raises UsageError.
    """
    outputs = _given(written)
    inputs = [*_given(read), *(_of_mapping(read.get("FILE"), mapping) if outputs else ())]
    for (option, place), (role, other) in chain(product(outputs, inputs), combinations(outputs, 2)):
        if _same(place, other):
            raise UsageError(f"{option} names {place}, which is {role} as well: give it a file of its own")


def _given(places: Places) -> list[tuple[str, Path]]:
    return [(name, place) for name, place in places.items() if place is not None]


def _of_mapping(file: Path | None, name: str | None) -> Iterator[tuple[str, Path]]:
    """The mapping's own file, and those that it joins to the claims'."""
    if name is None or file is None:
        return
    if name not in shipped_mappings():
        yield "--mapping", Path(name)
    for alias, table in load_mapping(name).tables.items():
        if (place := found_table(file, table)) is not None:
            yield f"tables.{alias} of the mapping", place


def _same(one: Path, other: Path) -> bool:
    """Of files that are there two hard links are one, too."""
    if one.resolve() == other.resolve():
        return True
    return one.exists() and other.exists() and one.samefile(other)
