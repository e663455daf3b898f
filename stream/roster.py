"""Which version scores which lane, and which lanes serve each model of the routes at this moment."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models import FeatureEncoder, ModelIdentity

Fractions = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LaneModel:
    """What is known of a version whether it is loaded or not."""

    identity: ModelIdentity
    spec_digest: str
    features: FeatureEncoder
    decisions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LaneShare:
    """A lane and its part of a model's claims."""

    lane: int
    weight: int


class Roster:
    """Lanes are only added: a claim keeps the version that it was given when it came in.

    One thread changes it, others read; what a reader sees is one whole state.
    """

    def __init__(self, references: Sequence[str]) -> None:
        self.references = tuple(references)
        self.lanes: tuple[LaneModel, ...] = ()
        self._serving: tuple[tuple[LaneShare, ...], ...] = ((),) * len(references)
        self._names: dict[int, frozenset[str]] = {}

    def add(self, model: LaneModel) -> int:
        """A lane for one more version."""
        self.lanes = (*self.lanes, model)
        return len(self.lanes) - 1

    def serve(self, reference: str, shares: Sequence[LaneShare]) -> None:
        """From now on these lanes take a model's claims."""
        number = self.references.index(reference)
        for share in shares:
            self._names[share.lane] = self.names(share.lane) | {reference}
        before = self._serving
        self._serving = (*before[:number], tuple(shares), *before[number + 1 :])

    def names(self, lane: int) -> frozenset[str]:
        """The models of routes whose claims the lane takes, or took."""
        return self._names.get(lane, frozenset())

    @property
    def serving(self) -> frozenset[int]:
        """The lanes that take claims."""
        return frozenset(share.lane for shares in self._serving for share in shares)

    def plan(
        self, route: Sequence[int], keys: Sequence[bytes | None], claims: npt.NDArray[np.object_]
    ) -> npt.NDArray[np.int32]:
        """Lanes (claims, models of the route). A key meets the same version every time, in every process.

        Claims without a key are divided by their ids, `claims`, or all of them would meet the same version.
        """
        serving = self._serving
        plan = np.empty((len(keys), len(route)), np.int32)
        for hop, reference in enumerate(route):
            shares = serving[reference]
            if len(shares) == 1:
                plan[:, hop] = shares[0].lane
            else:
                plan[:, hop] = _split(shares, fractions(_dividing(keys, claims), self.references[reference]))
        return plan


def _dividing(keys: Sequence[bytes | None], claims: npt.NDArray[np.object_]) -> list[bytes]:
    return [str(claim).encode() if key is None else key for key, claim in zip(keys, claims, strict=True)]


def fractions(keys: Sequence[bytes], salt: str) -> Fractions:
    """A hash of each key in [0, 1), the same for ever; models with another salt split independently.

    CRC-32, mixed with the salt by the finalizer of SplitMix64 (Steele et al. 2014): CRCs alone differ between salts by
    a constant.
    """
    mixed = np.fromiter(map(zlib.crc32, keys), np.uint64, len(keys))
    mixed ^= np.uint64(zlib.crc32(salt.encode()) << 32)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)) / 2.0**53


def _split(shares: Sequence[LaneShare], fraction: Fractions) -> npt.NDArray[np.int32]:
    weights = np.cumsum([share.weight for share in shares])
    chosen = np.searchsorted(weights / weights[-1], fraction, side="right")
    return np.array([share.lane for share in shares], np.int32)[chosen]
