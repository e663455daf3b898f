"""Each claim gets the versions that score it, and the features that these read; in bulk, once a poll."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from models import FeatureEncoder
from stream.arena import ClaimArena
from stream.records import Rows, distinct
from stream.roster import Roster
from stream.router import Router


class Allotment:
    """Fills the arena's columns of models and features for rows of one route."""

    def __init__(self, router: Router, roster: Roster, arena: ClaimArena) -> None:
        self._router = router
        self._roster = roster
        self._arena = arena

    def give(self, route: int, rows: Rows, claims: pa.RecordBatch, keys: Sequence[bytes | None]) -> Rows:
        """Plan what is left of the rows' route; the lane of each row's next model. Raises FeatureError."""
        plan = self._roster.plan(self._router.routes[route], keys, self._arena.claim_id[rows])
        hops = self._arena.hop[rows]
        if hops.any():
            passed = np.arange(plan.shape[1]) < hops[:, None]
            plan = np.where(passed, self._arena.model[rows, : plan.shape[1]], plan)
        self._arena.model[rows, : plan.shape[1]] = plan
        for digest, encoder in self._specs(plan).items():
            self._arena.add_spec(digest, encoder.columns)
            self._arena.store_features(digest, rows, encoder.encode(claims))
        following: Rows = plan[np.arange(len(rows)), hops]
        return following

    def _specs(self, plan: Rows) -> dict[str, FeatureEncoder]:
        """The feature specs that these lanes read."""
        models = [self._roster.lanes[lane] for lane in distinct(plan.ravel())]
        return {model.spec_digest: model.features for model in models}
