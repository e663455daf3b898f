"""Columns to tensors, declared in the manifest; the same code trains and serves.

A claim becomes a row of tokens: its type, the attributes that the spec names, its codes, its lines. Distinct codes of a
poll are looked up once each in a dictionary built once, so cost grows with the poll and not with the vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from models.errors import FeatureError
from models.protocols import ColumnShape
from models.row_features import RowFeatures, number
from models.vocabulary import Integers, Vocabulary, indices

Floats = npt.NDArray[np.float32]

AMOUNTS = 2
# Below this, a loop over the claims costs less than the fixed price of the bulk operations.
_FEW = 12
_COLUMNS = ("claim_type", "service_date", "received_date", "codes", "lines", "attributes")


class FeatureSpec(BaseModel):
    """What a model reads of a claim."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    length: int = Field(ge=4, description="Most tokens of a claim; lines beyond it are not seen.")
    codes: int = Field(ge=0, description="Most diagnosis codes among them.")
    token_attributes: tuple[str, ...] = Field((), description="Attributes that become a token each.")
    number_attributes: tuple[str, ...] = Field(
        (), description="Attributes that are numbers; absent counts as 0."
    )
    buckets: int = Field(ge=1, description="Tokens that stand for whatever the vocabulary does not know.")

    @property
    def numbers(self) -> int:
        """Claim-level features: total charge, lines, days from service to receipt, and the number attributes."""
        return 3 + len(self.number_attributes)


class ClaimFeatures:
    """Encodes claim batches by a spec and a vocabulary."""

    def __init__(self, spec: FeatureSpec, words: Sequence[str]) -> None:
        self._spec = spec
        self._vocabulary = Vocabulary(words, spec.buckets)
        self._rows = RowFeatures(
            spec.token_attributes, spec.number_attributes, spec.codes, spec.length, self._vocabulary
        )
        self.size = self._vocabulary.size
        digest = hashlib.sha256(spec.model_dump_json().encode())
        digest.update("\n".join(words).encode())
        self.digest = digest.hexdigest()[:16]
        length = spec.length
        self.columns: Mapping[str, ColumnShape] = {
            "token": ColumnShape((length,), np.dtype(np.int32)),
            "revenue": ColumnShape((length,), np.dtype(np.int32)),
            "amount": ColumnShape((length, AMOUNTS), np.dtype(np.float32)),
            "number": ColumnShape((spec.numbers,), np.dtype(np.float32)),
        }

    def encode(self, claims: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
        """Tensors of all claims. Raises FeatureError when a column is missing."""
        if missing := set(_COLUMNS) - set(claims.schema.names):
            raise FeatureError(
                f"the feature spec needs the columns {sorted(missing)}; the reader schema lacks them"
            )
        count = claims.num_rows
        tensors = {name: np.zeros((count, *c.shape), c.dtype) for name, c in self.columns.items()}
        if count <= _FEW:
            for row, claim in enumerate(claims.select(_COLUMNS).to_pylist()):
                self._rows.encode(claim, row, tensors)
            return tensors
        position = self._heads(claims, tensors["token"])
        position = self._codes(claims.column("codes"), tensors["token"], position)
        self._lines(claims.column("lines"), tensors, position)
        self._numbers(claims, tensors["number"])
        return tensors

    def _heads(self, claims: pa.RecordBatch, token: npt.NDArray[np.int32]) -> Integers:
        """Type and attribute tokens; an absent attribute leaves no gap. Returns where each claim goes on."""
        token[:, 0] = self._vocabulary.tokens("type", claims.column("claim_type"))
        position = np.ones(claims.num_rows, np.int64)
        for name in self._spec.token_attributes:
            values = pc.map_lookup(claims.column("attributes"), name, "first")
            tokens = self._vocabulary.tokens(name, values)
            present = np.flatnonzero(tokens)
            token[present, position[present]] = tokens[present]
            position[present] += 1
        return position

    def _codes(self, codes: pa.Array, token: npt.NDArray[np.int32], position: Integers) -> Integers:
        offsets = codes.offsets.to_numpy()
        inner = codes.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        claim, rank = _ranks(offsets)
        kept = rank < self._spec.codes
        words = pc.binary_join_element_wise(inner.field("system"), inner.field("code"), "|")
        tokens = self._vocabulary.tokens("code", words)
        token[claim[kept], position[claim[kept]] + rank[kept]] = tokens[kept]
        following: Integers = position + np.minimum(np.diff(offsets), self._spec.codes)
        return following

    def _lines(self, lines: pa.Array, tensors: dict[str, npt.NDArray[Any]], position: Integers) -> None:
        offsets = lines.offsets.to_numpy()
        inner = lines.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        claim, rank = _ranks(offsets)
        column = position[claim] + rank
        kept = column < self._spec.length
        claim, column = claim[kept], column[kept]
        procedure = self._vocabulary.tokens("procedure", pc.fill_null(inner.field("procedure_code"), ""))
        tensors["token"][claim, column] = procedure[kept]
        tensors["revenue"][claim, column] = self._vocabulary.tokens("revenue", inner.field("revenue_code"))[
            kept
        ]
        for channel, name in enumerate(("units", "charge")):
            values = inner.field(name).to_numpy(zero_copy_only=False)
            tensors["amount"][claim, column, channel] = _compressed(values)[kept]

    def _numbers(self, claims: pa.RecordBatch, numbers: Floats) -> None:
        lines = claims.column("lines")
        offsets = lines.offsets.to_numpy()
        charges = lines.values.field("charge").to_numpy(zero_copy_only=False)
        running = np.concatenate((np.zeros(1), np.cumsum(charges)))
        numbers[:, 0] = _compressed(running[offsets[1:]] - running[offsets[:-1]])
        numbers[:, 1] = _compressed(np.diff(offsets).astype(np.float64))
        numbers[:, 2] = _compressed(
            _days(claims.column("received_date")) - _days(claims.column("service_date"))
        )
        for place, name in enumerate(self._spec.number_attributes, start=3):
            numbers[:, place] = _numeric(pc.map_lookup(claims.column("attributes"), name, "first")) / 100.0


def _ranks(offsets: npt.NDArray[Any]) -> tuple[Integers, Integers]:
    """For each list item: the list that it is in, and its place there."""
    counts = np.diff(offsets)
    claim = np.repeat(np.arange(len(counts)), counts)
    return claim, np.arange(len(claim)) - np.repeat(offsets[:-1] - offsets[0], counts)


def _compressed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sign and log(1 + |x|) / 4: amounts of every size in a small range; what is not finite counts as 0."""
    squeezed = np.copysign(np.log1p(np.abs(values)), values) / 4.0
    finite = np.isfinite(squeezed)
    return squeezed if finite.all() else np.where(finite, squeezed, 0.0)


def _days(dates: pa.Array) -> npt.NDArray[np.float64]:
    days: npt.NDArray[np.float64] = dates.view(pa.int32()).to_numpy(zero_copy_only=False).astype(np.float64)
    return days


def _numeric(texts: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers from the distinct texts of a column; what is no number counts as 0."""
    encoded = texts.dictionary_encode()
    table = np.array([*map(number, encoded.dictionary.to_pylist()), 0.0], np.float64)
    return table[indices(encoded)]
