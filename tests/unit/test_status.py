"""What batching tells of itself, and the command that shows it."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stream.admin import AdminServer, application
from stream.backpressure import AHEAD, Flow, Reading
from stream.batching_view import batching_view, standing
from stream.cli import status
from stream.cli.main import FAILED, USAGE, run
from stream.decisions import BatchingStatus, Decision, DecisionLog, LaneReport, reasons, typical
from stream.metrics import Snapshot, StageMetrics
from tests.scripted_stage import Stage


def scored() -> Stage:
    stage = Stage()
    ends = {0: (0, 100), 1: (0, 0)}
    stage.consumer.get_watermark_offsets = lambda place, **_: ends[place.partition]  # type: ignore[method-assign]
    stage.publish(100)
    stage.run(120)
    return stage


def view(stage: Stage) -> dict[str, Any]:
    return batching_view({3: stage.pipeline.batching(stage.clock.now())}, stage.metrics.snapshot())


@pytest.fixture
def address() -> Iterator[str]:
    stage = scored()
    snapshot = stage.metrics.snapshot()
    document = {"instance": standing("", 1, 1, snapshot), **view(stage)}
    app = application(StageMetrics().snapshot, bool, bool, None, lambda: document, None)  # type: ignore[arg-type]
    server = AdminServer(app, "127.0.0.1", 0)
    server.start()
    yield server.address
    server.stop()


def test_every_decision_says_what_was_known_and_what_came_of_it() -> None:
    stage = scored()
    told = stage.pipeline.batching(stage.clock.now())
    assert isinstance(told, BatchingStatus)
    assert sum(decision.claims for decision in told.decisions) == 100
    first = told.decisions[0]
    assert (first.model, first.version, first.waiting, first.given_up, first.cap_ms) == (
        "null",
        "1.0.0",
        100,
        0,
        None,
    )
    assert first.slack_ms is not None
    assert first.slack_ms > 0
    lane = told.lanes[0]
    assert (lane.model, lane.waiting, lane.aside) == ("null", 0, 0)
    assert sum(lane.reasons.values()) == pytest.approx(1.0)
    # Claims come, though none waits at this moment.
    assert lane.rate > 0


def test_the_document_is_json_and_names_the_share_on_time() -> None:
    document = json.loads(json.dumps(view(scored()), allow_nan=False))
    assert document["on_time"] == 1.0
    (worker,) = document["workers"]
    assert (worker["worker"], worker["flow"], worker["lanes"][0]["model"]) == (3, "read", "null")
    assert batching_view({}, Snapshot()) == {"on_time": None, "workers": []}


def test_what_keeps_a_worker_from_reading_is_said() -> None:
    stage = scored()
    stage.pipeline.gate.reading = Reading(Flow.HOLD, AHEAD)
    (worker,) = view(stage)["workers"]
    assert (worker["flow"], worker["held_by"]) == ("hold", "ahead")
    assert status._worker(worker).startswith("worker 3: intake hold (ahead), pressure 0.00")


def test_the_log_keeps_the_latest() -> None:
    log = DecisionLog()
    for number in range(1_000):
        closed = "size" if number % 4 else "idle"
        log.note(Decision(number, "m", "1.0.0", closed, 1, 0, 0, 1, 0, 1.0, 1.0, None, 1, 1, 0.0, 1.0), 0.002)
    latest = log.latest()
    assert [decision.at for decision in latest] == list(range(744, 1_000))
    assert reasons(latest) == {"size": 0.75, "idle": 0.25}
    assert typical(latest) == (1.0, 2.0)
    assert (reasons(()), typical(())) == ({}, (None, None))


def test_the_command_shows_lanes_and_what_presses(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--url", address]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("ready; 1 of 1 workers, 0 restarts\n100 read, 100 delivered, 0 dead letters\n")
    assert "\n0 in flight, lag 0\n" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "null:1.0.0" in shown
    assert "worker 3: intake read, pressure 0.00" in shown
    assert "on time so far: 100.00 %" in shown


def test_the_command_prints_json(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--url", address, "--json"]) == 0
    assert LaneReport(**json.loads(capsys.readouterr().out)["workers"][0]["lanes"][0]).model == "null"


def test_it_can_be_watched_through_a_restart(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = status.ask, itertools.count()

    def ask(url: str, path: str) -> tuple[int, dict[str, Any]]:
        return (503, {"error": "starting"}) if next(asked) == 1 else real(url, path)

    def sleep(_: float) -> None:
        if next(slept) == 2:
            raise KeyboardInterrupt

    slept = itertools.count()
    monkeypatch.setattr(status, "ask", ask)
    monkeypatch.setattr(status.time, "sleep", sleep)
    assert run(["status", "--url", address, "--watch", "--json"]) == 130
    said = capsys.readouterr()
    assert [json.loads(line)["instance"]["ready"] for line in said.out.splitlines()] == [True, True]
    assert said.err.strip() == f"claimstream: {address}: starting"


def test_why_it_is_not_ready_is_said_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {
        "instance": standing("workers are starting", 1, 2, Snapshot()),
        **batching_view({}, Snapshot()),
    }
    monkeypatch.setattr(status, "ask", lambda *_: (200, document))
    assert run(["status"]) == 0
    assert capsys.readouterr().out.startswith("not ready: workers are starting; 1 of 2 workers")


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("127.0.0.1:1", USAGE, "give it as http://HOST:PORT"),
        ("http://127.0.0.1:abc", USAGE, "give it as http://HOST:PORT"),
        ("http://[::1", USAGE, "give it as http://HOST:PORT"),
        ("http://", USAGE, "give it as http://HOST:PORT"),
        ("http://a stage:8000", USAGE, "give it as http://HOST:PORT"),
        ("http://127.0.0.1:1", FAILED, "no answer of a stage"),
    ],
)
def test_where_no_stage_answers_it_says_so(
    url: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--url", url]) == code
    assert said in capsys.readouterr().err


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Something that listens and says this to the first who asks."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def of_http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


@pytest.mark.parametrize("token", ["hush-hush\n", "hush\rhush", "hush\N{SNOWMAN}hush"])
def test_a_token_that_no_header_can_carry_is_not_told(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "preload", "m", "--token", token, "--url", "http://127.0.0.1:1"]) == USAGE
    said = capsys.readouterr().err
    assert "--token holds a line break" in said
    assert "hush" not in said


@pytest.mark.parametrize("command", [["status"], ["models", "preload", "m", "--token", "a token"]])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "no answer of a stage"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no answer of a stage"),
        (of_http(b"[]"), "no answer of a stage: a JSON list"),
        (of_http(b"{}"), "not of a stage of this version"),
        (of_http(b'{"workers": 1}'), "not of a stage of this version"),
        (of_http(b"[]", b"502 Bad Gateway"), "it answered 502 Bad Gateway"),
    ],
)
def test_whoever_answers_instead_of_a_stage_is_no_traceback(
    command: list[str], answer: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(answer) as url:
        assert run([*command, "--url", url]) in (FAILED, USAGE)
    assert said in capsys.readouterr().err
