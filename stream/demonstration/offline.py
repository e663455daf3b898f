"""The plain pass that the stage's scores are compared with: decode, features, score, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

import schemas
from config import Settings
from models import Model, Repository, open_model
from models.null import NAME as NULL
from stream.audit import Claim
from stream.claim_schemas import schema
from stream.codec import Decoder
from stream.codec.reference import to_batch
from stream.errors import UsageError
from stream.router import DEFAULT_ROUTE

_BATCH = 256
_CLAIM = "claim_event"


class OfflineScores:
    """Scores decoded claims in order, in batches of one size."""

    def __init__(self, model: Model, schema: pa.Schema) -> None:
        self._model = model
        self._schema = schema

    def __call__(self, claims: Sequence[Claim]) -> Sequence[float]:
        scores = [np.empty(0, np.float32)]
        for start in range(0, len(claims), _BATCH):
            batch = to_batch(list(claims[start : start + _BATCH]), self._schema)
            scores.append(self._model.score(self._model.features.encode(batch)))
        found: list[float] = np.concatenate(scores).tolist()
        return found


class OfflineRoutes:
    """Scores each claim with the models of its type's route, in their order; with none where there is no route."""

    def __init__(
        self, routes: Mapping[str, Sequence[str]], type_field: str, passes: Mapping[str, OfflineScores]
    ) -> None:
        self._routes = routes
        self._type_field = type_field
        self._passes = passes

    def __call__(self, claims: Sequence[Claim]) -> Sequence[Sequence[float]]:
        scores: list[list[float]] = [[] for _ in claims]
        default = self._routes.get(DEFAULT_ROUTE, ())
        ways = [tuple(self._routes.get(claim[self._type_field], default)) for claim in claims]
        for way in set(ways):
            places = [place for place, other in enumerate(ways) if other == way]
            taken = [claims[place] for place in places]
            for name in way:
                for place, score in zip(places, self._passes[name](taken), strict=True):
                    scores[place].append(score)
        return scores


def offline_routes(settings: Settings) -> OfflineRoutes:
    """The routes of these settings, their models opened.

    Raises UsageError for settings under which a plain pass is no measure, ModelError for a model that cannot be opened.
    """
    if schema(settings.schemas.input) != schemas.load(_CLAIM):
        raise UsageError(
            f"schemas.input: the demo publishes claims of {_CLAIM}, the schema that ships, and by no other; "
            "leave it out"
        )
    repository = Path(settings.cache.repository) if settings.cache.repository else None
    columns = Decoder(schemas.load(_CLAIM)).arrow_schema
    names = {name for way in settings.routes.values() for name in way}
    passes = {name: OfflineScores(_opened(name, repository), columns) for name in sorted(names)}
    return OfflineRoutes(settings.routes, settings.schemas.type_field, passes)


def _opened(name: str, repository: Path | None) -> Model:
    if name != NULL and len(shares := Repository(repository).resolve(name).shares) > 1:
        versions = ", ".join(share.version for share in shares)
        raise UsageError(
            f"routes: {name} divides its claims between the versions {versions}, and the demo compares each score with "
            "that of one; name a version"
        )
    return open_model(name, repository=repository)
