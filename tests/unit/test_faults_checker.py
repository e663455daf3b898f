"""What the checker of the schedules sees, and what it lets pass: results and letters made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import TopicPartition

from bench.faults import checker
from bench.faults.checker import Finding, Published, Terms, check
from bench.faults.claims import Expected, Kind
from stream.clock import ManualClock
from stream.embedded.simulated import Message, Reading, SimulatedKafka, SimulatedProcess
from stream.embedded.simulated.message import Record
from stream.offset_metadata import written

TERMS = Terms(versions={"quick": ["1.0.0"]}, drain=2.0)
ANSWER = {"model": "quick", "version": "1.0.0", "score": 0.25, "decision": "pass"}


def claim(offset: int, kind: Kind = Kind.SOUND) -> Published:
    return Published(0, offset, b"k", b"v", kind, (), ("quick",), Expected("dental", 0.25, "pass"))


def result(offset: int, **said: object) -> Message:
    content = {
        "input_partition": 0,
        "input_offset": offset,
        "claim_id": "id",
        "claim_type": "dental",
        "scores": [ANSWER],
    }
    return Message("scores", 0, Record(0, b"k", json.dumps(content | said).encode(), None, 0))


def dead(offset: int, value: bytes = b"v", headers: tuple[tuple[str, bytes | None], ...] = ()) -> Message:
    own: list[tuple[str, bytes | None]] = [
        ("claimstream-error-class", b"ModelError"),
        ("claimstream-partition", b"0"),
        ("claimstream-offset", b"%d" % offset),
    ]
    return Message("dead", 0, Record(0, b"k", value, [*headers, *own], 0))


@pytest.fixture(autouse=True)
def _as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are written so here."""
    monkeypatch.setattr(checker, "_decoded", json.loads)
    monkeypatch.setattr(checker, "_claim_id", lambda _: "id")


def judged(*results: Message, readings: list[Reading] | None, count: int = 1) -> Finding:
    return check([claim(offset) for offset in range(count)], results, [], readings, TERMS)


def test_the_checker_sees_what_is_wrong() -> None:
    inputs = [*(claim(offset) for offset in range(3)), claim(3, Kind.POISON)]
    results, letters = [result(0), result(1), result(2)], [dead(3)]
    once = [Reading("t", 0, 0, "p", 4)]
    twice = [*once, Reading("t", 0, 1, "q", 4)]

    def found(results: list[Message], letters: list[Message], readings: list[Reading] | None) -> Finding:
        return check(inputs, results, letters, readings, TERMS)

    assert found(results, letters, once).sound
    assert found(results, letters, None).sound
    assert found(results[:2], letters, once).lost == 1
    assert found([*results, result(1)], letters, once).duplicated == 1
    assert found([*results, result(1)], letters, twice).sound
    assert found([*results, result(1)], letters, None).duplicated == 1
    assert found([*results, result(0)], letters, twice).duplicated == 1
    assert found([result(1), result(0), result(2)], letters, once).out_of_order == 1
    assert found([*results, result(9)], letters, once).wrong == 1
    assert found(results, [dead(3, b"w")], once).wrong == 1
    assert found(results, [*letters, dead(0)], twice).wrong == 1


def test_what_a_reading_was_told_belongs_to_the_offset_at_which_that_was_committed() -> None:
    """Offsets 1 and 2 are complete, told at 0; when it began, the group had gone on to 1."""
    told = (0, written(0, np.array([[1, 3]])))
    first, second = Reading("t", 0, 0, "p", 4), Reading("t", 0, 1, "q", 4, told)
    answers = [result(offset) for offset in range(4)]
    assert judged(*answers, result(3), readings=[first, second], count=4).sound
    assert judged(*answers, result(2), readings=[first, second], count=4).duplicated == 1


def test_a_reading_that_was_over_covers_nothing_that_came_later() -> None:
    before, after = Reading("t", 0, 0, "p", 1), Reading("t", 0, 1, "q", 2)
    answers = result(0), result(1)
    assert judged(*answers, readings=[before, after], count=2).sound
    assert judged(*answers, result(1), readings=[before, after], count=2).duplicated == 1


@pytest.mark.parametrize(
    ("left", "handed_over", "allowed"),
    [
        (None, 0.1, 1),
        ((0, None), 0.1, 1),
        # It said so, and who came after it was told otherwise: the group's offset was wound back.
        ((1, None), 0.1, 2),
        ((0, written(0, np.array([[0, 1]]))), 0.1, 2),
        (None, 2.0, 2),
        (None, None, 2),
    ],
)
def test_who_hands_over_in_order_and_in_time_answered_what_it_committed(
    left: tuple[int, str | None] | None, handed_over: float | None, allowed: int
) -> None:
    before = Reading("t", 0, 0, "p", 1, left=left, handed_over=handed_over)
    after = Reading("t", 0, 0, "q", 1)
    assert judged(result(0), result(0), readings=[before, after]).duplicated == 2 - allowed


