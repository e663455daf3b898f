"""The output side of Kafka when each claim counts exactly once: results, dead letters and offsets in one transaction.

A producer has one transaction at a time, and nothing can be produced while it ends; so shipments gather meanwhile and
open the next one. Outcomes stay in memory until the commit is certain: after an abort they are produced again, without
reading or scoring anything a second time.

Which thread calls what:
- The output loop calls `send` and `serve`, which begin a transaction and produce; neither waits for the broker.
- The transactions' loop calls `step`, which ends a transaction and may wait for the broker. While it does, `serve`
  leaves the client alone, and no lock is held across a call that waits.
- The consumer belongs to the intake loop, and a call of another thread would wait for the end of its poll. The group's
  metadata are therefore read by the intake loop, several times a second and at the start of a revoke, and left for this
  one; what is committed is read by a client of its own that joins no group. Inside a revoke callback the intake loop
  waits until nothing of the partitions is pending; meanwhile the other loops go on, and commit.

No lost partition is committed: the group's metadata are taken first, then it is checked that all positions are still of
the current assignment. What is lost before the check is seen by it; for what is lost after it the metadata are of an
older generation, and the broker refuses the offsets. A generation that is older without any loss is refused too; then
the transaction is aborted, and its outcomes are produced again with the newer one.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from stream.backoff import Backoff, BackoffRule
from stream.client_calls import ClientCalls
from stream.clock import Clock
from stream.committed import sorted_out
from stream.errors import FatalError, UsageError
from stream.metrics import StageMetrics
from stream.offsets import OffsetLedger, Standing
from stream.producer import Shipment, hand_over, load_of
from stream.records import Integers, Positions
from stream.topic_identity import TopicIdentity
from stream.transaction_policy import CommitTimes, Load, Meaning, TransactionLimits, meaning
from stream.watchdog import Watchdog

log = logging.getLogger(__name__)

NEVER = float("inf")
_OPEN_SECONDS = 60.0
_CLOSE_SECONDS = 2.0
_OFFSETS_ALONE = 0.2
_LOOK = 0.1


class Group(Protocol):
    """What is asked of the consumer, without any call of its client."""

    @property
    def membership(self) -> Any: ...

    def outdate(self) -> None:
        """Have the membership read anew."""

    def positions(self, standings: Mapping[int, Standing]) -> list[TopicPartition]: ...


Completed = Callable[[Sequence[int], float], Mapping[int, tuple[int, Integers]]]


class TransactionalProducer:
    """A producer whose acknowledgement of a shipment is the commit of its transaction.

    `new_client` makes a client with the transactional id of this place, which fences all earlier ones. `completed`
    reads the committed offset of partitions, and the runs beyond it; it raises KafkaException.
    """

    carries_offsets = True

    def __init__(
        self,
        new_client: Callable[[], Producer],
        group: Group,
        topic: TopicIdentity,
        completed: Completed,
        ledger: OffsetLedger,
        limits: TransactionLimits,
        times: CommitTimes,
        watchdog: Watchdog,
        clock: Clock,
        metrics: StageMetrics,
    ) -> None:
        self._new_client = new_client
        self._group = group
        self._topic = topic
        self._completed = completed
        self._ledger = ledger
        self._limits = limits
        self._times = times
        self._calls = ClientCalls(watchdog, clock)
        self._clock = clock
        self._metrics = metrics
        self._client: Producer | None = None
        self._lock = threading.Lock()
        self._ending = False
        self._gathered: deque[Shipment] = deque()
        self._waiting = Load()
        self._sent: list[Shipment] = []
        self._begun = False
        self._open = Load()
        self._opened = 0.0
        self._deadline = float("-inf")
        self._hurried = False
        self._kept_back = False
        self._doubt: KafkaError | None = None
        # No two workers have the same transactional id, and so nobody to keep apart from.
        self._backoff = Backoff(BackoffRule(first=0.02, longest=2.0, jitter=0.0))
        self._wait = 0.0
        self._not_before = 0.0
        self._next_alone = 0.0
        self._successor: Producer | None = None
        self._uncertain: float | None = None
        self._next_look = 0.0

    @property
    def fill(self) -> float:
        """What waits for the next transaction, as a share of a full one; for any thread.

        What is in the open one is there on purpose, and presses nobody.
        """
        return self._limits.share(self._waiting)

    @property
    def blocked(self) -> bool:
        """Whether a full transaction is gathered already."""
        return self._limits.share(self._waiting) >= 1.0

    @property
    def _full(self) -> bool:
        """Whether nothing more goes into the open transaction."""
        return self._limits.share(self._open) >= 1.0

    def reaches_cluster(self, topic: str) -> bool:  # noqa: ARG002 - what fails to commit leads to a new client
        return True

    def open(self) -> None:
        """Fence earlier producers of this place and end their transactions. Raises FatalError."""
        self._topic.learn()
        self._client = self._initialised()

    def send(self, shipments: Sequence[Shipment]) -> None:
        """Produce shipments in order, now or in the next transaction."""
        with self._lock:
            self._gathered.extend(shipments)
            self._waiting += load_of(shipments)
        self.serve()

    def serve(self) -> None:
        """Produce what was gathered, as far as the open transaction may grow."""
        with self._lock:
            if self._ending or self._client is None:
                return
            try:
                self._client.poll(0)
            except KafkaException as error:
                # Once, for a fatal error: the next end of a transaction says what it means.
                self._doubt = error.args[0]
            if self._clock.now() >= self._not_before:
                self._produce(self._client)

    def serve_at(self, now: float) -> float:
        """After a failure what is to be produced again waits; otherwise the end of a transaction is signalled."""
        waits = self._gathered and not self._ending and self._doubt is None and self._client is not None
        if not waits or self._full:
            return NEVER
        return max(self._not_before, now)

    def hurry(self, *, hurried: bool) -> None:
        """Whether somebody waits for everything to be committed, so that late claims are not kept back either."""
        self._hurried = hurried

    def step(self, now: float) -> float:
        """End the open transaction when it is due; when to be called next. Raises FatalError."""
        with self._lock:
            if (due := self._due(now)) > now:
                return due
            self._ending = True
        try:
            self._end()
        finally:
            with self._lock:
                self._ending = False
        return now

    def close(self) -> None:
        """Abort what is open, so that no reader waits for it; its claims are scored by their next owner."""
        if self._client is None or not self._begun:
            return
        try:
            self._calls.once("abort_transaction", self._client.abort_transaction, _CLOSE_SECONDS)
        except KafkaException as error:
            log.warning("the open transaction was left to its time-out: %s", error.args[0].str())

    def _due(self, now: float) -> float:
        if self._uncertain is not None:
            return self._next_look
        if self._doubt is not None:
            return now
        if self._sent:
            late = self._late(now)
            self._kept_back |= late and now >= self._opened + self._limits.age
            return self._limits.due(self._opened, self._open, now, late=late)
        if self._gathered or now < self._next_alone:
            # What is gathered is produced by the output loop, after a failure no sooner than this.
            return self._next_alone if self._next_alone > now else NEVER
        self._next_alone = now + _OFFSETS_ALONE
        return now if self._ledger.committable() else self._next_alone

    def _late(self, now: float) -> bool:
        """Whether no claim of the open transaction can be on time, others may still join it, and nobody waits."""
        return now >= self._deadline and not self._hurried and self._ledger.pending() > self._open.messages

    def _produce(self, client: Producer) -> None:
        while self._gathered and self._doubt is None and not self._full:
            shipment = self._gathered[0]
            try:
                if not self._sent:
                    self._begin(client)
                    self._opened, self._deadline, self._kept_back = self._clock.now(), float("-inf"), False
                self._gathered.popleft()
                self._sent.append(shipment)
                self._waiting -= shipment.load
                self._open += shipment.load
                self._deadline = max(self._deadline, shipment.deadline)
                self._doubt = hand_over(client, shipment)
            except KafkaException as error:
                self._doubt = error.args[0]

    def _begin(self, client: Producer) -> None:
        client.begin_transaction()
        self._begun = True

    def _end(self) -> None:
        if self._uncertain is not None:
            self._find_out()
            return
        sent = list(self._sent)
        metadata = self._group.membership
        standings = self._ledger.foreseen(Positions.joined([shipment.positions for shipment in sent]))
        if self._doubt is not None:
            self._fail(self._doubt)
        elif standings is None:
            log.warning(
                "a partition is gone: the open transaction is aborted, the others' outcomes are produced again"
            )
            self._abort("stale")
        elif standings:
            self._commit(sent, standings, metadata)

    def _commit(self, sent: list[Shipment], standings: Mapping[int, Standing], metadata: Any) -> None:
        client, started = self._living(), self._clock.now()
        try:
            if not sent:
                self._begin(client)
            positions = self._group.positions(standings)
            self._calls.patiently(
                "send_offsets_to_transaction",
                lambda seconds: client.send_offsets_to_transaction(positions, metadata, seconds),
            )
            # Taken by the topic's name. They count with the commit only, and would go with their topic.
            self._calls.once("describe_topics", lambda _: self._topic.check())
            self._calls.patiently("commit_transaction", client.commit_transaction)
        except KafkaException as error:
            self._fail(error.args[0])
            return
        spent = self._clock.now() - started
        self._certain(sent, standings, self._limits.age + spent if self._kept_back else None)
        self._metrics.observe_one("transaction_commit_seconds", spent)
        if (refusal := self._times.note(spent)) is not None:
            raise UsageError(refusal)

    def _certain(
        self, sent: Sequence[Shipment], standings: Mapping[int, Standing], otherwise: float | None
    ) -> None:
        """`otherwise`: how long delivery would have taken, had nothing been kept back."""
        self._metrics.count("transactions_total", 1, "committed")
        self._ledger.committed(standings)
        with self._lock:
            self._sent, self._open, self._wait, self._begun = [], Load(), 0.0, False
        self._backoff.succeeded()
        for shipment in sent:
            shipment.acknowledged(otherwise)

    def _fail(self, error: KafkaError) -> None:
        verdict = meaning(error)
        if verdict is Meaning.END:
            raise _ended(error)
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._look_at_topic()
        self._group.outdate()
        self._wait = self._backoff.failed()
        if (failures := self._backoff.failures) > self._limits.failures:
            raise FatalError(f"{failures} transactions in a row failed, the last one: {error.str()}")
        log.warning("a transaction failed and is made good: %s", error.str())
        if verdict is Meaning.ABORT or error is self._doubt:
            self._abort("aborted")
        else:
            self._doubted()

    def _look_at_topic(self) -> None:
        """Raises FatalError where the topic of claims is gone; it may be another that is not there."""
        try:
            self._calls.once("describe_topics", lambda _: self._topic.check())
        except KafkaException as error:
            log.warning("the topic of claims cannot be described now: %s", error.args[0].str())

    def _abort(self, result: str) -> None:
        client = self._living()
        self._metrics.count("transactions_total", 1, result)
        try:
            self._calls.patiently("abort_transaction", client.abort_transaction)
        except KafkaException as error:
            if meaning(error.args[0]) is Meaning.END:
                raise _ended(error.args[0]) from error
            self._doubted()
            return
        self._again(self._sent)

    def _doubted(self) -> None:
        """Nobody knows whether the transaction was committed; nothing is produced until that is found out."""
        self._metrics.count("transactions_total", 1, "uncertain")
        self._living().purge()
        self._client, self._uncertain = None, self._clock.now()
        self._find_out()

    def _find_out(self) -> None:
        """A new producer ends the transaction one way or the other, and the committed offsets tell which."""
        if self._successor is None:
            self._successor = self._initialised()
        try:
            done, rest = self._sorted_out(self._sent)
        except (KafkaException, ValueError) as error:
            # Such as a coordinator that is not there yet.
            self._look_again(error)
            return
        with self._lock:
            self._client, self._successor, self._uncertain = self._successor, None, None
        self._again(rest)
        for shipment in done:
            shipment.acknowledged(None)

    def _look_again(self, error: Exception) -> None:
        now = self._clock.now()
        if self._uncertain is not None and now - self._uncertain > _OPEN_SECONDS:
            raise FatalError(f"it cannot be told what the last transaction committed: {error}") from error
        log.warning("it cannot be told yet what the last transaction committed: %s", error)
        self._next_look = now + _LOOK

    def _sorted_out(self, sent: Sequence[Shipment]) -> tuple[list[Shipment], list[Shipment]]:
        """Shipments that the committed offsets cover, and the others."""
        current = [shipment for shipment in sent if self._is_current(shipment)]
        owned = sorted({number for shipment in current for number in shipment.positions.partitions.tolist()})
        if not owned:
            return [], current
        return sorted_out(current, self._calls.once("committed", partial(self._completed, owned)))

    def _again(self, shipments: Sequence[Shipment]) -> None:
        """Have them produced once more, before all others; what is no longer ours is left to its new owner."""
        current = [shipment for shipment in shipments if self._is_current(shipment)]
        if stale := (load_of(shipments) - load_of(current)).messages:
            self._metrics.count("stale_results_total", stale)
        with self._lock:
            self._gathered.extendleft(reversed(current))
            self._waiting += load_of(current)
            self._sent, self._open, self._doubt, self._begun = [], Load(), None, False
            self._not_before = self._clock.now() + self._wait

    def _is_current(self, shipment: Shipment) -> bool:
        positions = shipment.positions
        return bool(self._ledger.current(positions.partitions, positions.epochs).all())

    def _initialised(self) -> Producer:
        client = self._new_client()
        try:
            self._calls.patiently("init_transactions", client.init_transactions, _OPEN_SECONDS)
        except KafkaException as error:
            raise FatalError(f"transactions cannot be used: {error.args[0].str()}") from error
        return client

    def _living(self) -> Producer:
        if self._client is None:
            raise FatalError("the producer is not open")
        return self._client


def _ended(error: KafkaError) -> FatalError:
    return FatalError(
        f"the transactions of this worker end: {error.str()}; another worker has its transactional.id "
        "(give every instance a kafka.instance of its own), or the broker ended one that took too long"
    )
