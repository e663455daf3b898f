"""A poll of records becomes claims in lanes: decode, route, features, all in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.allotment import Allotment
from stream.arena import ClaimArena
from stream.clock import Clock
from stream.codec import Decoded, Decoder
from stream.errors import DecodeError, RecordError, RetryError
from stream.lanes import Lanes
from stream.metrics import StageMetrics
from stream.ordering import KeyOrder
from stream.records import DeadLetter, Integers, Polled, Rows, ages, distinct
from stream.roster import Roster
from stream.router import Router

_PARTITION_MIX = 0x9E3779B97F4A7C1


@dataclass(frozen=True, slots=True)
class ClaimFields:
    """The columns that identify and route a claim."""

    identity: str
    kind: str


class Admission:
    """Puts the claims of a poll into the arena and their rows into the lanes of their routes."""

    def __init__(
        self,
        decoder: Decoder,
        router: Router,
        roster: Roster,
        arena: ClaimArena,
        lanes: Lanes,
        orders: Sequence[KeyOrder],
        fields: ClaimFields,
        budget: float,
        clock: Clock,
        metrics: StageMetrics,
    ) -> None:
        self._decoder = decoder
        self._router = router
        self._roster = roster
        self._arena = arena
        self._lanes = lanes
        self._orders = orders
        self._allotment = Allotment(router, roster, arena)
        self._fields = fields
        self._budget = budget
        self._clock = clock
        self._metrics = metrics

    def prepare(self, polled: Polled) -> None:
        """Fetch the schemas that a poll needs, which may take seconds: `admit`, in its turn, then asks for none.

        Raises RetryError while a schema registry cannot be reached.
        """
        self._decoder.learn(polled.values)

    def admit(self, polled: Polled) -> list[DeadLetter]:
        """Admit every claim of a prepared poll that can be scored; what cannot comes back as dead letters."""
        started = self._clock.now()
        decoded = self._decoder.decode(polled.values)
        read = self._clock.now()
        letters = [self._letter(polled, failure.row, failure.error) for failure in decoded.failures]
        if decoded.claims.num_rows:
            letters += self._admit_decoded(polled, decoded)
        self._metrics.count("busy_seconds_total", read - started, "decode")
        self._metrics.count("busy_seconds_total", self._clock.now() - read, "features")
        return letters

    def readmit(self, lane: int) -> int:
        """Give the claims of a lane to the versions that serve now; how many there were. May take seconds.

        Raises RetryError, with nothing changed, while a schema registry cannot be reached.
        """
        rows = self._lanes.empty(lane)
        values = self._arena.value[rows].tolist()
        try:
            # What was learned of an id when they were admitted may be forgotten.
            self._decoder.learn(values)
            claims = self._decoder.decode(values).claims
        except RetryError:
            self._push(lane, rows)
            raise
        routes = self._arena.route[rows]
        for number in distinct(routes):
            chosen = routes == number
            mine = rows[chosen]
            self._give(number, mine, claims.filter(pa.array(chosen)), self._arena.key[mine].tolist())
        return len(rows)

    def forget_unread(self) -> None:
        """Let the tensors go that no version reads any more."""
        # In this order: a version may be enlisted and serve in between.
        serving = self._roster.serving
        lanes = self._roster.lanes
        if self._arena.features.keys() - {lanes[lane].spec_digest for lane in serving}:
            self._arena.keep_specs({lanes[lane].spec_digest for lane in serving | self._arena.lanes()})

    def _admit_decoded(self, polled: Polled, decoded: Decoded) -> list[DeadLetter]:
        claims, source, letters = self._named(polled, decoded)
        routing = self._router.route(claims.column(self._fields.kind))
        types, routes = routing.types, routing.routes
        if (lost := routes < 0).any():
            letters += [
                self._letter(polled, int(row), self._router.no_route(str(kind)))
                for row, kind in zip(source[lost], types[lost], strict=True)
            ]
            claims, source = claims.filter(pa.array(~lost)), source[~lost]
            types, routes = types[~lost], routes[~lost]
        rows = self._arena.admit(polled, source, self._deadlines(polled.timestamps))
        self._arena.claim_type[rows] = types
        ids = claims.column(self._fields.identity).to_pylist()
        self._arena.claim_id[rows] = np.fromiter(ids, object, len(ids))
        self._arena.route[rows] = routes
        for number in distinct(routes):
            self._enter(number, routes == number, rows, claims, polled, source)
        return letters

    def _named(self, polled: Polled, decoded: Decoded) -> tuple[pa.RecordBatch, Integers, list[DeadLetter]]:
        """The claims that say who and of what type they are, their rows, and dead letters of the others."""
        claims, source = decoded.claims, decoded.rows
        letters: list[DeadLetter] = []
        for name in (self._fields.identity, self._fields.kind):
            column = claims.column(name)
            if column.null_count:
                present = column.is_valid().to_numpy(zero_copy_only=False)
                error = DecodeError(f"the claim has no {name}, which identifies or routes it")
                letters += [self._letter(polled, int(row), error) for row in source[~present]]
                claims, source = claims.filter(pa.array(present)), source[present]
        return claims, source, letters

    def _enter(
        self,
        route: int,
        chosen: npt.NDArray[np.bool_],
        rows: Rows,
        claims: pa.RecordBatch,
        polled: Polled,
        source: Integers,
    ) -> None:
        if not chosen.all():
            rows, source, claims = rows[chosen], source[chosen], claims.filter(pa.array(chosen))
        keys = (
            polled.keys if len(source) == len(polled) else [polled.keys[index] for index in source.tolist()]
        )
        self._note_order(route, rows, keys)
        self._give(route, rows, claims, keys)

    def _give(self, route: int, rows: Rows, claims: pa.RecordBatch, keys: Sequence[bytes | None]) -> None:
        """Plan what is left of the rows' route, and send them to its next model."""
        following = self._allotment.give(route, rows, claims, keys)
        for lane in distinct(following):
            self._push(lane, rows[following == lane])

    def _push(self, lane: int, rows: Rows) -> None:
        self._lanes.push(lane, rows, self._arena.deadline[rows], self._clock.now())

    def _note_order(self, route: int, rows: Rows, keys: Sequence[bytes | None]) -> None:
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
        exempt = np.zeros(len(keys), np.bool_)
        if None in keys:
            exempt = np.fromiter((key is None for key in keys), np.bool_, len(keys))
        self._orders[route].admit(rows, hashes ^ (self._arena.partition[rows] * _PARTITION_MIX), exempt)

    def _deadlines(self, timestamps: Integers) -> npt.NDArray[np.float64]:
        """Monotonic deadlines."""
        return self._clock.now() - ages(timestamps, self._clock.wall()) + self._budget

    def _letter(self, polled: Polled, row: int, error: RecordError) -> DeadLetter:
        return DeadLetter(
            polled.keys[row], polled.values[row], polled.headers.get(row, []), polled.position(row), error
        )
