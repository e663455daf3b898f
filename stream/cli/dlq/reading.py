"""A topic of dead letters, read from its beginning to the end that it has when reading starts.

That end counts what is not committed yet: a note that a letter was sent back may lie behind a transaction that somebody
left open, and whoever reads committed records alone is told that the topic ends before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from config import Settings
from stream import letters
from stream.cli.kafka_options import refused_config
from stream.cli.output import progress
from stream.cli.topic_check import partitions_of
from stream.errors import FatalError
from stream.letters import Reason
from stream.records import Headers
from stream.silence import quiet_after

Place = tuple[int, int]

_ANSWER_SECONDS = 10.0
_QUIET_SECONDS = 30.0
_POLL_SECONDS = 0.5
_POLL_RECORDS = 500


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it lies in its topic. `headers` are the record's own; `timestamp`: when it became a letter."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    reason: Reason

    @property
    def place(self) -> Place:
        return self.partition, self.offset

    @property
    def name(self) -> str:
        """As `dlq list` prints it."""
        return f"{self.partition}@{self.offset}"


@dataclass(slots=True)
class LetterTopic:
    """Passes over one topic; every pass ends where the topic ended when this was opened."""

    config: Mapping[str, str]
    name: str
    settings: Settings
    spans: dict[int, tuple[int, int]] = field(init=False)
    foreign: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Raises UsageError when there is no such topic, UnreachableError when no broker answers."""
        self.spans = dict.fromkeys(range(partitions_of(self.config, self.name, self.settings)), (0, 0))
        consumer = self._consumer("read_uncommitted")
        try:
            for number in self.spans:
                place = TopicPartition(self.name, number)
                self.spans[number] = consumer.get_watermark_offsets(place, timeout=_ANSWER_SECONDS)
        except KafkaException as error:
            raise _failed(self.name, error.args[0]) from error
        finally:
            consumer.close()

    def replayed(self) -> set[Place]:
        """Places of the letters that were sent back already."""
        found = set()
        for message in self._messages("looking for what was replayed"):
            if (offset := letters.marked(_headers(message))) is not None:
                found.add((message.partition(), offset))
        return found

    def letters(self, description: str) -> Iterator[Letter]:
        """All letters; `foreign` counts the records that are none."""
        self.foreign = 0
        for message in self._messages(description):
            headers = _headers(message)
            if letters.marked(headers) is not None:
                continue
            if (read := letters.read(headers)) is None:
                self.foreign += 1
                continue
            yield _letter(message, *read)

    def letter(self, place: Place) -> Letter | None:
        """The letter at this place, or None."""
        partition, offset = place
        begin, end = self.spans.get(partition, (0, 0))
        if not begin <= offset < end:
            return None
        for message in self._read({partition: (offset, offset + 1)}):
            if message.offset() == offset and (read := letters.read(_headers(message))) is not None:
                return _letter(message, *read)
        return None

    def _messages(self, description: str) -> Iterator[Message]:
        total = sum(end - begin for begin, end in self.spans.values())
        with progress(description, total) as bar:
            for message in self._read(self.spans):
                yield message
                bar.advance()

    def _read(self, spans: Mapping[int, tuple[int, int]]) -> Iterator[Message]:
        open_ = {number for number, (begin, end) in spans.items() if begin < end}
        if not open_:
            return
        consumer = self._consumer("read_committed")
        consumer.assign([TopicPartition(self.name, number, spans[number][0]) for number in sorted(open_)])
        quiet = 0.0
        stands: dict[int, int] = {}
        try:
            while open_:
                batch = _batch(consumer)
                quiet = quiet_after(quiet, [message.partition() for message in batch], open_, _POLL_SECONDS)
                if quiet >= _QUIET_SECONDS:
                    raise _quiet(self.name, {n: stands[n] for n in open_ if n in stands})
                wanted = set(open_)
                yield from self._within(batch, spans, open_, stands)
                if finished := wanted - open_:
                    consumer.pause([TopicPartition(self.name, number) for number in finished])
        finally:
            consumer.close()

    def _within(
        self,
        batch: list[Message],
        spans: Mapping[int, tuple[int, int]],
        open_: set[int],
        stands: dict[int, int],
    ) -> Iterator[Message]:
        """The records before the ends; takes partitions that have reached theirs out of `open_`.

        `stands`: where the others come to an end for now, because a transaction is open.
        """
        for message in batch:
            error, partition = message.error(), message.partition()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's only name for it
                    stands[partition] = message.offset()
                    if message.offset() >= spans[partition][1]:
                        open_.discard(partition)
                elif not _passing(error):
                    raise _failed(self.name, error)
                continue
            if message.offset() >= spans[partition][1] - 1:
                open_.discard(partition)
            if message.offset() < spans[partition][1]:
                yield message

    def _consumer(self, isolation: str) -> Consumer:
        try:
            return Consumer(
                {
                    "group.id": "claimstream-dlq",
                    **self.config,
                    "enable.auto.commit": False,
                    "isolation.level": isolation,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "earliest",
                }
            )
        except KafkaException as error:
            raise refused_config(error, self.config) from error


def _batch(consumer: Consumer) -> list[Message]:
    """What is there, once something is; `consume` alone would wait for a full batch."""
    first = consumer.poll(_POLL_SECONDS)
    return [] if first is None else [first, *consumer.consume(_POLL_RECORDS, 0)]


def _headers(message: Message) -> Headers | None:
    try:
        headers: Headers | None = letters.ask_for_headers(message)
    except SystemError:  # A name that is no UTF-8: no letter of ours.
        return None
    return headers


def _letter(message: Message, headers: Headers, reason: Reason) -> Letter:
    return Letter(
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers,
        reason,
    )


def _passing(error: Any) -> bool:
    return bool(error.retriable()) or error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT)  # noqa: SLF001


def _failed(topic: str, error: KafkaError) -> FatalError:
    return FatalError(f"reading {topic!r} failed: {error.str()}")


def _quiet(topic: str, stands: Mapping[int, int]) -> FatalError:
    """`stands`: offsets at which partitions wait for the end of a transaction."""
    if not stands:
        return FatalError(f"{topic!r} brought nothing for {_QUIET_SECONDS:g} s before its end")
    places = ", ".join(f"{partition}@{offset}" for partition, offset in sorted(stands.items()))
    return FatalError(
        f"{topic!r} brought nothing for {_QUIET_SECONDS:g} s before its end: a transaction is open at {places}; "
        "call it again when its producer has ended it, and end one that was left hanging with kafka-transactions.sh"
    )
