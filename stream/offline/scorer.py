"""Portions of a file's claims to results, by the rooms of the stage: router, roster, arena, scorer, score columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

import schemas
from stream.allotment import Allotment
from stream.arena import ClaimArena
from stream.clock import Clock
from stream.codec import Encoder
from stream.offline.fleet import Fleet
from stream.offline.portions import Portion
from stream.publishing import Reject
from stream.records import CloseReason, Integers, MicroBatch, Polled, Rows, distinct
from stream.results import ScoreColumns
from stream.router import Router
from stream.scoring import Scorer

_NO_BUDGET = float("inf")
_LEAST_PORTION = 2_048


@dataclass(frozen=True, slots=True)
class Layout:
    """`batch`: claims of a forward. `key`: its hash chooses among weighted versions, as that of a record's key does.

    A portion holds whole batches, so that where a run was broken off does not show in the shape of any.
    """

    batch: int
    key: str = "member_id"

    @property
    def portion(self) -> int:
        """Claims that are read, given features and written together."""
        return self.batch * -(-_LEAST_PORTION // self.batch)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A portion, its rows in the arena, in the order of the file, and why the other claims have none, by place."""

    portion: Portion
    rows: Rows
    lost: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Scored:
    """Results of a portion, in the order of the file, and the claims that have none."""

    results: pa.RecordBatch
    lost: tuple[Reject, ...]


class OfflineScorer:
    """Has room for two portions: one thread admits the next while another scores.

    Lineage of a result: `source` as topic, partition 0, the claim's number in the file as offset, the moment at which
    it was admitted as timestamp. There is no deadline, so none is missed.
    """

    def __init__(
        self, fleet: Fleet, routes: Mapping[str, Sequence[str]], layout: Layout, source: str, clock: Clock
    ) -> None:
        self._fleet = fleet
        self._layout = layout
        self._clock = clock
        self._router = Router(routes, fleet.roster.references)
        self._lengths = np.array([len(route) for route in self._router.routes])
        self._arena = ClaimArena(2 * layout.portion, int(self._lengths.max()))
        self._allotment = Allotment(self._router, fleet.roster, self._arena)
        self._scorer = Scorer(self._arena, clock)
        schema = Encoder(schemas.load("claim_score")).arrow_schema
        self._columns = ScoreColumns(schema, self._arena, fleet.roster, topic=source, budget=_NO_BUDGET)

    def admit(self, portion: Portion) -> Admitted:
        """Route a portion and compute its features."""
        claims = portion.claims
        routing = self._router.route(claims.column("claim_type"))
        lost = {
            place: str(self._router.no_route(str(routing.types[place])))
            for place in np.flatnonzero(routing.routes < 0).tolist()
        }
        source = np.flatnonzero(routing.routes >= 0)
        keys = [key.encode() for key in claims.column(self._layout.key).to_pylist()]
        rows = self._arena.admit(self._polled(keys, portion.first), source, np.zeros(len(keys)))
        ids = claims.column("claim_id").to_pylist()
        self._arena.claim_id[rows] = np.fromiter(ids, object, len(ids))[source]
        self._arena.claim_type[rows] = routing.types[source]
        routes = self._arena.route[rows] = routing.routes[source]
        for route in distinct(routes):
            self._allot(route, rows[routes == route], claims, source[routes == route], keys)
        return Admitted(portion, rows, lost)

    def score(self, admitted: Admitted) -> Scored:
        """Pass the rows through the models of their routes, and give the arena its room back."""
        arena, portion, lost = self._arena, admitted.portion, dict(admitted.lost)
        kept = admitted.rows
        for hop in range(int(self._lengths.max())):
            due = kept[self._lengths[arena.route[kept]] > hop]
            failed = {
                row: reason for batch in self._batches(due, hop) for row, reason in self._forward(batch)
            }
            lost |= {int(arena.offset[row]) - portion.first: reason for row, reason in failed.items()}
            kept = kept[~np.isin(kept, list(failed))] if failed else kept
        results = self._columns.build(kept, self._clock.wall())
        arena.release(admitted.rows)
        ids = portion.claims.column("claim_id")
        rejects = [Reject(int(portion.rows[at]), ids[at].as_py(), lost[at]) for at in sorted(lost)]
        return Scored(results, tuple(rejects))

    def _polled(self, keys: list[bytes | None], first: int) -> Polled:
        """The form in which the arena takes claims; their bytes are in the file, and are not held."""
        count = len(keys)
        nought = np.zeros(count, np.int64)
        return Polled(
            values=[b""] * count,
            keys=keys,
            headers={},
            partitions=nought,
            offsets=np.arange(first, first + count),
            epochs=nought,
            timestamps=np.full(count, int(self._clock.wall() * 1_000)),
        )

    def _allot(
        self, route: int, rows: Rows, claims: pa.RecordBatch, source: Integers, keys: list[bytes | None]
    ) -> None:
        whole = len(source) == len(keys)
        chosen = claims if whole else claims.take(pa.array(source))
        theirs = keys if whole else [keys[place] for place in source.tolist()]
        self._allotment.give(route, rows, chosen, theirs)

    def _batches(self, rows: Rows, hop: int) -> list[MicroBatch]:
        lanes, size = self._arena.model[rows, hop], self._layout.batch
        return [
            MicroBatch(lane, chosen[start : start + size], CloseReason.SIZE)
            for lane in distinct(lanes)
            for chosen in (rows[lanes == lane],)
            for start in range(0, len(chosen), size)
        ]

    def _forward(self, batch: MicroBatch) -> list[tuple[int, str]]:
        """Rows that failed, and why."""
        outcome = self._scorer.score(batch, self._fleet.leases[batch.lane].model)
        return [(failure.row, str(failure.error)) for failure in outcome.failures]
