"""Faults of the simulated Kafka, each at its step: what a real broker does only when it is tormented."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream.clock import ManualClock
from stream.embedded.simulated import (
    Effect,
    PlannedFaults,
    ProcessDied,
    SimulatedKafka,
    SimulatedProcess,
    Step,
)
from stream.embedded.simulated.assignor import balanced, cooperative


class Scene:
    """One topic of two partitions, and processes to join its group."""

    def __init__(self) -> None:
        self.clock, self.faults = ManualClock(), PlannedFaults()
        self.kafka = SimulatedKafka(self.clock, self.faults)
        self.kafka.create_topic("t", 2)
        self.told: list[tuple[str, str, list[int]]] = []

    def member(self, name: str) -> tuple[SimulatedProcess, Any]:
        process = self.kafka.process(name)
        options = {"group.id": "g", "session.timeout.ms": 3_000, "heartbeat.interval.ms": 300}
        consumer = process.consumer({**options, "auto.offset.reset": "earliest"})
        consumer.subscribe(
            ["t"],
            **{
                f"on_{news}": lambda _, partitions, news=news: self.told.append(
                    (name, news, [each.partition for each in partitions])
                )
                for news in ("assign", "revoke", "lost")
            },
        )
        return process, consumer

    def pass_time(self, seconds: float, *consumers: Any) -> None:
        for _ in range(int(seconds / 0.1)):
            self.clock.advance(0.1)
            for consumer in consumers:
                consumer.consume(10, 0)


def values(scene: Scene) -> list[bytes | None]:
    return [message.value() for message in scene.kafka.messages("t")]


def offsets(number: int) -> list[TopicPartition]:
    return [TopicPartition("t", 0, number)]


def test_a_member_that_stands_still_is_cast_out_and_learns_of_it_when_it_goes_on() -> None:
    scene = Scene()
    process, first = scene.member("first")
    scene.pass_time(1.0, first)
    process.freeze()
    _, second = scene.member("second")
    scene.pass_time(4.0, second)
    assert scene.told == [("first", "assign", [0, 1]), ("second", "assign", [0, 1])]
    process.thaw()
    with pytest.raises(KafkaException) as refused:
        first.commit(offsets=offsets(1), asynchronous=False)
    assert refused.value.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID
    first.poll(0)
    assert scene.told[-1] == ("first", "lost", [0, 1])


def test_a_client_that_leaves_sends_its_commits_first_though_its_thread_had_no_time_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene()
    _, member = scene.member("p")
    scene.pass_time(1.0, member)
    monkeypatch.setattr(scene.faults, "dawdles", lambda _: True)
    member.commit(offsets=offsets(3))
    member.close()
    assert scene.kafka.group("g").offsets["t", 0][0] == 3


@pytest.mark.parametrize("effect", [Effect.REQUEST_LOST, Effect.ANSWER_LOST])
def test_an_idempotent_producer_sends_again_and_writes_once(effect: Effect) -> None:
    scene = Scene()
    producer = scene.kafka.process("p").producer({"enable.idempotence": True, "linger.ms": 0})
    scene.faults.plan(Step.PRODUCE, effect)
    for value in (b"a", b"b"):
        producer.produce("t", value, partition=0)
    producer.poll(0)
    assert len(producer) == 2
    assert producer.flush(5.0) == 0
    assert values(scene) == [b"a", b"b"]


def test_without_idempotence_a_lost_answer_writes_twice() -> None:
    scene = Scene()
    producer = scene.kafka.process("p").producer({"linger.ms": 0})
    scene.faults.plan(Step.PRODUCE, Effect.ANSWER_LOST)
    producer.produce("t", b"a", partition=0)
    producer.flush(5.0)
    assert values(scene) == [b"a", b"a"]


def test_a_commit_that_applied_without_an_answer_may_be_asked_for_again() -> None:
    scene = Scene()
    producer = scene.kafka.process("p").producer({"transactional.id": "x", "linger.ms": 0})
    producer.init_transactions(5.0)
    producer.begin_transaction()
    producer.produce("t", b"a", partition=0)
    producer.flush(1.0)
    scene.faults.plan(Step.END_TXN, Effect.ANSWER_LOST)
    with pytest.raises(KafkaException) as unsure:
        producer.commit_transaction(0.0)
    assert (unsure.value.args[0].code(), unsure.value.args[0].retriable()) == (KafkaError._TIMED_OUT, True)
    assert values(scene) == [b"a"]
    for call in (producer.abort_transaction, lambda: producer.send_offsets_to_transaction([], None)):
        with pytest.raises(KafkaException) as conflict:
            call()
        assert conflict.value.args[0].code() == KafkaError._CONFLICT
    with pytest.raises(KafkaException, match="_STATE"):
        producer.produce("t", b"b")
    producer.commit_transaction(1.0)
    producer.begin_transaction()
    assert scene.kafka.log("t", 0).end == 2


def test_an_abort_after_a_lost_request_begins_a_new_epoch() -> None:
    scene = Scene()
    producer = scene.kafka.process("p").producer({"transactional.id": "x", "linger.ms": 0})
    producer.init_transactions(5.0)
    producer.begin_transaction()
    scene.faults.plan(Step.PRODUCE, Effect.ANSWER_LOST)
    producer.produce("t", b"a", partition=0)
    producer.poll(0)
    scene.faults.plan(Step.INIT_PRODUCER, Effect.ANSWER_LOST)
    producer.abort_transaction(5.0)
    producer.begin_transaction()
    producer.produce("t", b"b", partition=0)
    producer.commit_transaction(5.0)
    assert values(scene) == [b"b"]


def test_an_orphaned_transaction_blocks_readers_until_its_time_out() -> None:
    scene = Scene()
    process = scene.kafka.process("p")
    producer = process.producer({"transactional.id": "x", "linger.ms": 0, "transaction.timeout.ms": 5_000})
    producer.init_transactions(5.0)
    producer.begin_transaction()
    producer.produce("t", b"a", partition=0)
    producer.flush(1.0)
    process.kill()
    scene.kafka.write("t", 0, b"b")
    _, reader = scene.member("reader")
    scene.pass_time(4.0, reader)
    assert reader.position(offsets(0))[0].offset == -1001
    scene.pass_time(2.0, reader)
    assert reader.position(offsets(0))[0].offset == 3
    assert values(scene) == [b"b"]


def test_a_commit_that_waited_for_its_coordinator_is_one_of_the_generation_in_which_it_is_sent() -> None:
    scene = Scene()
    _, first = scene.member("first")
    scene.pass_time(1.0, first)
    before = first.consumer_group_metadata().generation
    for _ in range(60):
        scene.faults.plan(Step.COMMIT, Effect.REQUEST_LOST)
    first.commit(offsets=offsets(1))
    _, second = scene.member("second")
    scene.pass_time(2.0, first, second)
    assert first.consumer_group_metadata().generation > before
    assert scene.kafka.group("g").offsets == {}
    scene.pass_time(5.0, first, second)
    assert scene.kafka.group("g").offsets == {("t", 0): (1, None)}


def test_a_commit_from_before_a_member_stood_still_is_refused_like_its_old_name() -> None:
    scene = Scene()
    process, first = scene.member("first")
    scene.pass_time(1.0, first)
    first.commit(offsets=offsets(1))
    process.freeze()
    _, second = scene.member("second")
    scene.pass_time(4.0, second)
    process.thaw()
    scene.pass_time(3.0, first, second)
    assert ("first", "lost", [0, 1]) in scene.told
    assert first.memberid()
    assert scene.kafka.group("g").offsets == {}


def test_a_commit_that_finds_no_coordinator_is_given_up_after_a_session() -> None:
    scene = Scene()
    process, first = scene.member("first")
    scene.pass_time(1.0, first)
    process.cut_off = True
    first.commit(offsets=offsets(1))
    scene.pass_time(3.5, first)
    process.cut_off = False
    scene.pass_time(3.0, first)
    assert scene.told[-1] == ("first", "assign", [0, 1])
    assert scene.kafka.group("g").offsets == {}


@pytest.mark.parametrize("commits", [True, False])
def test_a_transaction_without_a_message_ends_whatever_became_of_the_one_before(commits: bool) -> None:
    producer = Scene().kafka.process("p").producer({"transactional.id": "x", "linger.ms": 0})
    producer.init_transactions(5.0)
    ends = [producer.commit_transaction, producer.abort_transaction]
    producer.begin_transaction()
    producer.produce("t", b"a", partition=0)
    producer.flush(1.0)
    ends[not commits](5.0)
    producer.begin_transaction()
    ends[commits](5.0)
    producer.begin_transaction()


@pytest.mark.parametrize(
    ("effect", "committed"), [(Effect.DIES_BEFORE, {}), (Effect.DIES_AFTER, {("t", 0): (1, None)})]
)
def test_a_process_dies_at_the_step_that_is_asked_for(effect: Effect, committed: dict[Any, Any]) -> None:
    scene = Scene()
    process, consumer = scene.member("first")
    scene.pass_time(1.0, consumer)
    scene.faults.plan(Step.COMMIT, effect)
    with pytest.raises(ProcessDied):
        consumer.commit(offsets=offsets(1), asynchronous=False)
    assert not process.alive
    assert scene.kafka.group("g").offsets == committed
    with pytest.raises(ProcessDied):
        consumer.poll(0)


def test_while_the_broker_is_away_calls_time_out_and_messages_wait() -> None:
    scene = Scene()
    process, consumer = scene.member("first")
    producer = process.producer({"enable.idempotence": True, "message.timeout.ms": 0})
    scene.pass_time(1.0, consumer)
    scene.kafka.away = True
    producer.produce("t", b"a", partition=0)
    assert producer.flush(2.0) == 1
    with pytest.raises(KafkaException) as late:
        consumer.committed(offsets(0), timeout=1.0)
    assert late.value.args[0].code() == KafkaError._TIMED_OUT
    scene.kafka.away = False
    assert producer.flush(2.0) == 0


def test_partitions_that_are_added_find_a_member() -> None:
    scene = Scene()
    _, consumer = scene.member("first")
    scene.pass_time(1.0, consumer)
    scene.kafka.add_partitions("t", 3)
    scene.pass_time(1.0, consumer)
    assert scene.told == [("first", "assign", [0, 1]), ("first", "assign", [2])]


def test_what_moves_is_given_only_after_it_was_let_go() -> None:
    places = [("t", number) for number in range(5)]
    owned = {"a": frozenset(places), "b": frozenset[tuple[str, int]]()}
    target = balanced(places, owned)
    assert sorted(map(len, target.values())) == [2, 3]
    assert target["a"] < owned["a"]
    now = cooperative(target, owned)
    assert now == {"a": target["a"], "b": frozenset()}
