"""Readers that end where topics ended give up on a transaction that hangs, however busy the other partitions are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream import audit_topics
from stream.cli.dlq.reading import LetterTopic
from stream.errors import FatalError
from stream.silence import quiet_after

LONGEST = 1_000
BUSY, HANGING = 0, 1
ENDS = {BUSY: (0, 2), HANGING: (0, 2)}


class Record:
    """As much of a message as is looked at."""

    def __init__(self, partition: int, offset: int) -> None:
        self._partition, self._offset = partition, offset

    def error(self) -> None:
        return None

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset


class BusyConsumer:
    """One more record of the one partition at every look, until it is paused; never any of the other."""

    def __init__(self) -> None:
        self.looks = 0
        self.paused: list[int] = []

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    def close(self) -> None: ...

    def pause(self, partitions: list[TopicPartition]) -> None:
        assert [each.topic for each in partitions] == ["t"]
        self.paused += [each.partition for each in partitions]

    def poll(self, timeout: float) -> Record | None:
        self.looks += 1
        assert self.looks < LONGEST, "it never gives up"
        return None if BUSY in self.paused else Record(BUSY, self.looks - 1)

    def consume(self, count: int, timeout: float) -> list[Record]:
        if not timeout:
            return []
        first = self.poll(timeout)
        return [] if first is None else [first]


def of_an_audit(consumer: BusyConsumer, _: pytest.MonkeyPatch) -> Iterator[Any]:
    return audit_topics._up_to(consumer, "t", {number: end for number, (_, end) in ENDS.items()}, 30.0)


def of_letters(consumer: BusyConsumer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(LetterTopic, "_consumer", lambda *_: consumer)
    topic = LetterTopic.__new__(LetterTopic)
    topic.name = "t"
    return topic._read(ENDS)


@pytest.mark.parametrize(
    ("reading", "error", "message"),
    [
        (
            of_an_audit,
            TimeoutError,
            "for 30 s before the end of partitions 1: a transaction may be open there",
        ),
        (of_letters, FatalError, "'t' brought nothing for 30 s before its end"),
    ],
)
def test_a_partition_that_is_read_and_goes_on_keeps_nobody_waiting_for_one_that_hangs(
    reading: Callable[[BusyConsumer, pytest.MonkeyPatch], Iterator[Any]],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = BusyConsumer()
    records = reading(consumer, monkeypatch)
    read = [next(records), next(records)]
    assert [(record.partition(), record.offset()) for record in read] == [(BUSY, 0), (BUSY, 1)]
    with pytest.raises(error, match=message):
        next(records)
    assert consumer.paused == [BUSY]


@given(st.floats(0.0, 60.0), st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)))
def test_only_what_is_wanted_breaks_a_silence_and_only_waiting_lengthens_it(
    quiet: float, came: set[int], wanted: set[int]
) -> None:
    after = quiet_after(quiet, came, wanted, 0.5)
    assert after == (0.0 if came & wanted else quiet if came else quiet + 0.5)
