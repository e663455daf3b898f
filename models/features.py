"""Columns to tensors, declared in the manifest; the same code trains and serves.

A claim becomes a row of tokens: its type, the attributes and dates that the spec names, its codes, its lines. Distinct
codes of a poll are looked up once each in a dictionary built once, so cost grows with the poll and not with the
vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from models import date_tokens
from models.columns import Attributes, Integers, Lists, Numbers, days, numbers
from models.date_tokens import DateToken
from models.errors import FeatureError
from models.protocols import ColumnShape, Tensors
from models.row_features import RowFeatures, number, rows_of
from models.vocabulary import Tokens, Vocabulary, by_distinct

Floats = npt.NDArray[np.float32]

AMOUNTS = 2
LABEL = "anomaly"
# Up to this, a loop over the claims costs less than the fixed price of the bulk operations.
_FEW = 24
_COLUMNS = ("claim_type", "service_date", "received_date", "codes", "lines", "attributes")


class FeatureSpec(BaseModel):
    """What a model reads of a claim."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    length: int = Field(ge=4, le=4_096, description="Most tokens of a claim; lines beyond it are not seen.")
    codes: int = Field(ge=0, description="Most diagnosis codes among them.")
    token_attributes: tuple[str, ...] = Field((), description="Attributes that become a token each.")
    number_attributes: tuple[str, ...] = Field(
        (), description="Attributes that are numbers; absent counts as 0."
    )
    date_tokens: tuple[DateToken, ...] = Field(
        default=(), description="What of the dates becomes a token each: lag, weekdays, months."
    )
    buckets: int = Field(ge=1, description="Tokens that stand for whatever the vocabulary does not know.")

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what a spec does not use: a manifest that was published keeps its bytes, and so its digest."""
        fields: dict[str, Any] = handler(self)
        if not self.date_tokens:
            del fields["date_tokens"]
        return fields

    @model_validator(mode="after")
    def _possible(self) -> FeatureSpec:
        if LABEL in (*self.token_attributes, *self.number_attributes):
            raise ValueError(
                f"the attribute {LABEL!r} is the label that models learn; it cannot be a feature"
            )
        heads = 1 + len(self.token_attributes) + len(self.date_tokens)
        if heads + self.codes > self.length:
            raise ValueError(
                f"type, {len(self.token_attributes)} attributes, {len(self.date_tokens)} of the dates and "
                f"{self.codes} codes exceed {self.length} tokens"
            )
        return self

    @property
    def numbers(self) -> int:
        """Claim-level features: total charge, lines, days from service to receipt, and the number attributes."""
        return 3 + len(self.number_attributes)


def digest(spec: FeatureSpec, words: Sequence[str]) -> str:
    """What tells two ways to make tensors of claims apart: 16 hexadecimal digits."""
    found = hashlib.sha256(spec.model_dump_json().encode())
    found.update("\n".join(words).encode())
    return found.hexdigest()[:16]


class ClaimFeatures:
    """Encodes claim batches by a spec and a vocabulary; up to `few` claims row by row, more in bulk."""

    def __init__(self, spec: FeatureSpec, words: Sequence[str], *, few: int = _FEW) -> None:
        self._spec = spec
        self._few = few
        self._vocabulary = Vocabulary(words, spec.buckets)
        self._rows = RowFeatures(
            spec.token_attributes,
            spec.number_attributes,
            spec.codes,
            spec.length,
            self._vocabulary,
            spec.date_tokens,
        )
        self.size = self._vocabulary.size
        self.digest = digest(spec, words)
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
        if count > self._few:
            self._encode_bulk(claims, tensors)
        else:
            for row, claim in enumerate(rows_of(claims)):
                self._rows.encode(claim, row, tensors)
        return tensors

    def _encode_bulk(self, claims: pa.RecordBatch, tensors: Tensors) -> None:
        attributes, lines = Attributes(claims.column("attributes")), Lists(claims.column("lines"))
        charges = numbers(lines.field("charge"))
        service, received = days(claims.column("service_date")), days(claims.column("received_date"))
        position = self._heads(claims.column("claim_type"), attributes, tensors["token"])
        self._dates(service, received, tensors["token"], position)
        position = self._codes(Lists(claims.column("codes")), tensors["token"], position)
        self._lines(lines, charges, tensors, position)
        summary = tensors["number"]
        summary[:, 0] = _compressed(lines.sums(charges))
        summary[:, 1] = _compressed(lines.counts)
        summary[:, 2] = _compressed(received - service)
        self._number_attributes(attributes, summary)

    def _heads(self, types: pa.Array, attributes: Attributes, token: Tokens) -> Integers:
        """Type and attribute tokens; an absent attribute leaves no gap. Returns where each claim goes on."""
        token[:, 0] = self._vocabulary.tokens("type", types, self._vocabulary.token("type|"))
        position = np.ones(len(types), np.int64)
        for name in self._spec.token_attributes:
            claim, values = attributes.get(name)
            token[claim, position[claim]] = self._vocabulary.tokens(name, values)
            position[claim] += 1
        return position

    def _dates(self, service: Numbers, received: Numbers, token: Tokens, position: Integers) -> None:
        """Tokens of the dates; `position` moves on where a claim has one."""
        for name in self._spec.date_tokens:
            claim, found = date_tokens.tokens(name, service, received, self._vocabulary)
            token[claim, position[claim]] = found
            position[claim] += 1

    def _codes(self, codes: Lists, token: Tokens, position: Integers) -> Integers:
        kept = np.flatnonzero(codes.place < self._spec.codes)
        words = pc.binary_join_element_wise(
            codes.field("system"), codes.field("code"), "|", null_handling="replace"
        )
        claim = codes.claim[kept]
        cell = claim * self._spec.length + position[claim] + codes.place[kept]
        token.reshape(-1)[cell] = self._vocabulary.tokens("code", words)[kept]
        following: Integers = position + np.minimum(codes.counts, self._spec.codes)
        return following

    def _lines(self, lines: Lists, charges: Numbers, tensors: Tensors, position: Integers) -> None:
        column = position[lines.claim] + lines.place
        kept = np.flatnonzero(column < self._spec.length)
        cell = lines.claim[kept] * self._spec.length + column[kept]
        vocabulary = self._vocabulary
        procedure = vocabulary.tokens(
            "procedure", lines.field("procedure_code"), vocabulary.token("procedure|")
        )
        tensors["token"].reshape(-1)[cell] = procedure[kept]
        tensors["revenue"].reshape(-1)[cell] = vocabulary.tokens("revenue", lines.field("revenue_code"))[kept]
        for channel, values in enumerate((numbers(lines.field("units")), charges)):
            tensors["amount"].reshape(-1, AMOUNTS)[cell, channel] = _compressed(values)[kept]

    def _number_attributes(self, attributes: Attributes, summary: Floats) -> None:
        for place, name in enumerate(self._spec.number_attributes, start=3):
            claim, texts = attributes.get(name)
            summary[claim, place] = by_distinct(texts, number, np.float64) / 100.0


def _compressed(values: npt.NDArray[Any]) -> Numbers:
    """Sign and log(1 + |x|) / 4: amounts of every size in a small range; what is not finite counts as 0."""
    squeezed: Numbers = np.copysign(np.log1p(np.abs(values)), values) / 4.0
    finite = np.isfinite(squeezed)
    return squeezed if finite.all() else np.where(finite, squeezed, 0.0)
