"""Schemas of many ids are learned in portions of bounded time, each id asked for once."""

from __future__ import annotations

from threading import Event, active_count
from typing import Any

import pytest

import schemas
from stream.clock import Clock, ManualClock, SystemClock
from stream.codec import Decoder
from stream.codec.framing import SINGLE_OBJECT_HEADER, confluent_prefix
from stream.codec.learning import PATIENCE, LearnedSchemas
from stream.errors import DecodeError, RetryError, UnfinishedError
from stream.pipeline import NEVER
from tests.scripted_stage import Record, Stage
from tests.unit.test_codec import TWO, Known

SLOW = 0.05


class Answering(Known):
    """A source whose answers take their time, and that is away when told so."""

    def __init__(self, clock: ManualClock, known: dict[int, Any], seconds: float = SLOW) -> None:
        super().__init__(known)
        self._clock = clock
        self._seconds = seconds
        self.away = False

    def schema(self, schema_id: int) -> dict[str, Any]:
        self._clock.advance(self._seconds)
        if self.away:
            raise RetryError("nobody answers")
        return super().schema(schema_id)


def within_the_call(source: Known, clock: Clock) -> LearnedSchemas:
    return LearnedSchemas(source, clock, start=lambda work: work())


def test_many_unknown_ids_are_asked_for_in_portions_and_once_each() -> None:
    clock = ManualClock()
    source = Answering(clock, {7: TWO})
    learned, tries = within_the_call(source, clock), 0
    while True:
        tries, started = tries + 1, clock.now()
        try:
            learned.learn(range(2_000))
        except UnfinishedError:
            assert clock.now() - started <= PATIENCE + SLOW
            continue
        break
    # Longer than a refusal is remembered.
    assert tries * PATIENCE > 90.0
    assert sorted(source.asked) == list(range(2_000))
    assert learned.schema(7) == TWO
    with pytest.raises(DecodeError, match="schema id 0 is unknown to the registry"):
        learned.schema(0)
    with pytest.raises(RetryError, match="the schema of id 5000 was not asked for yet"):
        learned.schema(5_000)


def test_what_was_refused_is_asked_for_again_after_half_a_minute() -> None:
    clock = ManualClock()
    source = Answering(clock, {})
    learned = within_the_call(source, clock)
    for _ in range(3):
        learned.learn([6])
    assert source.asked == [6]
    clock.advance(31.0)
    source.known[6] = TWO
    learned.learn([6])
    learned.learn([6])
    assert source.asked == [6, 6]
    assert learned.schema(6) == TWO


def test_a_source_that_fails_after_answers_is_asked_on_at_once_and_one_that_fails_first_later() -> None:
    clock = ManualClock()
    source = Answering(clock, {1: TWO})
    learned = within_the_call(source, clock)
    learned.learn([1])
    source.away = True
    with pytest.raises(RetryError, match="nobody answers") as found:
        learned.learn([1, 2])
    assert not isinstance(found.value, UnfinishedError)
    source.away = False
    learned.learn([1, 2])
    assert source.asked == [1, 2]


def test_only_what_nobody_asks_for_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.codec.learning._REFUSED_KEPT", 10)
    clock = ManualClock()
    source = Answering(clock, {}, 0.0)
    learned = within_the_call(source, clock)
    learned.learn(range(20))
    learned.learn(range(10, 20))
    learned.learn([10, 5])
    assert sorted(source.asked) == sorted([*range(20), 5])


class Hanging:
    """A source that answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.let = Event()

    def schema(self, schema_id: int) -> dict[str, Any]:
        self.asked.append(schema_id)
        self.let.wait(20.0)
        return TWO


def test_a_request_that_hangs_is_not_waited_for_and_its_answer_is_used() -> None:
    source, before = Hanging(), active_count()
    learned = LearnedSchemas(source, SystemClock(), patience=0.05, at_once=3)
    for _ in range(3):
        with pytest.raises(RetryError, match=r"gave no answer within 0\.05 s"):
            learned.learn(range(9))
    assert active_count() == before + 3
    assert len(source.asked) == 3
    source.let.set()
    while True:
        try:
            learned.learn(range(9))
        except UnfinishedError:
            continue
        break
    assert sorted(source.asked) == list(range(9))


def test_a_defect_of_a_source_is_raised() -> None:
    learned = within_the_call(Known({1: 5}), ManualClock())
    with pytest.raises(TypeError):
        learned.learn([1])


def test_a_poll_of_strangers_is_admitted_without_a_long_step_and_without_growing_waits() -> None:
    stage = Stage()
    source = Answering(stage.clock, {})
    stage.pipeline.admission._decoder._registry = within_the_call(source, stage.clock)
    now = int(stage.clock.wall() * 1_000)
    stage.consumer.records += [
        Record(0, offset, confluent_prefix(offset) + b"\x00", b"", now) for offset in range(200)
    ]
    longest, started = 0.0, stage.clock.now()
    while not stage.producer.sent:
        before = stage.clock.now()
        due = stage.pipeline.intake(before)
        longest = max(longest, stage.clock.now() - before)
        stage.step("output")
        assert due < NEVER
        stage.clock.advance(0.01)
    assert longest < PATIENCE + 2 * SLOW
    assert stage.clock.now() - started < 1.5 * 200 * SLOW
    assert stage.pipeline.backoff.failures == 0
    stage.run()
    assert len(source.asked) == 200
    assert stage.consumer.standing[0].offset == 200


def bare_like_framed() -> dict[str, Any]:
    """The shipped schema behind bytes that a bare value begins with, and that could be an id of the registry."""
    claim = schemas.load("claim_event")
    more = [{"name": f"more{place}", "type": "int", "default": 0} for place in range(5)]
    return {**claim, "fields": [*more, *claim["fields"]]}


def test_bare_claims_of_a_gone_version_are_read_again_after_their_id_was_forgotten() -> None:
    stage = Stage()
    bare, source = bare_like_framed(), Answering(stage.clock, {}, 0.0)
    stage.pipeline.admission._decoder = Decoder(
        schemas.load("claim_event"), bare_schema=bare, registry=within_the_call(source, stage.clock)
    )
    stage.publish(20)
    for record in stage.consumer.records:
        record._answers["value"] = bytes(5) + record._answers["value"][SINGLE_OBJECT_HEADER:]
    stage.step("intake")
    stage.clock.advance(31.0)
    # Another poll, of another id, lets go of what was refused long ago.
    stage.pipeline.admission._decoder.learn([confluent_prefix(9)])
    source.away = True
    with pytest.raises(RetryError, match="nobody answers"):
        stage.pipeline.admission.readmit(0)
    assert stage.pipeline.admission._lanes.queued() == 20
    source.away = False
    assert stage.pipeline.admission.readmit(0) == 20
    assert stage.pipeline.admission._lanes.queued() == 20
    assert source.asked == [0, 9, 0]
    stage.run(20)
    assert len(stage.producer.sent) == 20
