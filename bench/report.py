"""Figures: measured, compared with their goal, written where a program reads them."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

_VERSIONS = ("claimstream", "confluent-kafka", "pyarrow", "pyruhvro", "torch", "numpy")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `goal` is text such as `≥ 4.0`; `met` is None where there is no goal."""

    name: str
    value: float
    unit: str
    goal: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.value >= float(bound) if sign == "≥" else self.value <= float(bound)


def as_json(bench: str, figures: Sequence[Figure]) -> dict[str, Any]:
    """The form that every benchmark writes."""
    return {
        "bench": bench,
        "machine": machine(),
        "versions": {name: version(name) for name in _VERSIONS} | {"python": platform.python_version()},
        "figures": [_entry(figure) for figure in figures],
    }


def _entry(figure: Figure) -> dict[str, Any]:
    """JSON knows no infinity: what never came is null."""
    return asdict(figure) | {
        "met": figure.met,
        "value": figure.value if math.isfinite(figure.value) else None,
    }


def machine() -> dict[str, Any]:
    """Cores, processor and system of this machine."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def spread(values: Sequence[float]) -> str:
    """Median, minimum and maximum."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )


def lines(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """Rows of a table: name, value, goal, note."""
    words = {None: "", True: "met", False: "missed"}
    return [
        (f.name, f"{f.value:g} {f.unit}".strip(), f"{f.goal} {words[f.met]}".strip(), f.note) for f in figures
    ]
