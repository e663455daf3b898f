"""What commands print: JSON for programs, tables and progress for people."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from config.errors import printable

if TYPE_CHECKING:
    from stream.publishing import Reject

WIDTH = 80
_GAP = 2
_NARROWEST = 8


class Advance(Protocol):
    """What a command moves while it works."""

    def advance(self, amount: float = 1) -> None: ...


class _Bar:
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def advance(self, amount: float = 1) -> None:
        self._bar.advance(self._task, amount)


class _Silent:
    def advance(self, amount: float = 1) -> None:
        """Nobody watches."""


def notice(text: str, console: Console | None = None) -> None:
    """A line on standard error, of what takes seconds and cannot be counted; nothing where that is not a terminal."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        console.print(f"{text} …", highlight=False, markup=False)


@contextmanager
def progress(description: str, total: float | None, console: Console | None = None) -> Iterator[Advance]:
    """A bar on standard error; nothing where that is not a terminal. Without `total` it only counts."""
    with _bar(description, total, console, MofNCompleteColumn()) as bar:
        yield bar


@contextmanager
def byte_progress(description: str, total: float, console: Console | None = None) -> Iterator[Advance]:
    """A bar on standard error that counts bytes and shows them by second; nothing without a terminal."""
    with _bar(description, total, console, DownloadColumn(), TransferSpeedColumn()) as bar:
        yield bar


@contextmanager
def _bar(
    description: str, total: float | None, console: Console | None, *counts: ProgressColumn
) -> Iterator[Advance]:
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _Silent()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        yield _Bar(bar, bar.add_task(description, total=total))


def say_left_out(fields: Sequence[str], rejects: Iterable[Reject]) -> None:
    """What of a file came to nothing, on standard error: fields that are no part of a claim, and rows."""
    if fields:
        click.echo(printable(f"left out, as no part of a claim: {', '.join(fields)}"), err=True)
    for reject in rejects:
        click.echo(printable(f"rejected row {reject.row}: {reject.reason}"), err=True)


def byte_count(size: int) -> str:
    """A size for people, in powers of 1000."""
    return decimal(size)


def emit_json(value: Any) -> None:
    """One JSON object on standard output, in one line; a number that is not finite becomes null."""
    click.echo(json.dumps(_finite(value), allow_nan=False, ensure_ascii=not _has_all_characters()))


def _has_all_characters() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def table(rows: Sequence[Sequence[object]], heads: Sequence[str], width: int | None = None) -> str:
    """Aligned columns within `width` characters, those of the terminal or else 80.

    What is longer goes on in the next line of its column. What a terminal would act on is shown as its escape.
    """
    cells = [[printable(" ".join(str(cell).split())) for cell in row] for row in (heads, *rows)]
    columns = list(zip(*cells, strict=True))
    words = [max(len(word) for cell in column for word in cell.split(" ")) for column in columns]
    widths = _widths([max(map(len, column)) for column in columns], words, width or _terminal_width())
    return "\n".join(line for row in cells for line in _wrapped(row, widths))


def _terminal_width() -> int:
    return max(shutil.get_terminal_size().columns, WIDTH) if sys.stdout.isatty() else WIDTH


def _widths(wanted: list[int], words: list[int], width: int) -> list[int]:
    """Takes from the widest column until all fit; words, as long as these, are cut only where nothing else is left."""
    widths = list(wanted)
    for least in (words, [0] * len(words)):
        while sum(widths) + _GAP * (len(widths) - 1) > width:
            spare = [
                have if have > max(few, _NARROWEST) else 0 for have, few in zip(widths, least, strict=True)
            ]
            if not any(spare):
                break
            widths[spare.index(max(spare))] -= 1
    return widths


def _wrapped(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    columns = [_pieces(cell, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, columns))):
        parts = [pieces[number] if number < len(pieces) else "" for pieces in columns]
        yield (" " * _GAP).join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()


def _pieces(cell: str, width: int) -> list[str]:
    """The cell cut at spaces, or anywhere where a word is too long."""
    pieces = []
    while len(cell) > width:
        cut = cell.rfind(" ", 1, width + 1)
        cut = width if cut < 1 else cut
        pieces.append(cell[:cut])
        cell = cell[cut:].lstrip()
    return [*pieces, cell]
