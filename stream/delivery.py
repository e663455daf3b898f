"""Outcomes leave: in key order, encoded, produced; what is acknowledged is noted in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from stream.arena import ClaimArena
from stream.clock import Clock
from stream.codec import Encoder
from stream.letters import Reason, attempt_of
from stream.metrics import StageMetrics
from stream.offsets import OffsetLedger
from stream.ordering import KeyOrder
from stream.producer import ANY_PARTITION, ClaimProducer, Shipment
from stream.recent import RecentQuantile
from stream.records import DeadLetter, Headers, Integers, Outcome, Position, Rows
from stream.results import ScoreColumns
from stream.roster import Roster

TRACE_HEADER = "traceparent"
_FIRST_GUESS = 0.01


@dataclass(frozen=True, slots=True)
class OutputTopics:
    """Where results and dead letters go. `aligned`: the result topic has as many partitions as the input topic."""

    input: str
    results: str
    dead_letters: str
    aligned: bool


@dataclass(frozen=True, slots=True)
class Covered:
    """The input records that a shipment answers."""

    partitions: Integers
    offsets: Integers
    epochs: Integers
    timestamps: Integers


class Delivery:
    """Sends results and dead letters; a row is released as soon as its result is with the client."""

    def __init__(
        self,
        arena: ClaimArena,
        orders: Sequence[KeyOrder],
        columns: ScoreColumns,
        encoder: Encoder,
        producer: ClaimProducer,
        ledger: OffsetLedger,
        topics: OutputTopics,
        roster: Roster,
        budget: float,
        clock: Clock,
        metrics: StageMetrics,
    ) -> None:
        self._arena = arena
        self._orders = orders
        self._columns = columns
        self._encoder = encoder
        self._producer = producer
        self._ledger = ledger
        self._topics = topics
        self._roster = roster
        self._budget = budget
        self._clock = clock
        self._metrics = metrics
        self._seconds = RecentQuantile(0.9, start=_FIRST_GUESS)

    @property
    def predicted(self) -> float:
        """Seconds from the end of a forward to acknowledgement that nine shipments in ten do not exceed."""
        return self._seconds.value

    def deliver(self, outcomes: Sequence[Outcome], letters: Sequence[DeadLetter]) -> None:
        """Produce what may leave of these outcomes and of those held back for their key's order."""
        failed = [failure for outcome in outcomes for failure in outcome.failures]
        letters = [*letters, *(self._letter(f.row, f.lane, f.error) for f in failed)]
        failed_rows = np.array([failure.row for failure in failed], np.int32)
        rows = self._released([*(outcome.rows for outcome in outcomes), failed_rows])
        rows = rows[~np.isin(rows, failed_rows)] if len(failed_rows) else rows
        current = self._ledger.current(self._arena.partition[rows], self._arena.epoch[rows])
        if not current.all():
            self._metrics.count("stale_results_total", int((~current).sum()))
        scored = min((outcome.at for outcome in outcomes), default=self._clock.now())
        shipments = self._results(rows[current], scored) + [
            self._dead_letter(letter) for letter in letters if self._is_current(letter.position)
        ]
        self._arena.release(np.concatenate((rows, failed_rows)))
        started = self._clock.now()
        self._producer.send(shipments)
        self._metrics.count("busy_seconds_total", self._clock.now() - started, "produce")

    def _is_current(self, position: Position) -> bool:
        return bool(self._ledger.current(np.array([position.partition]), np.array([position.epoch]))[0])

    def _released(self, finished: list[Rows]) -> Rows:
        rows = np.concatenate(finished)
        if len(self._orders) == 1:
            return self._orders[0].complete(rows)
        routes = self._arena.route[rows]
        return np.concatenate(
            [order.complete(rows[routes == route]) for route, order in enumerate(self._orders)]
        )

    def _results(self, rows: Rows, scored: float) -> list[Shipment]:
        """`scored`: when the first of their forwards ended."""
        if len(rows) == 0:
            return []
        started = self._clock.now()
        rows = rows[np.argsort(self._arena.partition[rows], kind="stable")]
        values = self._encoder.encode(self._columns.build(rows, self._clock.wall()))
        keys = self._arena.key[rows].tolist()
        messages = [{"value": value, "key": key} for value, key in zip(values, keys, strict=True)]
        partitions = self._arena.partition[rows]
        edges = [0, *(np.flatnonzero(np.diff(partitions)) + 1).tolist(), len(rows)]
        shipments = [
            self._shipment(rows[start:end], messages[start:end], scored) for start, end in pairwise(edges)
        ]
        self._metrics.count("busy_seconds_total", self._clock.now() - started, "encode")
        return shipments

    def _shipment(self, rows: Rows, messages: list[dict[str, Any]], scored: float) -> Shipment:
        covered = Covered(
            self._arena.partition[rows],
            self._arena.offset[rows],
            self._arena.epoch[rows],
            self._arena.timestamp[rows],
        )
        return Shipment(
            topic=self._topics.results,
            partition=int(covered.partitions[0]) if self._topics.aligned else ANY_PARTITION,
            messages=messages,
            headers=self._traces(rows) if self._arena.headers else {},
            acknowledged=self._acknowledgement(covered, scored),
        )

    def _traces(self, rows: Rows) -> dict[int, Headers]:
        kept = self._arena.headers
        found = {
            index: [header for header in kept[row] if header[0] == TRACE_HEADER]
            for index, row in enumerate(rows.tolist())
            if row in kept
        }
        return {index: headers for index, headers in found.items() if headers}

    def _acknowledgement(self, covered: Covered, scored: float) -> Callable[[], None]:
        def acknowledged() -> None:
            self._seconds.note(self._clock.now() - scored)
            self._ledger.complete(covered.partitions, covered.offsets, covered.epochs)
            latency = self._clock.wall() - covered.timestamps / 1_000.0
            self._metrics.observe("stage_latency_seconds", latency)
            self._metrics.count("claims_delivered_total", len(latency))
            self._metrics.count("deadline_missed_total", int((latency > self._budget).sum()))

        return acknowledged

    def _letter(self, row: int, lane: int, error: Any) -> DeadLetter:
        arena, identity = self._arena, self._roster.lanes[lane].identity
        return DeadLetter(
            arena.key[row],
            arena.value[row],
            arena.headers.get(row, []),
            arena.position(row),
            error,
            model=identity.name,
            version=identity.version,
        )

    def _dead_letter(self, letter: DeadLetter) -> Shipment:
        position = letter.position
        self._metrics.count("dead_letters_total", 1, type(letter.error).__name__)
        return Shipment(
            topic=self._topics.dead_letters,
            partition=ANY_PARTITION,
            messages=[{"value": letter.value, "key": letter.key}],
            headers={0: [*letter.headers, *self._reason(letter).headers()]},
            acknowledged=lambda: self._ledger.complete(
                np.array([position.partition]), np.array([position.offset]), np.array([position.epoch])
            ),
        )

    def _reason(self, letter: DeadLetter) -> Reason:
        return Reason(
            type(letter.error).__name__,
            str(letter.error),
            self._topics.input,
            letter.position.partition,
            letter.position.offset,
            letter.model,
            letter.version,
            attempt_of(letter.headers),
        )
