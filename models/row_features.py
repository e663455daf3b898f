"""The feature spec for a few claims: a plain loop, equal to the bulk encoder's result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy.typing as npt
import pyarrow as pa

from models.columns import Lists, check_text, day_numbers, numbers, texts
from models.date_tokens import DateToken, words_of
from models.vocabulary import Vocabulary

Tensors = Mapping[str, npt.NDArray[Any]]

_LARGEST = 1e6


class Code(NamedTuple):
    """A diagnosis of a claim."""

    system: str | None
    code: str | None


class Line(NamedTuple):
    """A line of a claim."""

    procedure: str | None
    revenue: str | None
    units: float
    charge: float


class Row(NamedTuple):
    """What features read of a claim; dates are days since 1970."""

    kind: str | None
    service: int | None
    received: int | None
    codes: list[Code]
    lines: list[Line]
    attributes: list[tuple[str, str | None]] | None


def rows_of(claims: pa.RecordBatch) -> Iterator[Row]:
    """The claims of a batch, one by one."""
    check_text(claims.column("attributes").type.item_type)
    codes, lines = Lists(claims.column("codes")), Lists(claims.column("lines"))
    each_code = map(Code, texts(codes.field("system")), texts(codes.field("code")))
    each_line = map(
        Line,
        texts(lines.field("procedure_code")),
        texts(lines.field("revenue_code")),
        numbers(lines.field("units")).tolist(),
        numbers(lines.field("charge")).tolist(),
    )
    return map(
        Row,
        texts(claims.column("claim_type")),
        day_numbers(claims.column("service_date")).to_pylist(),
        day_numbers(claims.column("received_date")).to_pylist(),
        codes.split(list(each_code)),
        lines.split(list(each_line)),
        claims.column("attributes").to_pylist(),
    )


class RowFeatures:
    """Encodes one claim into its row of the tensors."""

    def __init__(
        self,
        token_attributes: Sequence[str],
        number_attributes: Sequence[str],
        codes: int,
        length: int,
        vocabulary: Vocabulary,
        date_tokens: tuple[DateToken, ...] = (),
    ) -> None:
        self._token_attributes = token_attributes
        self._number_attributes = number_attributes
        self._codes = codes
        self._length = length
        self._token = vocabulary.token
        self._date_tokens = date_tokens

    def encode(self, claim: Row, row: int, tensors: Tensors) -> None:
        """Rows of `tensors` come as zeros."""
        # Of a name that is there twice the last one counts, and if that is null there is none.
        last = dict(claim.attributes or ())
        attributes = {name: value for name, value in last.items() if value is not None}
        tokens = [self._token(f"type|{claim.kind or ''}")]
        tokens += [self._token(f"{n}|{attributes[n]}") for n in self._token_attributes if n in attributes]
        if self._date_tokens:
            dates = words_of(self._date_tokens, claim.service, claim.received)
            tokens += [self._token(word) for word in dates]
        tokens += [
            self._token(f"code|{system or ''}|{code or ''}") for system, code in claim.codes[: self._codes]
        ]
        lines = claim.lines[: self._length - len(tokens)]
        self._lines(lines, row, len(tokens), tensors)
        tokens += [self._token(f"procedure|{line.procedure or ''}") for line in lines]
        tensors["token"][row, : len(tokens)] = tokens
        tensors["number"][row] = self._numbers(claim, attributes)

    def _lines(self, lines: Sequence[Line], row: int, first: int, tensors: Tensors) -> None:
        revenue, amount = tensors["revenue"], tensors["amount"]
        for place, line in enumerate(lines, start=first):
            if line.revenue is not None:
                revenue[row, place] = self._token(f"revenue|{line.revenue}")
            amount[row, place] = compressed(line.units), compressed(line.charge)

    def _numbers(self, claim: Row, attributes: Mapping[str, str]) -> list[float]:
        received, service = claim.received, claim.service
        return [
            # Not `sum`, which loses less than columns do since Python 3.12.
            compressed(reduce(add, (line.charge for line in claim.lines), 0.0)),
            compressed(float(len(claim.lines))),
            compressed(float(received - service)) if received is not None and service is not None else 0.0,
            *(number(attributes.get(name, "")) / 100.0 for name in self._number_attributes),
        ]


def compressed(value: float) -> float:
    """Sign and log(1 + |x|) / 4; what is not finite counts as 0."""
    return math.copysign(math.log1p(abs(value)), value) / 4.0 if math.isfinite(value) else 0.0


def number(text: str | None) -> float:
    """The number that a text is; 0 when it is none, or beyond a million, which no network was trained on."""
    try:
        value = float(text or "")
    except ValueError:
        return 0.0
    return value if abs(value) <= _LARGEST else 0.0
