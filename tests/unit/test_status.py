"""What batching tells of itself, and the command that shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stream.admin import AdminServer, application
from stream.batching_view import batching_view
from stream.cli.main import FAILED, USAGE, run
from stream.decisions import BatchingStatus, Decision, DecisionLog, LaneReport, reasons, typical
from stream.metrics import Snapshot, StageMetrics
from tests.scripted_stage import Stage


def scored() -> Stage:
    stage = Stage()
    stage.publish(100)
    stage.run(20)
    return stage


def view(stage: Stage) -> dict[str, Any]:
    return batching_view({3: stage.pipeline.batching(stage.clock.now())}, stage.metrics.snapshot())


@pytest.fixture
def address() -> Iterator[str]:
    document = view(scored())
    app = application(StageMetrics().snapshot, bool, bool, None, lambda: document, None)  # type: ignore[arg-type]
    server = AdminServer(app, "127.0.0.1", 0)
    server.start()
    yield server.address
    server.stop()


def test_every_decision_says_what_was_known_and_what_came_of_it() -> None:
    stage = scored()
    status = stage.pipeline.batching(stage.clock.now())
    assert isinstance(status, BatchingStatus)
    assert sum(decision.claims for decision in status.decisions) == 100
    first = status.decisions[0]
    assert (first.model, first.version, first.waiting, first.given_up, first.cap_ms) == (
        "null",
        "1.0.0",
        100,
        0,
        None,
    )
    assert first.slack_ms is not None
    assert first.slack_ms > 0
    lane = status.lanes[0]
    assert (lane.model, lane.waiting, lane.aside) == ("null", 0, 0)
    assert sum(lane.reasons.values()) == pytest.approx(1.0)


def test_the_document_is_json_and_names_the_share_on_time() -> None:
    document = json.loads(json.dumps(view(scored()), allow_nan=False))
    assert document["on_time"] == 1.0
    (worker,) = document["workers"]
    assert (worker["worker"], worker["flow"], worker["lanes"][0]["model"]) == (3, "read", "null")
    assert batching_view({}, Snapshot()) == {"on_time": None, "workers": []}


def test_the_log_keeps_the_latest() -> None:
    log = DecisionLog()
    for number in range(1_000):
        closed = "size" if number % 4 else "idle"
        log.note(Decision(number, "m", "1.0.0", closed, 1, 0, 0, 1, 0, 1.0, 1.0, None, 1, 1, 0.0, 1.0, 2.0))
    latest = log.latest()
    assert [decision.at for decision in latest] == list(range(744, 1_000))
    assert reasons(latest) == {"size": 0.75, "idle": 0.25}
    assert typical(latest) == (1.0, 2.0)
    assert (reasons(()), typical(())) == ({}, (None, None))


def test_the_command_shows_lanes_and_what_presses(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--url", address]) == 0
    shown = capsys.readouterr().out
    assert "null:1.0.0" in shown
    assert "worker 3: intake read, pressure 0.00" in shown
    assert "on time so far: 100.00 %" in shown


def test_the_command_prints_json(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--url", address, "--json"]) == 0
    assert LaneReport(**json.loads(capsys.readouterr().out)["workers"][0]["lanes"][0]).model == "null"


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("127.0.0.1:1", USAGE, "give it as http://HOST:PORT"),
        ("http://127.0.0.1:1", FAILED, "no answer of a stage"),
    ],
)
def test_where_no_stage_answers_it_says_so(
    url: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--url", url]) == code
    assert said in capsys.readouterr().err