@pytest.mark.parametrize(
    "said",
    [
        {"claim_id": "another"},
        {"claim_type": "pharmacy"},
        {"scores": []},
        {"scores": [{**ANSWER, "model": "slow"}]},
        {"scores": [ANSWER, ANSWER]},
        {"scores": [{**ANSWER, "version": "2.0.0"}]},
        {"scores": [{**ANSWER, "score": 0.2501}]},
        {"scores": [{**ANSWER, "decision": "review"}]},
    ],
)
def test_a_result_says_of_its_claim_what_the_models_of_its_route_make_of_it(said: dict[str, object]) -> None:
    assert judged(result(0), readings=None).sound
    assert judged(result(0, **said), readings=None).wrong == 1


def test_a_letter_has_the_headers_of_its_record_before_its_own() -> None:
    headers = ("a", b"1"), ("claimstream-error-class", b"of another stage"), ("a", None)
    inputs = [replace(claim(0, Kind.POISON), headers=headers)]

    def wrong(*found: tuple[str, bytes | None]) -> int:
        return check(inputs, [], [dead(0, headers=found)], None, TERMS).wrong

    assert wrong(*headers) == 0
    assert wrong() == wrong(*headers[:2]) == wrong(*reversed(headers)) == 1


class Members:
    """One partition, and members of its group that come and go."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.kafka = SimulatedKafka(self.clock)
        self.kafka.create_topic("t", 1)
        for _ in range(4):
            self.kafka.write("t", 0, b"v")

    def member(self, name: str, **callbacks: Any) -> tuple[SimulatedProcess, Any]:
        process = self.kafka.process(name)
        options = {"group.id": "g", "session.timeout.ms": 3_000, "heartbeat.interval.ms": 300}
        consumer = process.consumer({**options, "auto.offset.reset": "earliest"})
        consumer.subscribe(["t"], **callbacks)
        return process, consumer

    def pass_time(self, consumer: Any, seconds: float = 4.0, *, most: int = 10) -> None:
        for _ in range(int(seconds / 0.1)):
            self.clock.advance(0.1)
            consumer.consume(most, 0)


def at(offset: int, metadata: str = "") -> list[TopicPartition]:
    return [TopicPartition("t", 0, offset, metadata=metadata)]


def test_a_reading_knows_what_its_application_was_told_and_of_which_offset() -> None:
    members = Members()
    members.kafka.group("g").offsets["t", 0] = (1, "first")

    def assigned(client: Any, partitions: list[TopicPartition]) -> None:
        client.committed(partitions)
        members.kafka.group("g").offsets["t", 0] = (3, "second")

    _, consumer = members.member("p", on_assign=assigned)
    members.pass_time(consumer)
    (reading,) = members.kafka.readings
    assert (reading.begin, reading.told, reading.end) == (3, (1, "first"), 4)
    consumer.committed(at(0))
    assert reading.told == (3, "second")


def test_a_reading_ends_where_the_last_record_was_given() -> None:
    members = Members()
    process, first = members.member("p")
    while not members.kafka.readings:
        members.pass_time(first, 0.1, most=1)
    members.pass_time(first, 0.1, most=2)
    first.commit(offsets=at(1, "told"), asynchronous=False)
    process.kill()
    members.kafka.write("t", 0, b"v")
    _, second = members.member("q")
    members.pass_time(second)
    before, after = members.kafka.readings
    assert (before.begin, before.end, before.left, before.handed_over) == (0, 3, (1, "told"), None)
    assert (after.begin, after.end, after.told, after.left) == (1, 5, (1, "told"), None)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_partition_is_handed_over_in_order_by_who_was_not_struck(*, frozen: bool) -> None:
    members = Members()
    members.kafka.add_partitions("t", 2)

    def revoked(client: Any, partitions: list[TopicPartition]) -> None:
        members.clock.advance(0.25)
        client.commit(offsets=[TopicPartition("t", each.partition, 4) for each in partitions])

    process, first = members.member("p", on_revoke=revoked)
    members.pass_time(first)
    if frozen:
        process.freeze()
        process.thaw()
    _, second = members.member("q")
    for _ in range(20):
        members.pass_time(first, 0.1)
        members.pass_time(second, 0.1)
    given_back = [each.handed_over for each in members.kafka.readings if each.left == (4, None)]
    assert given_back == [None if frozen else pytest.approx(0.25)]


def test_who_leaves_may_have_got_ready_since_it_was_given_its_last_record() -> None:
    members = Members()
    _, consumer = members.member("p")
    while not consumer.consume(10, 0):
        members.clock.advance(0.1)
    members.pass_time(consumer, 1.5)
    consumer.close()
    (reading,) = members.kafka.readings
    assert reading.handed_over == pytest.approx(1.5)
