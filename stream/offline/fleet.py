"""The models of all routes, loaded once and held to the end: every claim of a file meets the same versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pyarrow as pa

from models import CacheOptions, ModelError, SyncModelCacheManager, VersionKey
from models.errors import (
    ArtifactError,
    BuildError,
    FeatureError,
    ManifestError,
    NoFolderError,
    UnavailableError,
    UnknownModelError,
)
from stream.errors import UsageError
from stream.loader import Lease, Models
from stream.publishing.claim_schema import claim_schema
from stream.roster import LaneModel, LaneShare, Roster

# Whoever names such a model has to name another, or to mend it; trying again does not help.
_WRONG = (
    UnknownModelError,
    NoFolderError,
    ManifestError,
    ArtifactError,
    UnavailableError,
    BuildError,
    FeatureError,
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """`leases` by lane; `versions` tells of each model of the routes what scores, how, and its weight."""

    roster: Roster
    leases: tuple[Lease, ...]
    versions: tuple[str, ...]

    def close(self) -> None:
        """Let go of all."""
        for lease in self.leases:
            lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def opened_models(options: CacheOptions, routes: Mapping[str, Sequence[str]]) -> Iterator[Fleet]:
    """The models of the routes, in a cache of their own. Raises what `open_fleet` raises."""
    references = list(dict.fromkeys(name for names in routes.values() for name in names))
    try:
        manager = SyncModelCacheManager(options=options)
    except UnavailableError as error:
        raise UsageError(str(error)) from error
    with manager as cache, open_fleet(cache.supply, references) as fleet:
        yield fleet


def open_fleet(models: Models, references: Sequence[str]) -> Fleet:
    """Load what each name means now.

    Raises UsageError for a model that is not there, not sound, or of a feature spec that claims of a file do not fit,
    ModelError where loading it fails otherwise.
    """
    roster = Roster(references)
    held: dict[VersionKey, Lease] = {}
    versions: list[str] = []
    nothing = pa.RecordBatch.from_pylist([], schema=claim_schema())
    try:
        for reference in references:
            shares = models.shares(reference)
            for key, weight in shares:
                if key not in held:
                    held[key] = models.resident(key) or models.begin(key).take()
                    model = held[key].model
                    model.features.encode(nothing)
                    roster.add(LaneModel(model.identity, model.spec_digest, model.features, model.decisions))
                versions.append(_told(key, held[key], weight))
            lanes = list(held)
            roster.serve(reference, [LaneShare(lanes.index(key), weight) for key, weight in shares])
    except ModelError as error:
        for lease in held.values():
            lease.release()
        if isinstance(error, _WRONG):
            raise UsageError(f"{reference}: {error}") from error
        raise
    return Fleet(roster, tuple(held.values()), tuple(versions))


def _told(key: VersionKey, lease: Lease, weight: int) -> str:
    identity = lease.model.identity
    return f"{key} {key.digest[:12]} {identity.precision} on {identity.device}, weight {weight}"
