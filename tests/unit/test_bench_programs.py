"""Programs that a benchmark starts and that end, and scores that do not come."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import load, offline, windows
from bench.batching.live import recovered
from bench.missing import unanswered
from bench.programs import Program, program

DIES = [sys.executable, "-c", "import sys; sys.exit('no broker')"]
STAYS = [sys.executable, "-c", "import time; time.sleep(60)"]


def ended(started: Program) -> None:
    started._process.wait(20)


@pytest.mark.parametrize("lasting", [True, False])
def test_one_that_dies_is_told_with_its_last_words(lasting: bool) -> None:
    with program("stage", DIES, {}, lasting=lasting) as started:
        ended(started)
        with pytest.raises(RuntimeError, match="stage ended with 1: no broker"):
            started.check()


def test_what_waits_for_it_does_not_wait_any_longer() -> None:
    meter = SimpleNamespace(total=lambda: 0)
    growth: Any = windows.Meter.await_growth
    receiver: Any = SimpleNamespace(count=0)
    with program("stage", DIES, {}, lasting=True) as started:
        for wait in (
            lambda: growth(meter, 0, 1, started.check),
            lambda: load.await_scores(receiver, 1, started.check),
        ):
            with pytest.raises(RuntimeError, match="no broker"):
                wait()


def test_the_end_of_a_publisher_is_its_success_and_that_of_a_stage_a_failure() -> None:
    quiet = [sys.executable, "-c", ""]
    with program("publish", quiet, {}, lasting=False) as publisher:
        publisher.finish()
    with program("stage", quiet, {}, lasting=True) as stage:
        ended(stage)
        with pytest.raises(RuntimeError, match="stage ended with 0: it said nothing"):
            stage.check()


def test_none_is_left_behind_by_an_error() -> None:
    before = time.monotonic()
    with pytest.raises(KeyError), program("publish", STAYS, {}, lasting=False) as started:
        raise KeyError
    assert started._process.returncode is not None
    assert time.monotonic() - before < 20


def test_a_model_alone_that_dies_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    process = SimpleNamespace(start=int, is_alive=lambda: False, exitcode=-9, kill=int, join=int, pid=1)
    context = SimpleNamespace(Value=lambda *_: SimpleNamespace(value=0), Process=lambda **_: process)
    monkeypatch.setattr(offline.multiprocessing, "get_context", lambda _: context)
    with pytest.raises(RuntimeError, match="ended with -9 before"), offline.offline("claims_filter"):
        pass


def test_claims_without_a_score_are_told_though_others_were_scored_twice() -> None:
    scored = np.array([[0, 4], [0, 5], [0, 5], [0, 6], [0, 99], [1, 0], [1, 0]])
    assert unanswered({0: (5, 7), 1: (0, 1)}, scored) == 0
    assert unanswered({0: (5, 8), 1: (0, 3), 2: (0, 2)}, scored) == 1 + 2 + 2


def test_a_stage_that_scored_nothing_never_recovered() -> None:
    assert recovered(np.empty((0, 2)), 100.0, 0.2) == (0.0, float("inf"))
