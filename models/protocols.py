"""What a model is to those who score with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Names exactly what scored a claim."""

    name: str
    version: str
    variant: str
    precision: str
    device: str


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """Shape and type of one claim's part of a feature tensor."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class FeatureEncoder(Protocol):
    """Columns of claims to tensors; cost grows with the poll, never with a vocabulary."""

    @property
    def columns(self) -> Mapping[str, ColumnShape]:
        """What `encode` gives, by name."""

    def encode(self, claims: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
        """Tensors of shape (n, *shape). Raises FeatureError when a column is missing."""


class Model(Protocol):
    """A model version, ready to score."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def bytes(self) -> int:
        """Bytes of its tensors on its device."""

    @property
    def spec_digest(self) -> str:
        """Digest of the feature spec; models with equal digests read the same tensors."""

    @property
    def features(self) -> FeatureEncoder: ...

    @property
    def decisions(self) -> tuple[str, ...]:
        """The words that `decide` chooses from."""

    def decide(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
        """Index into `decisions` of each score."""

    def score(self, features: Tensors) -> npt.NDArray[np.float32]:
        """Scores (n,), each 0 to 1; no row depends on another."""

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """One forward pass a size, so that the first claims do not pay for it."""
