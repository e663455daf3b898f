"""What a demonstration says of its run."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from stream.audit import Finding
from stream.cli.demo import _draw, _print
from stream.cli.main import run
from stream.demonstration import picture
from stream.demonstration.report import Report, summarize

WRONG = ("lost", "duplicated", "mismatched", "wrong_lineage", "out_of_order", "altered", "unjudged")
CACHE = {"tiers": [], "hit_rate_l1": None}


def report(latencies_ms: list[float], acknowledged: int | None = None, **wrong: int) -> Report:
    sent = np.arange(len(latencies_ms), dtype=float)
    times = np.column_stack((sent, sent + np.array(latencies_ms) / 1_000))
    scored = len(latencies_ms)
    published = scored + wrong.get("lost", 0) + wrong.get("dead_letters", 0)
    counts = {**dict.fromkeys(("dead_letters", *WRONG), 0), **wrong}
    finding = Finding(published, scored, **counts)
    return summarize(finding, published if acknowledged is None else acknowledged, times, 0.2, CACHE)


def test_scores_that_were_late_are_told_beside_what_passed_means(capsys: pytest.CaptureFixture[str]) -> None:
    late = report([50.0, 199.0, 201.0, 900.0])
    assert (late.on_time, late.passed, late.as_json()["on_time"]) == (0.5, True, 0.5)
    _print(late)
    printed = capsys.readouterr().out.splitlines()
    assert "on time: 50.0 % of the scores (budget 200 ms)" in printed
    assert printed[-1].startswith("PASSED: each claim has exactly one score")
    assert printed[-1].endswith("being on time is measured, not judged")


@pytest.mark.parametrize("kind", [*WRONG, "dead_letters"])
def test_a_run_with_anything_wrong_failed_and_says_with_what(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report([50.0], **{kind: 3})
    assert not found.passed
    _print(found)
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED: 3 ")


def test_a_run_whose_topic_has_not_what_the_broker_took_failed(capsys: pytest.CaptureFixture[str]) -> None:
    found = report([50.0, 60.0], acknowledged=3)
    assert (found.passed, found.as_json()["passed"]) == (False, False)
    _print(found)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "FAILED: 2 claims in the topic, where the broker took 3"


def test_where_no_score_came_none_was_on_time(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = summarize(Finding(0, 0, 0, 0, 0, 0, 0, 0), 0, np.empty((0, 2)), 0.2, CACHE)
    assert (nothing.p50_ms, nothing.p99_ms) == (None, None)
    _print(nothing)
    printed = capsys.readouterr().out
    assert "on time: no score came (budget 200 ms)" in printed
    assert "P50" not in printed


def test_a_place_where_no_picture_can_be_written_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder can be made below a file")
    for place, said in (
        ("file/plot.png", "no picture can be written to"),
        ("plot.txt", "end its name in .png"),
    ):
        assert run(["demo", "--picture", str(tmp_path / place)]) == 2
        assert said in capsys.readouterr().err


def test_a_picture_is_drawn_where_scores_came_and_a_full_disk_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = tmp_path / "plot.png"
    _draw(report([]), plot, as_json=False)
    assert not plot.exists()
    _draw(report([50.0, 60.0]), plot, as_json=False)
    assert plot.read_bytes().startswith(b"\x89PNG")

    def full(_place: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(picture.durable, "write", full)
    _draw(report([50.0]), plot, as_json=False)
    told = capsys.readouterr()
    assert told.out == f"latency plot: {plot}\n"
    assert told.err == f"claimstream: the latency plot {plot} was not written: No space left on device\n"
