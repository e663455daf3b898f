"""Outcomes leave: in key order, encoded, produced; what is acknowledged is noted in the ledger."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import Any

import numpy as np

from stream.arena import ClaimArena
from stream.clock import Clock
from stream.codec import Encoder
from stream.errors import OversizeError, StopError
from stream.letter_limit import DEFAULT_RULES, LetterLimit, LetterRules
from stream.letters import Reason, attempt_of, fitted
from stream.metrics import StageMetrics
from stream.offsets import OffsetLedger
from stream.ordering import KeyOrder
from stream.producer import ANY_PARTITION, Sender, Shipment
from stream.recent import RecentQuantile
from stream.records import DeadLetter, Flags, Headers, Integers, Outcome, Position, Positions, Rows, ages
from stream.results import ScoreColumns
from stream.roster import Roster
from stream.topics import LONGEST_TRACE, MAX_MESSAGE_BYTES, RECORD_OVERHEAD

log = logging.getLogger(__name__)

ANY_NUMBER = 1 << 31
TRACE_HEADER = "traceparent"
_FIRST_GUESS = 0.01


@dataclass(frozen=True, slots=True)
class OutputTopics:
    """Where results and dead letters go, and the bytes that a record may have there.

    `aligned`: the result topic has as many partitions as the input topic, `partitions` of them when that was looked at.
    """

    input: str
    results: str
    dead_letters: str
    aligned: bool
    result_bytes: int = MAX_MESSAGE_BYTES
    letter_bytes: int = MAX_MESSAGE_BYTES
    partitions: int = ANY_NUMBER

    def result_partition(self, partition: int) -> int:
        """Where results of an input partition go. One that was added since may not have its like: by their keys."""
        return partition if self.aligned and partition < self.partitions else ANY_PARTITION


class Delivery:
    """Sends results and dead letters; a row is released as soon as its result is with the client."""

    def __init__(
        self,
        arena: ClaimArena,
        orders: Sequence[KeyOrder],
        columns: ScoreColumns,
        encoder: Encoder,
        producer: Sender,
        ledger: OffsetLedger,
        topics: OutputTopics,
        roster: Roster,
        budget: float,
        clock: Clock,
        metrics: StageMetrics,
        rules: LetterRules = DEFAULT_RULES,
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
        self._limit = LetterLimit(rules)
        self._typical = RecentQuantile(0.5, start=_FIRST_GUESS)
        self._slow = RecentQuantile(0.9, start=_FIRST_GUESS)

    @property
    def typical(self) -> float:
        """Seconds from the end of a forward to acknowledgement."""
        return self._typical.value

    @property
    def predicted(self) -> float:
        """The same, as nine shipments in ten do not exceed it."""
        return self._slow.value

    def deliver(self, outcomes: Sequence[Outcome], letters: Sequence[DeadLetter]) -> None:
        """Produce what may leave of these outcomes and of those held back for their key's order.

        Raises StopError, with nothing of these produced, when too many records become dead letters.
        """
        failed = [failure for outcome in outcomes for failure in outcome.failures]
        letters = [*letters, *(self._letter(f.row, f.lane, f.error) for f in failed)]
        errors = Counter(type(letter.error).__name__ for letter in letters)
        if reason := self._limit.check(errors, sum(len(outcome.rows) for outcome in outcomes)):
            raise StopError(reason)
        failed_rows = np.array([failure.row for failure in failed], np.int32)
        rows = self._released([failed_rows[:0], *(outcome.rows for outcome in outcomes)], failed_rows)
        current = self._ledger.current(self._arena.partition[rows], self._arena.epoch[rows])
        if not current.all():
            self._metrics.count("stale_results_total", int((~current).sum()))
        scored = min((outcome.at for outcome in outcomes), default=self._clock.now())
        shipments, oversize = self._results(rows[current], scored)
        if oversize and (reason := self._limit.recount({OversizeError.__name__: len(oversize)})):
            raise StopError(reason)
        shipments += [
            self._dead_letter(letter) for letter in [*oversize, *letters] if self._is_current(letter.position)
        ]
        self._arena.release(np.concatenate((rows, failed_rows)))
        started = self._clock.now()
        self._producer.send(shipments)
        self._metrics.count("busy_seconds_total", self._clock.now() - started, "produce")

    def _is_current(self, position: Position) -> bool:
        return bool(self._ledger.current(np.array([position.partition]), np.array([position.epoch]))[0])

    def _released(self, finished: list[Rows], failed: Rows) -> Rows:
        """Rows whose results may leave now. Failed ones are at their end: their places are given to others at once."""
        rows = np.concatenate(finished)
        if len(self._orders) == 1:
            return self._orders[0].complete(rows, failed)
        routes, lost = self._arena.route[rows], self._arena.route[failed]
        return np.concatenate(
            [
                order.complete(rows[routes == route], failed[lost == route])
                for route, order in enumerate(self._orders)
            ]
        )

    def _results(self, rows: Rows, scored: float) -> tuple[list[Shipment], list[DeadLetter]]:
        """Results, and dead letters of those that are too large. `scored`: when the first of their forwards ended."""
        if len(rows) == 0:
            return [], []
        started = self._clock.now()
        rows = rows[np.argsort(self._arena.partition[rows], kind="stable")]
        values = self._encoder.encode(self._columns.build(rows, self._clock.wall()))
        keys = self._arena.key[rows].tolist()
        letters: list[DeadLetter] = []
        if (fits := self._fits(values, keys)) is not None:
            letters = [self._oversize(int(row)) for row in rows[~fits]]
            rows, values, keys = rows[fits], list(compress(values, fits)), list(compress(keys, fits))
        messages = [{"value": value, "key": key} for value, key in zip(values, keys, strict=True)]
        partitions = self._arena.partition[rows]
        edges = [0, *(np.flatnonzero(np.diff(partitions)) + 1).tolist(), len(rows)] if len(rows) else []
        shipments = [
            self._shipment(
                rows[start:end], messages[start:end], _bytes(keys[start:end], values[start:end]), scored
            )
            for start, end in pairwise(edges)
        ]
        self._metrics.count("busy_seconds_total", self._clock.now() - started, "encode")
        return shipments, letters

    def _fits(self, values: list[bytes], keys: list[bytes | None]) -> Flags | None:
        """Which results the broker would take; None where it takes all: one refused would end the producer."""
        most = self._topics.result_bytes - RECORD_OVERHEAD
        if max(map(len, values)) + max(map(len, filter(None, keys)), default=0) <= most:
            return None
        sizes = [len(value) + len(key or b"") for value, key in zip(values, keys, strict=True)]
        return np.array(sizes) <= most

    def _oversize(self, row: int) -> DeadLetter:
        lane = int(self._arena.model[row, self._arena.hop[row] - 1])
        most = self._topics.result_bytes
        reason = f"its result with its key is larger than {self._topics.results!r} takes, {most:,} bytes"
        return self._letter(row, lane, OversizeError(reason))

    def _shipment(self, rows: Rows, messages: list[dict[str, Any]], size: int, scored: float) -> Shipment:
        arena = self._arena
        covered = Positions(arena.partition[rows], arena.offset[rows], arena.epoch[rows])
        return Shipment(
            topic=self._topics.results,
            partition=self._topics.result_partition(int(covered.partitions[0])),
            messages=messages,
            headers=self._traces(rows) if arena.headers else {},
            acknowledged=self._acknowledgement(covered, arena.timestamp[rows], scored),
            size=size,
            positions=covered,
            deadline=float(arena.deadline[rows].max()),
        )

    def _traces(self, rows: Rows) -> dict[int, Headers]:
        kept = self._arena.headers
        found = {index: _trace(kept[row]) for index, row in enumerate(rows.tolist()) if row in kept}
        return {index: headers for index, headers in found.items() if headers}

    def _acknowledgement(
        self, covered: Positions, timestamps: Integers, scored: float
    ) -> Callable[[float | None], None]:
        def acknowledged(otherwise: float | None) -> None:
            self._note(self._clock.now() - scored if otherwise is None else otherwise)
            self._ledger.complete(covered.partitions, covered.offsets, covered.epochs)
            latency = ages(timestamps, self._clock.wall())
            self._metrics.observe("stage_latency_seconds", latency)
            self._metrics.count("claims_delivered_total", len(latency))
            self._metrics.count("deadline_missed_total", int((latency > self._budget).sum()))

        return acknowledged

    def _note(self, seconds: float) -> None:
        self._typical.note(seconds)
        self._slow.note(seconds)
        self._metrics.observe_one("delivery_seconds", seconds)

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
        covered = Positions.of(letter.position)
        self._metrics.count("dead_letters_total", 1, type(letter.error).__name__)
        key, value, headers = fitted(
            letter.key, letter.value, letter.headers, self._reason(letter), self._topics.letter_bytes
        )
        if value is not letter.value:
            log.error("the dead letter of %s is without what is too large for its topic", letter.position)
            self._metrics.count("dead_letters_incomplete_total")
        return Shipment(
            topic=self._topics.dead_letters,
            partition=ANY_PARTITION,
            messages=[{"value": value, "key": key}],
            headers={0: headers},
            acknowledged=lambda _: self._ledger.complete(covered.partitions, covered.offsets, covered.epochs),
            size=_bytes([key], [value]),
            positions=covered,
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


def _bytes(keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> int:
    return sum(map(len, filter(None, keys))) + sum(map(len, filter(None, values)))


def _trace(headers: Headers) -> Headers:
    """The last trace, which is the nearest hop's, unless it is too long: a result has room for one, as W3C says."""
    last = [header for header in headers if header[0] == TRACE_HEADER][-1:]
    return [header for header in last if len(header[1] or b"") <= LONGEST_TRACE]
