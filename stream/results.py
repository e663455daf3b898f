"""Rows of the arena to score records: the output schema as Arrow columns, full lineage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from models import ModelIdentity
from stream.arena import ClaimArena
from stream.records import Rows, ages
from stream.roster import LaneModel, Roster

OUTCOME_SCORED = "scored"


class ScoreColumns:
    """Builds `claim_score` batches; each score names the version of its lane."""

    def __init__(
        self,
        schema: pa.Schema,
        arena: ClaimArena,
        roster: Roster,
        *,
        topic: str,
        budget: float,
    ) -> None:
        self._schema = schema
        self._arena = arena
        self._topic = topic
        self._budget = budget
        self._roster = roster
        self._known: tuple[LaneModel, ...] = ()
        self._learn()

    def build(self, rows: Rows, wall: float) -> pa.RecordBatch:
        """One record a row, in the order of `rows`; `wall` is the moment of scoring, seconds since the epoch."""
        arena, count = self._arena, len(rows)
        timestamp = arena.timestamp[rows]
        queued = 1_000.0 * ages(timestamp, arena.started[rows])
        columns = {
            "claim_id": pa.array(arena.claim_id[rows], pa.string()),
            "claim_type": pa.array(arena.claim_type[rows], pa.string()),
            "input_topic": pa.repeat(self._topic, count),
            "input_partition": pa.array(arena.partition[rows].astype(np.int32)),
            "input_offset": pa.array(arena.offset[rows]),
            "input_timestamp": pa.array(timestamp),
            "scores": self._scores(rows),
            "outcome": pa.repeat(OUTCOME_SCORED, count),
            "scored_at": pa.repeat(pa.scalar(int(wall * 1_000), pa.int64()), count),
            "queue_ms": pa.array(queued.astype(np.float32)),
            "inference_ms": pa.array(arena.inference[rows]),
            "deadline_missed": pa.array(ages(timestamp, wall) > self._budget),
        }
        return pa.RecordBatch.from_arrays(
            [_as(columns[field.name], field.type) for field in self._schema], schema=self._schema
        )

    def _learn(self) -> None:
        """Columns of what is constant for a lane, anew when there are more lanes."""
        self._known = self._roster.lanes
        decisions = [model.decisions for model in self._known]
        self._identity_columns = _identity_columns([model.identity for model in self._known])
        self._decision_words = pa.array([word for words in decisions for word in words], pa.string())
        self._decision_base = np.cumsum([0, *map(len, decisions)])[:-1]

    def _scores(self, rows: Rows) -> pa.Array:
        if len(self._known) < len(self._roster.lanes):
            self._learn()
        hops = self._arena.hop[rows].astype(np.int32)
        widest = int(hops.max(initial=0))
        present = np.arange(widest) < hops[:, None]
        lanes = self._arena.model[rows, :widest][present]
        words = self._arena.decision[rows, :widest][present] + self._decision_base[lanes]
        chosen = pa.array(lanes)
        columns = {name: column.take(chosen) for name, column in self._identity_columns.items()}
        columns["score"] = pa.array(self._arena.score[rows, :widest][present])
        columns["decision"] = self._decision_words.take(pa.array(words))
        kind = self._schema.field("scores").type.value_type
        entries = pa.StructArray.from_arrays([_as(columns[f.name], f.type) for f in kind], fields=list(kind))
        offsets = np.concatenate(([0], np.cumsum(hops))).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), entries, type=self._schema.field("scores").type)


def _identity_columns(identities: Sequence[ModelIdentity]) -> dict[str, pa.Array]:
    fields = {
        "model": "name",
        "version": "version",
        "variant": "variant",
        "precision": "precision",
        "device": "device",
    }
    return {
        column: pa.array([getattr(identity, field) for identity in identities], pa.string())
        for column, field in fields.items()
    }


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column if column.type == kind else column.cast(kind)
