"""The way of a claim, as three steps. Each does what it can at once, never waits for another, and returns the moment
(monotonic seconds) at which it wants to be called next.

    consumer ─▶ codec ─▶ router ─▶ lanes ─▶ batch policy ─▶ scoring ─▶ producer ─▶ offsets
    └────────── intake ───────────────┘└────────── scoring ─────────┘└───── output ──────┘
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream.admission import Admission
from stream.arena import ClaimArena
from stream.backpressure import Flow, ReadingGate
from stream.batch_policy import Wait
from stream.batching import Batcher
from stream.clock import Clock
from stream.consumer import ClaimConsumer
from stream.delivery import Delivery
from stream.errors import RetryError
from stream.lanes import Lanes
from stream.metrics import StageMetrics
from stream.offsets import OffsetLedger
from stream.outbox import Outbox
from stream.producer import ClaimProducer
from stream.records import MicroBatch, Outcome, Polled, Rows
from stream.scoring import Scorer
from stream.turns import Turns

log = logging.getLogger(__name__)

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, in seconds, each thing is done or looked at again when no signal comes."""

    commit: float = 0.2
    gauges: float = 1.0
    hold: float = 0.02
    paused_poll: float = 0.05
    delivery: float = 0.002
    retry: float = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What intake compares the stores with. The arena has room for one poll beyond `claims`.

    When every lane holds `ahead` claims, intake lets the log keep the rest: larger polls cost less a claim, and do not
    disturb the forward that is under way.
    """

    claims: int
    bytes: int
    output_claims: int
    ahead: int


@dataclass(frozen=True, slots=True)
class Signals:
    """Wakes of the other loops, and of whoever waits for progress in a drain."""

    intake: Callable[[], None]
    scoring: Callable[[], None]
    output: Callable[[], None]
    progress: Callable[[], None]


class Pipeline:
    """One worker's stage."""

    def __init__(
        self,
        consumer: ClaimConsumer,
        admission: Admission,
        arena: ClaimArena,
        lanes: Lanes,
        routes: list[tuple[int, ...]],
        batcher: Batcher,
        scorer: Scorer,
        outbox: Outbox,
        delivery: Delivery,
        producer: ClaimProducer,
        ledger: OffsetLedger,
        gate: ReadingGate,
        turns: Turns,
        bounds: Bounds,
        rhythm: Rhythm,
        signals: Signals,
        clock: Clock,
        metrics: StageMetrics,
    ) -> None:
        self._consumer = consumer
        self._admission = admission
        self._arena = arena
        self._lanes = lanes
        self._routes = routes
        self._batcher = batcher
        self._scorer = scorer
        self._outbox = outbox
        self._delivery = delivery
        self._producer = producer
        self._ledger = ledger
        self._gate = gate
        self._turns = turns
        self._bounds = bounds
        self._rhythm = rhythm
        self._signals = signals
        self._clock = clock
        self._metrics = metrics
        self._read: deque[Polled] = deque()
        self._next_commit = self._next_gauges = self._next_retry = 0.0
        self._longest_route = max(map(len, routes))
        self.closing = False

    def intake(self, now: float) -> float:
        """Poll, decode, features, lanes; commit what is delivered."""
        self._housekeeping(now)
        flow = self._flow(now)
        if flow is Flow.HOLD:
            return now + self._rhythm.hold
        messages = self._receive()
        with self._turns.take(len(messages)):
            if (polled := self._consumer.columns(messages)) is not None:
                self._ledger.take(polled.partitions, polled.offsets, polled.epochs)
                self._read.append(polled)
            if self._may_admit(now):
                self._admit(now)
        return now + self._rhythm.paused_poll if flow is Flow.PAUSE else now

    def scoring(self, now: float) -> float:
        """Choose a micro-batch, score it, pass it on."""
        if self._outbox.full:
            return NEVER
        choice = self._batcher.next(now)
        if isinstance(choice, Wait):
            return choice.until
        self._signals.intake()
        with self._turns.take(len(choice.rows)):
            self._outbox.put(self._score(choice))
        self._signals.output()
        return now

    def output(self, now: float) -> float:
        """Take delivery reports, produce results and dead letters."""
        was_full = self._outbox.full
        self._producer.serve()
        self._signals.progress()
        if not self._producer.blocked:
            outcomes, letters = self._outbox.take(self._bounds.output_claims)
            if outcomes or letters:
                with self._turns.take(sum(len(outcome.rows) for outcome in outcomes) + len(letters)):
                    self._delivery.deliver(outcomes, letters)
                self._signals.intake()
                if was_full:
                    self._signals.scoring()
                return now
        return now + self._rhythm.delivery if self._producer.outstanding else NEVER

    def unfinished(self) -> int:
        """Claims that were read and are not delivered."""
        return self._ledger.pending()

    def drain(self) -> None:
        """Close batches as they come from now on, until `drained`."""
        self._batcher.draining = True
        self._signals.scoring()

    def drained(self) -> None:
        """Batch as usual again, unless the stage is closing."""
        self._batcher.draining = self.closing

    def _receive(self) -> list[Any]:
        started = self._clock.now()
        messages = self._consumer.receive()
        if messages:
            self._metrics.count("busy_seconds_total", self._clock.now() - started, "consume")
            self._metrics.count("claims_consumed_total", len(messages))
            self._metrics.count("polls_total")
        return messages

    def _may_admit(self, now: float) -> bool:
        return bool(self._read) and now >= self._next_retry and len(self._read[0]) <= self._arena.free

    def _admit(self, now: float) -> None:
        try:
            letters = self._admission.admit(self._read[0])
        except RetryError as error:
            log.warning("claims wait, the next try is in %g s: %s", self._rhythm.retry, error)
            self._metrics.count("retries_total", 1, type(error).__name__)
            self._next_retry = now + self._rhythm.retry
            return
        self._read.popleft()
        if letters:
            self._outbox.put_letters(letters)
            self._signals.output()
        self._signals.scoring()

    def _flow(self, now: float) -> Flow:
        before = self._gate.flow
        fullest = max(
            self._arena.in_flight / self._bounds.claims,
            self._arena.bytes_held / self._bounds.bytes,
            self._outbox.letter_fill,
            self._lanes.ahead() / self._bounds.ahead,
            1.0 if self._read or self.closing else 0.0,
        )
        flow = self._gate.decide(fullest, now)
        if flow is Flow.PAUSE and before is not Flow.PAUSE:
            self._consumer.pause()
        elif before is Flow.PAUSE and flow is not Flow.PAUSE:
            self._consumer.resume()
        return flow

    def _score(self, batch: MicroBatch) -> Outcome:
        started = self._clock.now()
        outcome = self._scorer.score(batch)
        spent = self._clock.now() - started
        self._batcher.observe(batch, spent)
        self._metrics.count("busy_seconds_total", spent, "forward")
        if self._longest_route > 1:
            return Outcome(self._onward(outcome.rows), outcome.failures)
        return outcome

    def _onward(self, rows: Rows) -> Rows:
        """Send rows whose route goes on to its next model; the rows that are finished."""
        routes, hops = self._arena.route[rows], self._arena.hop[rows]
        following = np.array(
            [
                self._routes[r][h] if h < len(self._routes[r]) else -1
                for r, h in zip(routes, hops, strict=True)
            ]
        )
        for lane in np.unique(following[following >= 0]).tolist():
            chosen = rows[following == lane]
            self._lanes.push(lane, chosen, self._arena.deadline[chosen], self._clock.now())
        return rows[following < 0]

    def _housekeeping(self, now: float) -> None:
        if now >= self._next_commit:
            self._next_commit = now + self._rhythm.commit
            if offsets := self._ledger.committable():
                self._consumer.commit(offsets)
        if now >= self._next_gauges:
            self._next_gauges = now + self._rhythm.gauges
            self._read_gauges()

    def _read_gauges(self) -> None:
        self._metrics.set("claims_in_flight", self._ledger.pending())
        self._metrics.set("bytes_in_flight", self._arena.bytes_held)
        self._metrics.set("output_queue_batches", len(self._outbox))
        self._metrics.set("partitions_owned", len(self._ledger.owned()))
        self._consumer.report_lag()
