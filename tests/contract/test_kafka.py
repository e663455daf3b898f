"""What the stage relies on in Kafka's clients, asked of the real ones with a real broker and of the simulated ones."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from stream.clock import ManualClock
from stream.embedded.simulated import SimulatedKafka, SimulatedProcess
from stream.topics import TopicSpec, ensure_topics
from tests.conftest import Kafka

# What a real broker takes many seconds for is asked of it in the longer suite only.
SLOWLY = pytest.mark.parametrize(
    "kafkas", ["simulated", pytest.param("real", marks=pytest.mark.slow)], indirect=True
)


class Cluster(Protocol):
    """A Kafka and the means to let time pass; in `work` every client's own thread is at work meanwhile."""

    def topic(self, partitions: int, largest: int = 1_000_000) -> str: ...
    def consumer(self, **options: Any) -> Any: ...
    def producer(self, **options: Any) -> Any: ...
    def wait(self, seconds: float) -> None: ...
    def work(self, seconds: float) -> None: ...


class Real:
    def __init__(self, kafka: Kafka) -> None:
        self._client = {"bootstrap.servers": kafka.bootstrap, "log_level": 0}

    def topic(self, partitions: int, largest: int = 1_000_000) -> str:
        name = f"contract-{time.time_ns()}"
        ensure_topics(self._client, [TopicSpec(name, partitions, config={"max.message.bytes": str(largest)})])
        return name

    def consumer(self, **options: Any) -> Any:
        return Consumer({**self._client, **options})

    def producer(self, **options: Any) -> Any:
        return Producer({**self._client, **options})

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def work(self, seconds: float) -> None:
        time.sleep(seconds)


