"""The way of a claim, as three steps, with a fourth beside it for models, and scoring once more for slow ones.

Where each claim counts exactly once, a step of its own ends the transactions that carry results and offsets.

Each does what it can at once, never waits for another, and returns the moment (monotonic seconds) at which it wants to
be called next.

    consumer ─▶ codec ─▶ router ─▶ lanes ─▶ batch policy ─▶ scoring ─▶ producer ─▶ offsets
    └────────── intake ───────────────┘└────────── scoring ─────────┘└───── output ──────┘
                                             models ◀── loader
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stream.admission import Admission
from stream.arena import ClaimArena
from stream.arrivals import ArrivalRate
from stream.backoff import Backoff
from stream.backpressure import Crowding, Flow, Pressure, ReadingGate, scarcity, slowness
from stream.batch_policy import Wait
from stream.batching import Batcher, Chosen
from stream.clock import Clock
from stream.consumer import ClaimConsumer
from stream.decisions import BatchingStatus
from stream.delivery import Delivery
from stream.errors import RetryError, UnfinishedError
from stream.fairness import Fairness
from stream.lanes import Lanes
from stream.loader import Loader
from stream.metrics import StageMetrics
from stream.occupancy import Readings, SeesOccupancy, Unoccupied
from stream.offsets import OffsetLedger
from stream.outbox import Outbox
from stream.producer import Sender
from stream.recent import RecentQuantile
from stream.records import Integers, Outcome, Polled, Rows, known_ages
from stream.rhythm import Bounds, Rhythm, Signals
from stream.scoring import Scorer, ScoringModel
from stream.taken import Taken
from stream.turns import Turns

log = logging.getLogger(__name__)

NEVER = float("inf")
# To read costs much for a poll and little for a claim: two thirds of the time are for more claims to come.
PATIENCE = 2.0


@dataclass(eq=False)
class Pipeline:
    """One worker's stage."""

    consumer: ClaimConsumer
    admission: Admission
    arena: ClaimArena
    lanes: Lanes
    route_lengths: Integers
    batcher: Batcher
    scorer: Scorer
    loader: Loader
    outbox: Outbox
    delivery: Delivery
    producer: Sender
    ledger: OffsetLedger
    gate: ReadingGate
    fairness: Fairness
    pressure: Pressure
    crowding: Crowding
    turns: Turns
    occupancy: SeesOccupancy
    bounds: Bounds
    rhythm: Rhythm
    signals: Signals
    clock: Clock
    metrics: StageMetrics
    backoff: Backoff
    closing: bool = field(default=False, init=False)
    _taken: Taken = field(default_factory=Taken, init=False)
    _lacked: frozenset[int] = field(default=frozenset(), init=False)
    _reading: ArrivalRate = field(default_factory=ArrivalRate, init=False)
    _effort: RecentQuantile = field(default_factory=lambda: RecentQuantile(0.5), init=False)
    _readings: Readings = field(default_factory=lambda: Unoccupied().read(), init=False)
    _next_commit: float = field(default=0.0, init=False)
    _next_gauges: float = field(default=0.0, init=False)
    _next_judgement: float = field(default=0.0, init=False)

    def intake(self, now: float) -> float:
        """Poll, decode, features, lanes; commit what is delivered."""
        self._housekeeping(now)
        self.consumer.renew(now)
        self._reassign()
        if self.closing:
            self._give_up(None)
        flow = self._flow(now)
        if flow is Flow.HOLD:
            # A poll that waits to be admitted may be what holds, and its next try due.
            return now if self._admit(now) else now + self.rhythm.hold
        messages = self._receive(flow)
        started = self.clock.now()
        # Whoever was assigned partitions just now is a member before it has claims of them.
        self.consumer.renew(started)
        with self.turns.take(len(messages)):
            # What this very poll brought after the stage was told to end is left to the next owner.
            if (polled := self.consumer.take_in(messages)) is not None and not self.closing:
                self._take(polled)
        self._admit(now)
        if messages and flow is not Flow.TRICKLE:
            self._effort.note(self.clock.now() - started)
        return now + self.rhythm.paused_poll if flow is Flow.PAUSE else now

    def scoring(self, now: float) -> float:
        """Choose a micro-batch, score it, pass it on."""
        self._heed(now)
        return self._scoring(now, slow=False)

    def slow_scoring(self, now: float) -> float:
        """The same for models that would make the others late."""
        return self._scoring(now, slow=True)

    def _scoring(self, now: float, *, slow: bool) -> float:
        if self.outbox.full:
            return NEVER
        choice = self.batcher.next(now, self.clock.wall(), slow=slow)
        if self.batcher.lacking != self._lacked:
            self._lacked = self.batcher.lacking
            self.signals.loader()
        if isinstance(choice, Wait):
            return choice.until
        self.signals.intake()
        with choice.lease as model:
            self.outbox.put(self._score(choice, model))
        self.signals.output()
        return now

    def output(self, now: float) -> float:
        """Take delivery reports, produce results and dead letters."""
        self.producer.serve()
        self.signals.progress()
        self.signals.transactions()
        if not self.producer.blocked:
            outcomes, letters, was_full = self.outbox.take(self.bounds.output_claims)
            if outcomes or letters:
                with self.turns.take(sum(len(outcome.rows) for outcome in outcomes) + len(letters)):
                    self.delivery.deliver(outcomes, letters)
                self.signals.intake()
                if was_full:
                    self._wake_scoring()
                return now
        return self.producer.serve_at(now)

    def transactions(self, now: float) -> float:
        """Where offsets go with what is produced: end the transaction that is due."""
        due = self.producer.step(now)
        if due <= now:
            self.signals.output()
            self.signals.progress()
        return due

    def loading(self, now: float) -> float:
        """Bring the models that waiting claims need; follow what was promoted."""
        due = self.loader.step(now)
        if self.loader.landed:
            self._wake_scoring()
        return due

    def batching(self, now: float) -> BatchingStatus:
        """What batching does and why, from any thread."""
        conditions = self.batcher.conditions
        return BatchingStatus(
            conditions.pressure,
            self.pressure.parts,
            *self.gate.reading,
            conditions.crowded,
            1_000.0 * conditions.delivery,
            1_000.0 * conditions.reserve,
            self.batcher.report(now),
            self.batcher.decided.latest(),
        )

    def unfinished(self) -> int:
        """Claims that were read and are not delivered."""
        return self.ledger.pending()

    def drain(self, leaving: Collection[int] = ()) -> None:
        """Close batches as they come from now on, until `drained`.

        What was read of the partitions that are `leaving` and is not admitted is given up: intake itself waits for the
        end of the drain and admits nothing.
        """
        if leaving:
            self._give_up(leaving)
        self.batcher.conditions.draining = self.loader.draining = True
        self.producer.hurry(hurried=True)
        self.signals.transactions()
        self._wake_scoring()
        self.signals.loader()

    def drained(self) -> None:
        """Batch as usual again, unless the stage is closing."""
        self.batcher.conditions.draining = self.loader.draining = self.closing
        self.producer.hurry(hurried=self.closing)

    def _receive(self, flow: Flow) -> list[Any]:
        started = self.clock.now()
        if flow is Flow.TRICKLE:
            messages = self.consumer.trickle()
        else:
            messages = self.consumer.receive(PATIENCE * self._effort.value)
        if messages:
            self.metrics.count("busy_seconds_total", self.clock.now() - started, "consume")
            self.metrics.count("polls_total")
        return messages

    def _take(self, polled: Polled) -> None:
        """Note what is to be scored; what an earlier owner completed is not."""
        self.metrics.count("claims_consumed_total", len(polled))
        self.metrics.observe("claim_age_at_read_seconds", known_ages(polled.timestamps, self.clock.wall()))
        self._reading.note(len(polled), self.clock.now())
        fresh = self.ledger.take(polled.partitions, polled.offsets, polled.epochs)
        if not fresh.all():
            self.metrics.count("claims_skipped_total", int((~fresh).sum()))
            polled = polled.only(fresh)
        if len(polled):
            self._taken.add(polled)

    def _give_up(self, partitions: Collection[int] | None) -> None:
        """Leave to its next owner what was read of these partitions, or of all, and is not admitted."""
        given = self._taken.give_up(partitions)
        for polled in given:
            self.ledger.give_up(polled.partitions, polled.offsets, polled.epochs)
        if given:
            log.info("%d claims that were read are left to their next owner", sum(map(len, given)))

    def _admit(self, now: float) -> bool:
        """Try the oldest poll that is not admitted; whether there was one to be tried now."""
        if (polled := self._taken.ready(now, self.arena.free)) is None:
            return False
        try:
            self.admission.prepare(polled)
            with self.turns.take(len(polled)):
                letters = self.admission.admit(polled)
        except RetryError as error:
            self._taken.not_before = now + self._put_off(error)
            return True
        self.backoff.succeeded()
        self._taken.admitted()
        if letters:
            self.outbox.put_letters(letters)
            self.signals.output()
        self._wake_scoring()
        return True

    def _reassign(self) -> None:
        """Claims whose version is gone get one that serves now."""
        for lane in self.loader.forsaken():
            try:
                count = self.admission.readmit(lane)
            except RetryError as error:
                self._put_off(error)
                continue
            if count:
                log.warning("%d claims were given another version: theirs is gone", count)
                self.metrics.count("claims_reassigned_total", count)
                self._wake_scoring()

    def _put_off(self, error: RetryError) -> float:
        """Seconds until the next try."""
        self.metrics.count("retries_total", 1, type(error).__name__)
        if isinstance(error, UnfinishedError):
            self.backoff.succeeded()
            log.info("claims wait, more of what they need is asked for: %s", error)
            return 0.0
        wait = self.backoff.failed()
        log.warning("claims wait, the next try is in %.1f s: %s", wait, error)
        return wait

    def _wake_scoring(self) -> None:
        self.signals.scoring()
        if self.batcher.has_slow:
            self.signals.slow()

    def _heed(self, now: float) -> None:
        """Tell batching what presses."""
        conditions = self.batcher.conditions
        conditions.expect_delivery(self.delivery.typical, self.delivery.predicted, self.bounds.budget)
        claims, memory = self._fills()
        # Of what waits to be scored smaller batches would only make more.
        scored = 1.0 - min(self.lanes.queued() / max(self.arena.in_flight, 1), 1.0)
        conditions.pressure = self.pressure.update(
            {
                "output": max(self.outbox.fill, self.producer.fill),
                "delivery": slowness(self.delivery.predicted, self.bounds.budget),
                "claims": claims * scored,
                "memory": memory * scored,
                "host": scarcity(self._readings.host),
                "device": scarcity(self._readings.device),
            },
            now,
        )
        aside = self.lanes.aside()
        conditions.crowded = self.crowding.decide(max(aside / self.bounds.claims, memory) if aside else 0.0)

    def _fills(self) -> tuple[float, float]:
        """Claims and bytes in flight, as shares of their bounds."""
        return self.arena.in_flight / self.bounds.claims, self.arena.bytes_held / self.bounds.bytes

    def _flow(self, now: float) -> Flow:
        before = self.gate.reading.flow
        claims, memory = self._fills()
        self._be_fair(max(claims, memory), now)
        stores = {
            "claims": claims,
            "memory": memory,
            "dead letters": self.outbox.letter_fill,
            # Scoring waits then, and what is ahead of it with it.
            "output": self.outbox.fill if self.producer.blocked else 0.0,
            "admission": 1.0 if self._taken else 0.0,
            "closing": 1.0 if self.closing else 0.0,
        }
        # Those that give way fill the lanes; that must not keep the others out.
        ahead = 0.0 if self.fairness.behind else self.lanes.ahead(now) / self.bounds.ahead
        flow = self.gate.decide(stores, ahead, now).flow
        if flow is Flow.PAUSE and before is not Flow.PAUSE:
            self.consumer.pause()
        elif before is Flow.PAUSE and flow is not Flow.PAUSE:
            self.consumer.resume()
        return flow

    def _be_fair(self, filled: float, now: float) -> None:
        if now >= self._next_judgement:
            self._next_judgement = now + self.rhythm.fair
            self.fairness.judge(self.consumer.lags(), 0.5 * self.bounds.budget * self._reading.at(now))
        self.consumer.give_way(self.fairness.yielding(filled, now))

    def _score(self, chosen: Chosen, model: ScoringModel) -> Outcome:
        started = self.clock.now()
        outcome = self.scorer.score(chosen.batch, model)
        spent = self.clock.now() - started
        if self.batcher.observe(chosen, spent):
            self._wake_scoring()
        self.metrics.count("busy_seconds_total", spent, "forward")
        identity = model.identity
        self.metrics.count("claims_scored_total", len(outcome.rows), identity.name, identity.version)
        if len(outcome.unscored):
            self._score_later(chosen.batch.lane, outcome.unscored)
        rows = self._onward(outcome.rows) if self.route_lengths.max() > 1 else outcome.rows
        return Outcome(rows, outcome.failures, outcome.at)

    def _score_later(self, lane: int, rows: Rows) -> None:
        """Of a batch that fails, what one step had no time for."""
        log.warning("%d claims of a batch that fails wait for another step", len(rows))
        self.lanes.push(lane, rows, self.arena.deadline[rows], self.clock.now())

    def _onward(self, rows: Rows) -> Rows:
        """Send rows whose route goes on to its next model; the rows that are finished."""
        hops = self.arena.hop[rows]
        onward = hops < self.route_lengths[self.arena.route[rows]]
        models = self.arena.model[rows, np.minimum(hops, self.route_lengths.max() - 1)]
        following = np.where(onward, models, -1)
        for lane in np.unique(following[following >= 0]).tolist():
            chosen = rows[following == lane]
            self.lanes.push(lane, chosen, self.arena.deadline[chosen], self.clock.now())
        if onward.any():
            # The other scoring loop may sleep until claims come.
            self._wake_scoring()
        return rows[following < 0]

    def _housekeeping(self, now: float) -> None:
        if now >= self._next_commit:
            self._next_commit = now + self.rhythm.commit
            if not self.producer.carries_offsets and (standings := self.ledger.committable()):
                self.consumer.commit(standings, now)
        if now >= self._next_gauges:
            self._next_gauges = now + self.rhythm.gauges
            self._read_gauges()
            self.admission.forget_unread()

    def _read_gauges(self) -> None:
        self.metrics.set("claims_in_flight", self.ledger.pending())
        self.metrics.set("bytes_in_flight", self.arena.bytes_held)
        self.metrics.set("output_queue_claims", len(self.outbox))
        self.metrics.set("partitions_owned", len(self.ledger.owned()))
        self.metrics.set("partitions_giving_way", len(self.fairness.behind))
        self._readings = self.occupancy.read()
        self.batcher.conditions.device = self._readings.device
        self.metrics.set("batching_pressure", self.batcher.conditions.pressure)
        self.metrics.set("claims_aside", self.lanes.aside())
        self.consumer.report_lag()
