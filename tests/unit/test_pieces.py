"""Reports of any length travel in pieces that are written at once."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest

from stream.backpressure import Flow
from stream.clock import ManualClock
from stream.decisions import BatchingStatus, Decision, DecisionLog
from stream.pieces import LARGEST, Pieces, send
from stream.reports import Joining
from stream.supervisor import Supervisor
from tests.unit.test_supervisor import PATIENCE, Fleet


def longest_status() -> BatchingStatus:
    """As many decisions as are kept, each of another model with a long name."""
    log = DecisionLog()
    for number in range(300):
        # A pickle writes a string once, however often it comes.
        names = (f"{number}".ljust(100, "m"), f"{number}".ljust(100, "v"))
        log.note(Decision(1.5, *names, "deadline", 512, 9, 9, 9, 9, 0.1, 0.2, 0.3, 512, 512, 0.4, 0.5), 0.6)
    return BatchingStatus(0.5, {}, Flow.READ, "", False, 1.0, 1.0, (), log.latest())


class Pipe:
    """Both ends, and how long the messages are."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def send_bytes(self, data: bytes) -> None:
        self.messages.append(data)

    def recv_bytes(self) -> bytes:
        return self.messages.pop(0)


@pytest.mark.parametrize("report", [Joining(), longest_status(), b"x" * LARGEST, b"+" * (3 * LARGEST)])
def test_a_report_arrives_as_it_was_sent_in_pieces_that_are_written_at_once(report: Any) -> None:
    pipe, pieces = Pipe(), Pieces()
    for _ in range(2):
        send(pipe, report)  # type: ignore[arg-type]
        assert max(map(len, pipe.messages)) < 16_384
        found = [pieces.receive(pipe) for _ in range(len(pipe.messages))]  # type: ignore[arg-type]
        assert found == [None] * (len(found) - 1) + [report]


def test_what_is_sent_whole_is_an_ordinary_message() -> None:
    ours, theirs = multiprocessing.Pipe()
    send(theirs, Joining())
    assert ours.recv() == Joining()
    theirs.send(Joining())
    assert Pieces().receive(ours) == Joining()


def test_a_worker_that_is_frozen_in_a_report_is_ended_like_any_that_says_nothing() -> None:
    fleet, clock = Fleet(), ManualClock()
    supervisor = Supervisor(fleet, 1, clock, PATIENCE)
    supervisor.step(0.0)
    process = fleet.spawned[0][1]
    process.connection.send(Joining())
    supervisor.step(0.0)
    pipe = Pipe()
    send(pipe, longest_status())  # type: ignore[arg-type]
    process.connection.send_bytes(pipe.messages[0])
    supervisor.step(0.0)
    assert supervisor.batching() == {}
    for _ in range(200):
        clock.advance(1.0)
        supervisor.step(0.0)
    assert process.killed