class Simulated:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.kafka = SimulatedKafka(self.clock)
        self._numbers = itertools.count()
        self._processes: list[SimulatedProcess] = []

    def topic(self, partitions: int, largest: int = 1_000_000) -> str:
        name = f"contract-{next(self._numbers)}"
        self.kafka.create_topic(name, partitions, largest=largest)
        return name

    def consumer(self, **options: Any) -> Any:
        return self._process().consumer(options)

    def producer(self, **options: Any) -> Any:
        return self._process().producer(options)

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def work(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for process in self._processes:
            process.background()

    def _process(self) -> SimulatedProcess:
        self._processes.append(self.kafka.process(f"process {next(self._numbers)}"))
        return self._processes[-1]


@pytest.fixture(params=["simulated", "real"])
def kafkas(request: pytest.FixtureRequest) -> Cluster:
    return Simulated() if request.param == "simulated" else Real(request.getfixturevalue("kafka"))


class Member:
    """A consumer, what it read, and what it was told, in order."""

    def __init__(self, kafkas: Cluster, topic: str, group: str, **options: Any) -> None:
        self.topic, self.read, self.told = topic, list[Any](), list[tuple[str, Any]]()
        self.errors: list[int] = []
        classic = {
            "partition.assignment.strategy": "cooperative-sticky",
            "heartbeat.interval.ms": 100,
            "session.timeout.ms": 6_000,
        }
        self.client = kafkas.consumer(
            **{
                "group.id": f"{topic}-{group}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                **({} if "group.protocol" in options else classic),
                "fetch.wait.max.ms": 50,
                "isolation.level": "read_committed",
                "on_commit": lambda error, _: self.told.append(("commit", error and error.code())),
                **options,
            }
        )
        self.client.subscribe(
            [topic],
            on_assign=self._note("assign"),
            on_revoke=self._note("revoke"),
            on_lost=self._note("lost"),
        )

    def poll(self) -> None:
        message = self.client.poll(0)
        for each in [message, *self.client.consume(100, 0)]:
            if each is not None and each.error() is None:
                self.read.append(each)
            elif each is not None:
                self.errors.append(each.error().code())

    @property
    def owned(self) -> list[int]:
        return sorted(each.partition for each in self.client.assignment())

    @property
    def values(self) -> list[bytes]:
        return [message.value() for message in self.read]

    def was_told(self, what: str) -> list[Any]:
        return [content for kind, content in self.told if kind == what]

    def commit(self, offset: int, metadata: str | None = None, *, wait: bool = True) -> Any:
        named = {} if metadata is None else {"metadata": metadata}
        positions = [TopicPartition(self.topic, 0, offset, **named)]
        return self.client.commit(offsets=positions, asynchronous=not wait)

    def committed(self) -> tuple[int, str | None]:
        found = self.client.committed([TopicPartition(self.topic, 0)], timeout=0.5)[0]
        return found.offset, found.metadata

    def _note(self, what: str) -> Callable[..., None]:
        return lambda _, partitions: self.told.append((what, sorted(each.partition for each in partitions)))


def until(kafkas: Cluster, condition: Callable[[], object], *members: Member, seconds: float = 20.0) -> None:
    """Poll the members until something holds."""
    for _ in range(int(seconds / 0.01)):
        for member in members:
            member.poll()
        if condition():
            return
        kafkas.wait(0.01)
    pytest.fail("waited in vain")


def joined(kafkas: Cluster, topic: str, group: str = "g", **options: Any) -> Member:
    member = Member(kafkas, topic, group, **options)
    until(kafkas, lambda: member.owned, member)
    return member


def idempotent(kafkas: Cluster, **options: Any) -> Any:
    return kafkas.producer(**{"enable.idempotence": True, "linger.ms": 1, **options})


def transactional(kafkas: Cluster, name: str, **options: Any) -> Any:
    producer = kafkas.producer(**{"transactional.id": name, "linger.ms": 1, "retry.backoff.ms": 5, **options})
    producer.init_transactions(10.0)
    return producer


def write(producer: Any, topic: str, *values: bytes, partition: int = 0) -> None:
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(10.0) == 0


def refusal(call: Callable[..., Any], *arguments: Any, **named: Any) -> KafkaError:
    with pytest.raises(KafkaException) as raised:
        call(*arguments, **named)
    error: KafkaError = raised.value.args[0]
    return error


def flags(error: KafkaError) -> tuple[int, bool, bool, bool]:
    return error.code(), error.fatal(), error.retriable(), error.txn_requires_abort()


def test_records_come_back_as_they_were_sent(kafkas: Cluster) -> None:
    topic = kafkas.topic(3)
    producer = idempotent(kafkas, partitioner="murmur2_random")
    reports: list[Any] = []
    keys = [b"a", b"member-17", b"\x00\xff", b"k" * 40, b""]
    for number, key in enumerate(keys):
        producer.produce(
            topic,
            b"v%d" % number,
            key,
            headers=[("n", b"%d" % number), ("none", None)],
            on_delivery=lambda error, message: reports.append((error, message)),
        )
    producer.produce(topic, None, b"a", partition=2, on_delivery=lambda *report: reports.append(report))
    kafkas.wait(0.1)
    assert reports == []
    assert len(producer) == 6
    assert producer.flush(10.0) == 0
    assert len(producer) == 0
    assert len(reports) == 6
    member = joined(kafkas, topic)
    until(kafkas, lambda: len(member.read) == 6, member)
    sent = {(m.partition(), m.offset()): (m.key(), m.value()) for error, m in reports if error is None}
    assert {(m.partition(), m.offset()): (m.key(), m.value()) for m in member.read} == sent
    assert {m.value(): m.partition() for m in member.read if m.value()} == {
        b"v0": 1,
        b"v1": 1,
        b"v2": 1,
        b"v3": 1,
        b"v4": 0,
    }
    first = next(m for m in member.read if m.value() == b"v0")
    assert first.headers() == [("n", b"0"), ("none", None)]
    assert first.timestamp()[0] == 1
    assert first.topic() == topic
    places = [TopicPartition(topic, number) for number in range(3)]
    counts = [sum(m.partition() == number for m in member.read) for number in range(3)]
    assert [each.offset for each in member.client.position(places)] == counts
    assert [member.client.get_watermark_offsets(each, cached=True) for each in places] == [
        (0, count) for count in counts
    ]
    assert member.client.get_watermark_offsets(places[1], timeout=5.0) == (0, counts[1])
    member.client.close()


def test_commits_carry_metadata_and_are_answered_inside_poll(kafkas: Cluster) -> None:
    topic = kafkas.topic(1)
    write(idempotent(kafkas), topic, b"0", b"1", b"2", b"3")
    member = joined(kafkas, topic)
    assert member.committed() == (-1001, None)
    assert [each.offset for each in member.commit(2, "m" * 4_000)] == [2]
    assert member.committed() == (2, "m" * 4_000)
    assert member.was_told("commit") == []
    assert refusal(member.commit, 3, "m" * 4_096).code() == KafkaError.OFFSET_METADATA_TOO_LARGE
    assert member.commit(3, "m" * 5_000, wait=False) is None
    assert member.commit(1, wait=False) is None
    kafkas.wait(0.1)
    assert member.was_told("commit") == []
    until(kafkas, lambda: len(member.was_told("commit")) == 2, member)
    assert member.was_told("commit") == [KafkaError.OFFSET_METADATA_TOO_LARGE, None]
    assert member.committed()[0] == 1
    outsider = kafkas.consumer(**{"group.id": f"{topic}-g"})
    wrong = refusal(outsider.commit, offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    assert wrong.code() == KafkaError.UNKNOWN_MEMBER_ID
    member.client.close()
    with pytest.raises(RuntimeError, match="Consumer closed"):
        member.client.poll(0)
    after = joined(kafkas, topic)
    until(kafkas, lambda: len(after.read) == 3, after)
    assert after.values == [b"1", b"2", b"3"]
    after.client.close()


def test_partitions_move_by_callbacks_inside_poll(kafkas: Cluster) -> None:
    topic = kafkas.topic(4)
    first = joined(kafkas, topic)
    assert first.told == [("assign", [0, 1, 2, 3])]
    before = first.client.consumer_group_metadata()
    second = Member(kafkas, topic, "g")
    for _ in range(30):
        second.poll()
        kafkas.wait(0.02)
    assert first.owned == [0, 1, 2, 3]
    assert len(first.told) == 1
    until(kafkas, lambda: len(second.owned) == 2 and len(first.owned) == 2, first, second)
    assert sorted(first.owned + second.owned) == [0, 1, 2, 3]
    assert first.was_told("revoke") == [second.owned]
    assert first.told[2] == ("assign", [])
    assert [each for each in second.was_told("assign") if each] == [second.owned]
    producer = transactional(kafkas, f"{topic}-t")
    producer.begin_transaction()
    offsets = [TopicPartition(topic, 0, 1)]
    stale = refusal(producer.send_offsets_to_transaction, offsets, before, 5.0)
    assert flags(stale) == (KafkaError.ILLEGAL_GENERATION, False, False, True)
    assert refusal(producer.produce, topic, b"x").code() == KafkaError._STATE
    assert flags(refusal(producer.commit_transaction, 5.0)) == flags(stale)
    producer.abort_transaction(5.0)
    owned = second.owned
    second.client.close()
    assert second.told[-1] == ("revoke", owned)
    until(kafkas, lambda: first.owned == [0, 1, 2, 3], first)
    assert first.told[-1] == ("assign", owned)
    first.client.close()


def test_nothing_is_given_away_while_its_owner_is_being_told(kafkas: Cluster) -> None:
    topic = kafkas.topic(2)
    first, others = Member(kafkas, topic, "g"), list[Member]()

    def assigned(_: Any, partitions: list[TopicPartition]) -> None:
        if others:
            return
        others.append(Member(kafkas, topic, "g"))
        for _ in range(60):
            others[0].poll()
            kafkas.work(0.01)
        first.told.append((f"others: {others[0].owned}", sorted(each.partition for each in partitions)))

    first.client.subscribe([topic], on_assign=assigned)
    until(kafkas, lambda: others, first)
    assert first.told == [("others: []", [0, 1])]
    until(kafkas, lambda: len(first.owned) == len(others[0].owned) == 1, first, *others)
    first.client.close()
    others[0].client.close()


def test_partitions_move_without_a_generation_by_kip_848(kafkas: Cluster) -> None:
    topic, led = kafkas.topic(4), {"group.protocol": "consumer"}
    first = joined(kafkas, topic, **led)
    assert first.told == [("assign", [0, 1, 2, 3])]
    before = first.client.consumer_group_metadata()
    second = Member(kafkas, topic, "g", **led)
    until(kafkas, lambda: len(second.owned) == 2 and len(first.owned) == 2, first, second)
    assert sorted(first.owned + second.owned) == [0, 1, 2, 3]
    assert first.told[1:] == [("revoke", second.owned), ("assign", [])]
    assert second.told == [("assign", second.owned)]
    producer = transactional(kafkas, f"{topic}-t")
    producer.begin_transaction()
    kept, moved = ([TopicPartition(topic, each.owned[0], 1)] for each in (first, second))
    # With those of before, too, from Kafka 4.3 on.
    producer.send_offsets_to_transaction(kept, first.client.consumer_group_metadata(), 5.0)
    stale = refusal(producer.send_offsets_to_transaction, moved, before, 5.0)
    assert flags(stale) == (KafkaError.ILLEGAL_GENERATION, False, False, True)
    producer.abort_transaction(5.0)
    owned = second.owned
    second.client.close()
    assert second.told[-1] == ("revoke", owned)
    until(kafkas, lambda: first.owned == [0, 1, 2, 3], first)
    first.client.close()


def test_a_pause_discards_what_was_prefetched_and_loses_nothing(kafkas: Cluster) -> None:
    topic = kafkas.topic(2)
    producer = idempotent(kafkas)
    for partition in (0, 1):
        write(producer, topic, *[b"%d" % number for number in range(50)], partition=partition)
    member = Member(kafkas, topic, "g")
    until(kafkas, lambda: member.owned, member)
    while len(member.read) < 3:
        if (message := member.client.poll(0.0)) is not None:
            member.read.append(message)
        kafkas.wait(0.01)
    kafkas.wait(0.3)
    member.client.pause([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    count = len(member.read)
    for _ in range(10):
        member.poll()
        kafkas.wait(0.01)
    assert len(member.read) == count
    member.client.resume([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    until(kafkas, lambda: len(member.read) == 100, member)
    for partition in (0, 1):
        offsets = [m.offset() for m in member.read if m.partition() == partition]
        assert offsets == list(range(50))
    member.client.close()


def test_a_full_queue_refuses_and_takes_nothing(kafkas: Cluster) -> None:
    topic = kafkas.topic(1)
    producer = idempotent(kafkas, **{"queue.buffering.max.messages": 3, "linger.ms": 300})
    messages: list[dict[str, Any]] = [{"value": b"%d" % number} for number in range(5)]
    assert producer.produce_batch(topic, messages, partition=0) == 3
    assert [m["_error"].code() if "_error" in m else None for m in messages] == [None] * 3 + [
        KafkaError._QUEUE_FULL
    ] * 2
    with pytest.raises(BufferError):
        producer.produce(topic, b"x")
    assert producer.flush(10.0) == 0
    write(producer, topic, b"after")


def test_a_message_that_fails_ends_a_producer_without_gaps(kafkas: Cluster) -> None:
    topic = kafkas.topic(1, largest=1_000)
    producer = idempotent(kafkas, **{"enable.gapless.guarantee": True})
    write(producer, topic, b"before")
    reports: list[Any] = []
    producer.produce(topic, b"x" * 5_000, on_delivery=lambda error, _: reports.append(error.code()))
    alarms = []
    for _ in range(500):
        try:
            producer.poll(0)
        except KafkaException as error:
            alarms.append(flags(error.args[0])[:2])
        if reports and alarms:
            break
        kafkas.wait(0.01)
    assert reports == [KafkaError.MSG_SIZE_TOO_LARGE]
    assert alarms == [(KafkaError._GAPLESS_GUARANTEE, True)]
    assert refusal(producer.produce, topic, b"after").code() == KafkaError._FATAL


def test_calls_of_a_transaction_have_an_order(kafkas: Cluster) -> None:
    topic = kafkas.topic(1, largest=1_000)
    producer = kafkas.producer(**{"transactional.id": f"{topic}-t", "linger.ms": 1, "retry.backoff.ms": 5})
    assert refusal(producer.produce, topic, b"x").code() == KafkaError._STATE
    assert refusal(producer.begin_transaction).code() == KafkaError._STATE
    producer.init_transactions(10.0)
    assert refusal(producer.produce, topic, b"x").code() == KafkaError._STATE
    producer.begin_transaction()
    assert refusal(producer.begin_transaction).code() == KafkaError._STATE
    producer.commit_transaction(5.0)
    assert refusal(producer.commit_transaction, 5.0).code() == KafkaError._STATE
    assert refusal(producer.abort_transaction, 5.0).code() == KafkaError._STATE
    during: list[int] = []

    def report(*_: object) -> None:
        during.append(refusal(producer.produce, topic, b"x").code())

    producer.begin_transaction()
    producer.produce(topic, b"x", on_delivery=report)
    producer.commit_transaction(5.0)
    assert during == [KafkaError._STATE]
    # One without a message is nothing that the coordinator is told of, however the one before ended.
    producer.begin_transaction()
    producer.abort_transaction(5.0)
    producer.begin_transaction()
    producer.commit_transaction(5.0)
    failed: list[Any] = []
    producer.begin_transaction()
    producer.produce(topic, b"x" * 5_000, on_delivery=lambda error, _: failed.append(error.code()))
    large = refusal(producer.commit_transaction, 5.0)
    assert flags(large) == (KafkaError.MSG_SIZE_TOO_LARGE, False, False, True)
    assert failed == [KafkaError.MSG_SIZE_TOO_LARGE]
    producer.abort_transaction(5.0)
    # The number of the refused message is missing in its partition, which the next one there meets once.
    producer.begin_transaction()
    producer.produce(topic, b"broken")
    gap = refusal(producer.commit_transaction, 5.0)
    assert flags(gap) == (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, False, False, True)
    producer.abort_transaction(5.0)
    producer.begin_transaction()
    producer.produce(topic, b"sent")
    producer.flush(5.0)
    producer.produce(topic, b"unsent", on_delivery=lambda error, _: failed.append(error.code()))
    producer.abort_transaction(5.0)
    assert failed[1:] in ([KafkaError._PURGE_QUEUE], [KafkaError._PURGE_INFLIGHT])
    producer.begin_transaction()
    producer.produce(topic, b"kept")
    producer.commit_transaction(5.0)
    reader = joined(kafkas, topic)
    until(kafkas, lambda: len(reader.read) == 2, reader)
    assert reader.values == [b"x", b"kept"]
    reader.client.close()


def test_readers_wait_for_the_end_of_a_transaction(kafkas: Cluster) -> None:
    topic = kafkas.topic(1)
    reader = joined(kafkas, topic)
    early, late = transactional(kafkas, f"{topic}-1"), transactional(kafkas, f"{topic}-2")
    early.begin_transaction()
    write(early, topic, b"open")
    late.begin_transaction()
    late.produce(topic, b"done", partition=0)
    group = reader.client.consumer_group_metadata()
    late.send_offsets_to_transaction([TopicPartition(topic, 0, 7, metadata="seven")], group, 5.0)
    unsure = refusal(reader.committed)
    assert flags(unsure) == (KafkaError._TIMED_OUT, False, False, False)
    late.commit_transaction(5.0)
    assert reader.committed() == (7, "seven")
    for _ in range(20):
        reader.poll()
        kafkas.wait(0.01)
    assert reader.values == []
    early.abort_transaction(5.0)
    late.begin_transaction()
    write(late, topic, b"last")
    late.send_offsets_to_transaction([TopicPartition(topic, 0, 8)], group, 5.0)
    late.abort_transaction(5.0)
    late.begin_transaction()
    late.produce(topic, b"more", partition=0)
    late.commit_transaction(5.0)
    until(kafkas, lambda: len(reader.read) == 2, reader)
    assert [(m.offset(), m.value()) for m in reader.read] == [(1, b"done"), (6, b"more")]
    assert reader.committed() == (7, "seven")
    reader.client.close()


def test_offsets_of_nobody_are_taken_in_a_transaction(kafkas: Cluster) -> None:
    """As of a producer that knows no groups; so a member that was cast out must not name itself as it is then."""
    topic = kafkas.topic(1)
    reader = joined(kafkas, topic)
    producer, nobody = transactional(kafkas, f"{topic}-t"), Member(kafkas, topic, "g")
    assert not nobody.client.memberid()
    producer.begin_transaction()
    place = TopicPartition(topic, 0, 7, metadata="seven")
    producer.send_offsets_to_transaction([place], nobody.client.consumer_group_metadata(), 5.0)
    producer.commit_transaction(5.0)
    assert reader.committed() == (7, "seven")
    assert reader.client.memberid()
    reader.client.close()
    nobody.client.close()


def test_a_new_instance_fences_the_one_before(kafkas: Cluster) -> None:
    topic = kafkas.topic(1)
    old = transactional(kafkas, f"{topic}-t")
    old.begin_transaction()
    write(old, topic, b"zombie")
    new = transactional(kafkas, f"{topic}-t")
    fenced = refusal(old.commit_transaction, 5.0)
    assert flags(fenced)[:2] == (KafkaError._FENCED, True)
    assert refusal(old.produce, topic, b"x").code() == KafkaError._FATAL
    assert flags(refusal(old.abort_transaction, 5.0))[:2] == (KafkaError._FENCED, True)
    assert flags(refusal(old.begin_transaction))[:2] == (KafkaError._FENCED, True)
    assert flags(refusal(old.poll, 0.1))[:2] == (KafkaError._FENCED, True)
    new.begin_transaction()
    write(new, topic, b"zombie too")
    newest = transactional(kafkas, f"{topic}-t")
    new.produce(topic, b"late", partition=0)
    kafkas.wait(0.1)
    assert flags(refusal(new.flush, 5.0))[:2] == (KafkaError._FENCED, True)
    newest.begin_transaction()
    newest.produce(topic, b"kept", partition=0)
    newest.commit_transaction(5.0)
    reader = joined(kafkas, topic)
    until(kafkas, lambda: reader.read, reader)
    assert reader.values == [b"kept"]
    reader.client.close()


def test_a_static_member_is_fenced_by_its_double(kafkas: Cluster) -> None:
    topic = kafkas.topic(2)
    first = joined(kafkas, topic, **{"group.instance.id": "one"})
    second = joined(kafkas, topic, **{"group.instance.id": "one"})
    assert second.owned == [0, 1]
    until(kafkas, lambda: first.errors, first, second)
    assert first.errors == [KafkaError._FATAL]
    assert refusal(first.commit, 1).code() == KafkaError._FATAL
    assert first.was_told("revoke") == first.was_told("lost") == []
    first.client.close()
    second.client.close()
    back = joined(kafkas, topic, **{"group.instance.id": "one"})
    assert back.owned == [0, 1]
    back.client.close()


@SLOWLY
def test_a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced(kafkas: Cluster) -> None:
    topic = kafkas.topic(1)
    slow, other = (
        transactional(kafkas, f"{topic}-{name}", **{"transaction.timeout.ms": 1_000}) for name in "ab"
    )
    slow.begin_transaction()
    write(slow, topic, b"late")
    other.begin_transaction()
    other.produce(topic, b"kept", partition=0)
    other.commit_transaction(5.0)
    reader = joined(kafkas, topic)
    until(kafkas, lambda: reader.read, reader)
    assert reader.values == [b"kept"]
    assert flags(refusal(slow.commit_transaction, 5.0))[:2] == (KafkaError._FENCED, True)
    reader.client.close()


@SLOWLY
def test_a_member_that_does_not_poll_loses_its_partitions(kafkas: Cluster) -> None:
    topic = kafkas.topic(2)
    member = joined(kafkas, topic, **{"max.poll.interval.ms": 6_000})
    kafkas.wait(7.5)
    assert member.told == [("assign", [0, 1])]
    if isinstance(kafkas, Real):
        # The simulated client's own thread runs inside its calls.
        assert refusal(member.commit, 1).code() == KafkaError.UNKNOWN_MEMBER_ID
    until(kafkas, lambda: len(member.told) == 3, member)
    assert member.errors == [KafkaError._MAX_POLL_EXCEEDED]
    assert member.told[1:] == [("lost", [0, 1]), ("assign", [0, 1])]
    member.client.close()
