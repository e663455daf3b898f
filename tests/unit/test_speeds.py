"""Speeds that a machine remembers, and the command that measures them."""

from __future__ import annotations

import importlib
import json
import logging
from pathlib import Path

import pytest

from models import ModelIdentity
from stream.cli.main import FAILED, USAGE, run
from stream.cost_model import LatencyCurve
from stream.speeds import Speeds, name_of

CURVE = LatencyCurve(0.001, 0.0001)


def test_what_is_remembered_is_known_by_the_next_run(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path / "new" / "speeds.json")
    assert speeds.known() == {}
    speeds.remember({"a": CURVE})
    speeds.remember({"b": LatencyCurve(0.002, 0.0002), "c": CURVE})
    speeds.remember({"c": LatencyCurve(0.003, 0.0003)})
    known = Speeds(tmp_path / "new" / "speeds.json").known()
    assert known == {"a": CURVE, "b": LatencyCurve(0.002, 0.0002), "c": LatencyCurve(0.003, 0.0003)}
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["speeds.json"]


def test_nothing_learned_writes_nothing(tmp_path: Path) -> None:
    Speeds(tmp_path / "speeds.json").remember({})
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_speed_costs_nobody_elses(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path / "speeds.json")
    speeds.remember({"a": CURVE, "flat": LatencyCurve(0.004, 0.0)})
    assert speeds.remember({"flat": LatencyCurve(0.004, 0.0)})
    assert speeds.known() == {"a": CURVE}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "speeds": {}}',
        '{"format": 1, "speeds": {"a": {"fixed": 1}}}',
        '{"format": 1, "speeds": {"a": {"fixed": -1, "each": 1}}}',
        '{"format": 1, "speeds": {"a": {"fixed": 0, "each": NaN}}}',
        '{"format": 1, "speeds": {"a": {"fixed": "x", "each": 1}}}',
        '{"format": 1, "speeds": 3}',
        "[" * 100_000,
    ],
)
def test_a_file_that_is_none_is_said_and_replaced(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "speeds.json"
    file.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert Speeds(file).known() == {}
    assert f"{file}: not usable, speeds are learned anew" in caplog.text
    Speeds(file).remember({"a": CURVE})
    assert Speeds(file).known() == {"a": CURVE}


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "taken").write_text("")
    assert not Speeds(tmp_path / "taken" / "speeds.json").remember({"a": CURVE})
    assert "speeds are not remembered" in caplog.text


def test_versions_precisions_and_devices_are_apart() -> None:
    assert name_of(ModelIdentity("m", "1.0.0", "default", "fp32", "cpu")) == "m:1.0.0:fp32:cpu"


def test_tune_measures_and_remembers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "speeds.json"
    assert run(["models", "tune", "null", "--rounds", "3", "--file", str(file), "--json"]) == 0
    tuned = json.loads(capsys.readouterr().out)
    assert set(tuned["milliseconds"]) == {str(2**power) for power in range(10)}
    (name,) = Speeds(file).known()
    assert name == tuned["model"]
    assert name.startswith("null:")


def test_tune_fails_where_nothing_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    file = tmp_path / "taken" / "speeds.json"
    assert run(["models", "tune", "null", "--rounds", "3", "--file", str(file)]) == FAILED
    printed = capsys.readouterr()
    assert "µs a claim" in printed.out
    assert "kept in" not in printed.out
    assert f"{file}: what was measured is not kept" in printed.err


def test_tune_says_that_it_found_no_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "speeds.json"
    monkeypatch.setattr(
        importlib.import_module("stream.cli.models.tune"), "_fitted", lambda _: LatencyCurve(0.004, 0.0)
    )
    assert run(["models", "tune", "null", "--rounds", "3", "--file", str(file)]) == FAILED
    assert "large batches took no longer than small ones, nothing is kept" in capsys.readouterr().err
    assert not file.exists()


def test_tune_of_an_unknown_model_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "tune", "claims_filtr"]) == USAGE
    assert "claims_filter" in capsys.readouterr().err
