"""`claimstream bench`: what it writes, and what becomes of the others when one fails."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.report import Figure
from stream.cli import bench
from stream.cli.bench import Session
from stream.clock import ManualClock
from stream.errors import ClaimstreamError, UsageError

BENCHES: dict[str, list[Figure] | Exception] = {
    "first": [Figure("a", 1.0, "s")],
    "broken": RuntimeError("a contestant ended"),
    "absent": [],
    "odd": KeyError("x"),
    "last": [Figure("b", 2.0, "s", "≤ 1.0")],
}


@pytest.fixture(autouse=True)
def benches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those above in place of the real ones."""
    imported = bench.importlib.import_module

    def module(name: str) -> Any:
        known = BENCHES.get(name.removeprefix("bench."))
        return imported(name) if known is None else SimpleNamespace(measure=lambda **_: _answer(known))

    monkeypatch.setattr(bench, "_NAMES", {name: name for name in BENCHES})
    monkeypatch.setattr(bench.importlib, "import_module", module)


def _answer(known: list[Figure] | Exception) -> list[Figure]:
    if isinstance(known, Exception):
        raise known
    return known


def session(json_file: Path | None, plots: Path, *, quick: bool = False) -> Session:
    return Session(json_file, plots, ManualClock(), quick=quick)


def test_all_is_one_object_and_goes_on_behind_a_benchmark_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    with pytest.raises(ClaimstreamError, match="broken: a contestant ended; odd: KeyError") as caught:
        session(file, tmp_path, quick=True).run(list(BENCHES))
    assert caught.value.exit_code == 1
    found = json.loads(file.read_text(encoding="utf-8"))
    assert (found["bench"], found["quick"], found["date"]) == ("all", True, "2023-11-14T22:13:20+00:00")
    assert [each["bench"] for each in found["benches"]] == ["first", "last"]
    assert found["benches"][1]["figures"][0]["met"] is False
    assert found["failed"] == {"broken": "a contestant ended", "odd": "KeyError('x')"}


def test_without_a_file_each_has_its_own_and_a_quick_one_another(tmp_path: Path) -> None:
    session(None, tmp_path).run(["first", "last"])
    session(None, tmp_path, quick=True).run(["first"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first-quick.json", "first.json", "last.json"]
    assert json.loads((tmp_path / "first.json").read_text(encoding="utf-8"))["quick"] is False


def test_what_was_not_measured_is_not_written_over_an_earlier_result(tmp_path: Path) -> None:
    (tmp_path / "absent.json").write_text("earlier")
    session(None, tmp_path).run(["absent"])
    session(tmp_path / "absent.json", tmp_path).run(["absent"])
    assert (tmp_path / "absent.json").read_text() == "earlier"


def test_bad_usage_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BENCHES, "broken", UsageError("no such fault"))
    with pytest.raises(UsageError):
        session(None, tmp_path).run(["broken", "first"])
    assert list(tmp_path.iterdir()) == []
