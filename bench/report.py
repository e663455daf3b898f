"""Figures: measured, compared with their goal, written where a program reads them."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

_VERSIONS = ("claimstream", "confluent-kafka", "pyarrow", "pyruhvro", "torch", "numpy")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, as it was measured. `goal` is text such as `≥ 4.0`; `met` is None where there is no goal."""

    name: str
    value: float
    unit: str
    goal: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        return self._judged(self.value)

    @property
    def shown(self) -> str:
        """The value in a few digits, and in more where these would be judged otherwise."""
        texts = [_digits(self.value, count) for count in (4, 6, 9, 17)]
        return next((text for text in texts if self._judged(float(text)) is self.met), texts[-1])

    def _judged(self, value: float) -> bool | None:
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return bool(value >= float(bound) if sign == "≥" else value <= float(bound))


def _digits(value: float, count: int) -> str:
    """At least so many, and all that are before the point."""
    before = math.floor(math.log10(abs(value))) + 1 if value and math.isfinite(value) else 1
    text = f"{value:.{max(count - before, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def as_json(bench: str, figures: Sequence[Figure], made: float, *, quick: bool) -> dict[str, Any]:
    """The form that every benchmark writes. `made`: when it ended, in seconds since the epoch."""
    return {"bench": bench, **_origin(made, quick=quick), "figures": [_entry(figure) for figure in figures]}


def combined(
    documents: Sequence[Mapping[str, Any]], failed: Mapping[str, str], made: float, *, quick: bool
) -> dict[str, Any]:
    """Several of them as one. `failed`: the errors of those that came to no figures."""
    benches = [{name: each[name] for name in ("bench", "date", "figures")} for each in documents]
    return {"bench": "all", **_origin(made, quick=quick), "benches": benches, "failed": dict(failed)}


def _origin(made: float, *, quick: bool) -> dict[str, Any]:
    """When, where and by what something was measured."""
    return {
        "date": datetime.fromtimestamp(made, UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine(),
        "versions": {name: version(name) for name in _VERSIONS} | {"python": platform.python_version()},
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
    middle, least, most = (_digits(each, 3) for each in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )


def lines(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """Rows of a table: name, value, goal, note."""
    words = {None: "", True: "met", False: "missed"}
    return [
        (f.name, f"{f.shown} {f.unit}".strip(), f"{f.goal} {words[f.met]}".strip(), f.note) for f in figures
    ]
