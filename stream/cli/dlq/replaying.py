"""`claimstream dlq replay`: letters go back to the topic that they came from, each once.

That a letter was sent back is noted in the topic of dead letters itself, beside it, in the very transaction that sends
it: either both are there or neither is. An offset that is committed for a group would say the same of all letters
before one, and so could not go with filters; looking for replays in the input topic would mean to read all of it, and
they leave it when its retention says so, perhaps before the letters do. A note is written after its letter, into the
same partition, so it leaves later. All replays of one topic share a transactional id: a second one that runs at the
same time fences the first, which fails without having sent anything that the second does not know of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from config import Settings
from stream import letters
from stream.cli.dlq.options import Choice, choice, choice_options, cluster_options, connection
from stream.cli.dlq.reading import Letter, LetterTopic, Place
from stream.cli.examples import example
from stream.cli.kafka_options import refused_config
from stream.cli.output import emit_json
from stream.clients import largest_message
from stream.clock import SystemClock
from stream.errors import FatalError, RetryError, UsageError
from stream.topics import not_writable, partitions, refuse_hidden

_ANSWER_SECONDS = 30.0
_AGAIN = "call it again: it goes on with the letters that are not noted as replayed"
_LETTERS = 500
_BYTES = 4_194_304
_TRANSACTION_MS = 10_000
_ANY_PARTITION = -1
# What is said of letters that were not sent back.
_NOT_DONE = {
    "incomplete": "are incomplete, they were too large for {topic}: their records are those at claimstream-topic, "
    "-partition and -offset, as long as that topic keeps them",
    "without_topic": "came from topics that are not there any more; create these and call it again",
    "forbidden": "came from {locked}, to which this user has no right to write: grant it (that brings Describe along) "
    "and call it again",
    "refused": "are larger than their topic takes or message.max.bytes of kafka.producer allows, or otherwise refused "
    "by it",
}
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001 - their only names
_OF_ONE_RECORD = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD)


@click.command(
    epilog=example(
        "claimstream dlq replay 0@17 1@4",
        "claimstream dlq replay --error ScoringError --since 2h --json",
    )
)
@click.argument("positions", nargs=-1, metavar="[PARTITION@OFFSET]...")
@cluster_options
@choice_options
@click.option("--all", "all_letters", is_flag=True, help="Every letter that was not replayed yet.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(
    positions: tuple[str, ...],
    config_file: Path | None,
    bootstrap: str | None,
    client_options: tuple[str, ...],
    topic: str | None,
    *,
    all_letters: bool,
    dry_run: bool,
    as_json: bool,
    **filters: Any,
) -> int:
    """Send dead letters back to their input topic, with their key, value, headers and partition.

    A letter is sent back once, however often this is called; a replayed claim
    that fails again is a new letter, of the next attempt.
    """
    config, name, settings = connection(config_file, bootstrap, client_options, topic)
    wanted = choice(filters, SystemClock().wall(), positions, name)
    if wanted.everything != all_letters:
        raise UsageError("name positions or filters, or --all for every letter: one of the two")
    topics = _topics(config)
    origins = Origins(config, topics)
    sender = None if dry_run else Replayer(config, name, topics, _largest(config, settings))
    found = LetterTopic(config, name, settings)
    counts, missing = _replayed(found, wanted, origins, sender)
    _report(name, counts, missing, origins.forbidden, dry_run=dry_run, as_json=as_json)
    return 1 if missing or any(counts[outcome] for outcome in _NOT_DONE) else 0


def _replayed(
    found: LetterTopic, wanted: Choice, origins: Origins, sender: Replayer | None
) -> tuple[Counter[str], set[Place]]:
    """What became of the letters that are wanted, and the places at which there is none."""
    done, missing = found.replayed(), set(wanted.places)
    counts: Counter[str] = Counter()
    for letter in found.letters("replaying dead letters"):
        if not wanted.takes(letter):
            continue
        missing.discard(letter.place)
        outcome = "already" if letter.place in done else origins.outcome(letter)
        counts[outcome] += 1
        if outcome == "replayed" and sender is not None:
            sender.send(letter)
    if sender is not None:
        sender.finish()
        counts["refused"] = len(sender.refused)
        counts["replayed"] -= len(sender.refused)
    return counts, missing


def _topics(config: Mapping[str, str]) -> dict[str, int]:
    try:
        return partitions(config)
    except KafkaException as error:
        raise refused_config(error, config) from error


def _largest(config: Mapping[str, str], settings: Settings) -> int:
    """Bytes of a message: what the stage may send, or else is told here, comes back as well."""
    return max(2 * _BYTES, largest_message(config, {}), largest_message({}, settings.kafka.producer))


def _report(
    topic: str,
    counts: Mapping[str, int],
    missing: set[Place],
    forbidden: set[str],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    absent = [f"{partition}@{offset}" for partition, offset in sorted(missing)]
    if as_json:
        numbers = {name: counts.get(name, 0) for name in ("replayed", "already", *_NOT_DONE)}
        document = {"topic": topic, "dry_run": dry_run, **numbers, "missing": absent}
        emit_json({**document, "forbidden_topics": sorted(forbidden)})
        return
    verb = "would be replayed" if dry_run else "replayed"
    click.echo(f"{counts.get('replayed', 0):,} dead letters {verb}, {counts.get('already', 0):,} were before")
    locked = ", ".join(map(repr, sorted(forbidden)))
    for outcome, said in _NOT_DONE.items():
        if count := counts.get(outcome, 0):
            click.echo(f"{count:,} {said.format(topic=topic, locked=locked)}", err=True)
    if absent:
        click.echo(f"no dead letter at {', '.join(absent)} of {topic}", err=True)


class Origins:
    """The topics that letters came from: which of them are there, and may be written to. Each is asked about once.

    That is ahead of any transaction: a refused one names no topic, and leaves a client that can send nothing more.
    """

    def __init__(self, config: Mapping[str, str], topics: Container[str]) -> None:
        """`topics`: those that the cluster lists, which are without what this user may not describe."""
        self._config = config
        self._topics = topics
        self._asked: set[str] = set()
        self.forbidden: set[str] = set()

    def outcome(self, letter: Letter) -> str:
        """What becomes of a letter that was not replayed yet. Raises FatalError when the cluster does not answer."""
        topic = letter.reason.topic
        if topic and topic not in self._asked:
            self._asked.add(topic)
            self.forbidden |= self._locked(topic)
        if topic in self.forbidden:
            return "forbidden"
        if topic not in self._topics:
            return "without_topic"
        return "incomplete" if letter.reason.omitted else "replayed"

    def _locked(self, topic: str) -> set[str]:
        try:
            return not_writable(self._config, [topic])
        except (RetryError, FatalError) as error:
            raise FatalError(f"the replay stopped: {error}; {_AGAIN}") from error


class Replayer:
    """Sends letters and their notes in transactions of some hundred. Opening it fences every other replay.

    A transaction is open only while letters are on their way: readers of the input topic wait for its end. Whether a
    commit that failed was applied after all need not be known: the next replay sees it by the notes. `refused` are the
    letters that their topic does not take, whatever is sent with them.
    """

    def __init__(
        self, config: Mapping[str, str], topic: str, topics: Mapping[str, int], largest: int = 2 * _BYTES
    ) -> None:
        """`topics`: how many partitions each topic of the cluster has. `largest`: bytes of a message."""
        self.refused: list[str] = []
        self._largest = largest
        self._config = config
        self._topic = topic
        self._partitions = topics
        self._waiting: list[Letter] = []
        self._bytes = 0
        self._refusal: KafkaError | None = None
        self._client = self._connected()

    def send(self, letter: Letter) -> None:
        """Its topic is there and may be written to. Raises FatalError when the cluster refuses."""
        self._waiting.append(letter)
        self._bytes += letters.size(letter.key, letter.value, letter.headers)
        if len(self._waiting) >= _LETTERS or self._bytes >= _BYTES:
            self.finish()

    def finish(self) -> None:
        """Send what waits. Raises FatalError when the cluster refuses."""
        batch, self._waiting, self._bytes = self._waiting, [], 0
        if not batch or self._is_taken(batch):
            return
        alone = batch if len(batch) > 1 else []
        taken = {letter.place for letter in alone if self._is_taken([letter])}
        self.refused += [letter.name for letter in batch if letter.place not in taken]

    def _is_taken(self, batch: Sequence[Letter], tries: int = 2) -> bool:
        """Send them in one transaction; False where that failed by a record that its topic takes not."""
        self._refusal = None
        try:
            self._transact(batch)
        except (KafkaException, BufferError) as error:
            own = error.args[0] if isinstance(error, KafkaException) else None
            causes = [cause for cause in (self._refusal, own) if cause is not None]
            if any(cause.code() in _OF_ONE_RECORD for cause in causes):
                return False
            # The client still counts the record that was refused; ending this transaction makes it begin anew.
            if tries > 1 and any(cause.code() == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER for cause in causes):
                return self._is_taken(batch, tries - 1)
            reason = causes[0].str() if causes else str(error)
            raise FatalError(f"the replay stopped: {reason}; {_AGAIN}") from error
        return True

    def _transact(self, batch: Sequence[Letter]) -> None:
        try:
            self._client.begin_transaction()
            for letter in batch:
                self._produce(letter)
            self._client.commit_transaction(_ANSWER_SECONDS)
        except BaseException:
            with suppress(KafkaException):
                self._client.abort_transaction(_ANSWER_SECONDS)
            raise

    def _produce(self, letter: Letter) -> None:
        reason, name = letter.reason, f"{self._topic}[{letter.partition}]@{letter.offset}"
        self._client.produce(
            reason.topic,
            letter.value,
            letter.key,
            partition=self._partition(reason.topic, reason.partition),
            headers=letters.replayed(letter.headers, reason, name),
            on_delivery=self._note,
        )
        self._client.produce(
            self._topic, None, None, partition=letter.partition, headers=letters.marker(letter.offset)
        )

    def _connected(self) -> Producer:
        options = {
            # What its producer had packed may be too large as it is.
            "compression.type": "zstd",
            **self._config,
            "transaction.timeout.ms": _TRANSACTION_MS,
            "transactional.id": f"claimstream-dlq-{self._topic}",
            "partitioner": "murmur2_random",
            "message.max.bytes": self._largest,
            "linger.ms": 2,
            "retry.backoff.ms": 20,
        }
        try:
            client = Producer(options)
        except KafkaException as error:
            raise refused_config(error, self._config) from error
        if self._topic not in self._partitions:
            refuse_hidden(self._config, [self._topic])
            raise UsageError(f"there is no topic {self._topic!r}; name that of the dead letters with --topic")
        if not_writable(self._config, [self._topic]):
            raise FatalError(f"no right to write to {self._topic!r}, where replays are noted: grant it")
        try:
            client.init_transactions(_ANSWER_SECONDS)
        except KafkaException as error:
            raise FatalError(f"the cluster allows no transaction: {error.args[0].str()}") from error
        return client

    def _partition(self, topic: str, wanted: int) -> int:
        """The one that the record was in: that keeps it among its key's. By key where there are fewer now."""
        return wanted if wanted < self._partitions[topic] else _ANY_PARTITION

    def _note(self, error: KafkaError | None, _message: Message) -> None:
        """Of one refused record others of its transaction are told as purged, before it or behind it."""
        if error is not None and error.code() not in _PURGED:
            self._refusal = self._refusal or error
