"""Figures, their form and their goals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench import plots, report, windows
from bench.report import Figure


@pytest.mark.parametrize(
    ("value", "goal", "met"),
    [
        (4.0, "≥ 4.0", True),
        (3.99, "≥ 4.0", False),
        (0.9499, "≥ 0.95", False),
        (0.94999999, "≥ 0.95", False),
        (1.0004, "≤ 1.0", False),
        (np.float64(0.95), "≥ 0.95", True),
        (300, "≤ 300", True),
        (301, "≤ 300", False),
        (1, "", None),
    ],
)
def test_a_figure_knows_whether_it_meets_its_goal(value: float, goal: str, met: bool | None) -> None:
    assert Figure("x", value, "", goal).met is met


def test_figures_are_written_in_the_agreed_form(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "host.json"
    report.write(
        path, report.as_json("host", [Figure("host_vs_loop", 4.5, "x", "≥ 4.0", "note")], 1e9, quick=True)
    )
    found = json.loads(path.read_text())
    assert (found["bench"], found["quick"], found["date"]) == ("host", True, "2001-09-09T01:46:40+00:00")
    assert found["machine"]["cores"] >= 1
    assert {"torch", "claimstream"} <= set(found["versions"])
    assert found["figures"] == [
        {"name": "host_vs_loop", "value": 4.5, "unit": "x", "goal": "≥ 4.0", "note": "note", "met": True}
    ]


def test_what_never_came_is_null(tmp_path: Path) -> None:
    never = Figure("burst_recovery", float("inf"), "s", "≤ 2")
    report.write(tmp_path / "never.json", report.as_json("under-load", [never], 0.0, quick=False))
    (figure,) = json.loads((tmp_path / "never.json").read_text(encoding="utf-8"))["figures"]
    assert (figure["value"], figure["met"]) == (None, False)


def test_rows_say_met_or_missed() -> None:
    rows = report.lines([Figure("a", 1, "s", "≥ 2"), Figure("b", 3, "s", "≥ 2"), Figure("c", 3, "s")])
    assert [row[2] for row in rows] == ["≥ 2 missed", "≥ 2 met", ""]


@pytest.mark.parametrize(
    ("value", "goal", "shown"),
    [
        (0.7968253968, "≥ 0.9", "0.7968"),
        (0.94999876, "≥ 0.95", "0.949999"),
        (1.0, "≤ 1.0", "1"),
        (1.00000001, "≤ 1.0", "1.00000001"),
        (103_123.7, "", "103124"),
        (99_999.7, "", "100000"),
        (0.0001234567, "", "0.0001235"),
        (0, "≤ 0", "0"),
        (float("inf"), "≤ 2", "inf"),
    ],
)
def test_what_is_shown_is_judged_as_what_was_measured(value: float, goal: str, shown: str) -> None:
    assert Figure("x", value, "", goal).shown == shown


def test_spread_is_median_minimum_and_maximum() -> None:
    assert report.spread([3.0, 1.0, 2.0]) == "2 (1 to 3)"
    assert report.spread([0.79682, 0.6]) == "0.698 (0.6 to 0.797)"


def test_contestants_get_a_group_each_and_their_topics() -> None:
    route = windows.Route("b:1", "in", "out", "dead", 4)
    ours, loop = windows.stage(route, "null", 2, 0, ML_BATCH_SIZE_MAX="64"), windows.rival(route, "loop", 500)
    environment = ours.environment("g1")
    assert environment["CLAIMSTREAM_KAFKA__GROUP_ID"] == "g1"
    assert environment["CLAIMSTREAM_KAFKA__TOPICS__INPUT"] == "in"
    assert environment["ML_BATCH_SIZE_MAX"] == "64"
    assert list(ours.command("g1"))[-6:] == ["--model", "null", "--workers", "2", "--port", "0"]
    assert list(loop.command("g2"))[-6:] == ["b:1", "in", "out", "g2", "loop", "500"]


def test_plots_are_pictures(tmp_path: Path) -> None:
    plots.windows_plot([{"stage": 10.0, "loop": 2.0}] * 2, tmp_path / "a.png")
    plots.latency_plot(np.array([1.0, 5.0, 2.0]), tmp_path / "b.png")
    plots.cost_plot({"null": {"decode": 1.0}, "other": {"decode": 2.0}}, tmp_path / "c.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("a.png", "b.png", "c.png"))
