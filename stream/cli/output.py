"""What commands print: tables, JSON for programs, progress for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

WIDTH = 80


class Advance:
    """Moves a progress bar."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def advance(self, amount: float = 1) -> None:
        self._bar.advance(self._task, amount)


@contextmanager
def progress(description: str, total: float | None) -> Iterator[Advance]:
    """A bar on standard error; none where that is not a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield Advance(bar, bar.add_task(description, total=total))


def emit_json(value: Any) -> None:
    """One JSON object on standard output."""
    click.echo(json.dumps(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value))


def table(rows: list[tuple[str, ...]], heads: tuple[str, ...]) -> str:
    """Aligned columns; the last one takes what is left of 80 characters when the output is a terminal."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    if sys.stdout.isatty():
        widths[-1] = max(min(widths[-1], WIDTH - sum(widths[:-1]) - 2 * (len(widths) - 1)), 8)
    lines = ["  ".join(cell[:w].ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [heads, *rows]]
    return "\n".join(lines)
