"""What a demonstration says of its run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream.audit import Finding
from stream.cli.demo import _print
from stream.demonstration.report import Report, summarize

CACHE = {"tiers": [], "hit_rate_l1": None}


def report(latencies_ms: list[float], lost: int = 0) -> Report:
    sent = np.arange(len(latencies_ms), dtype=float)
    times = np.column_stack((sent, sent + np.array(latencies_ms) / 1_000))
    count = len(latencies_ms)
    return summarize(Finding(count + lost, count, 0, lost, 0, 0, 0, 0), times, 0.2, CACHE)


def test_scores_that_were_late_are_told_beside_what_passed_means(capsys: pytest.CaptureFixture[str]) -> None:
    late = report([50.0, 199.0, 201.0, 900.0])
    assert (late.on_time, late.passed, late.as_json()["on_time"]) == (0.5, True, 0.5)
    _print(late, Path("plot.png"))
    printed = capsys.readouterr().out.splitlines()
    assert "on time: 50.0 % of the scores (budget 200 ms)" in printed
    assert printed[-1].startswith("PASSED: each claim has one answer")
    assert printed[-1].endswith("being on time is measured, not judged")


def test_a_run_that_lost_a_claim_failed_however_fast_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    _print(report([50.0], lost=1), Path("plot.png"))
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED: not every claim")


def test_where_no_score_came_none_was_on_time(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = summarize(Finding(0, 0, 0, 0, 0, 0, 0, 0), np.empty((0, 2)), 0.2, CACHE)
    _print(nothing, Path("plot.png"))
    assert "on time: no score came (budget 200 ms)" in capsys.readouterr().out
