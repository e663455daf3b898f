"""The feature spec for a few claims: a plain loop, equal to the bulk encoder's result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from models.date_tokens import DateToken, words_of
from models.vocabulary import Vocabulary

Tensors = Mapping[str, npt.NDArray[Any]]

_LARGEST = 1e6


class RowFeatures:
    """Encodes one claim, given as a dictionary, into its row of the tensors."""

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

    def encode(self, claim: Mapping[str, Any], row: int, tensors: Tensors) -> None:
        """Rows of `tensors` come as zeros."""
        attributes: dict[str, str] = {}
        for name, value in claim["attributes"]:
            attributes.setdefault(name, value)
        tokens = [self._token(f"type|{claim['claim_type']}")]
        tokens += [self._token(f"{n}|{attributes[n]}") for n in self._token_attributes if n in attributes]
        if self._date_tokens:
            dates = words_of(self._date_tokens, claim["service_date"], claim["received_date"])
            tokens += [self._token(word) for word in dates]
        tokens += [
            self._token(f"code|{code['system']}|{code['code']}") for code in claim["codes"][: self._codes]
        ]
        lines = claim["lines"][: self._length - len(tokens)]
        self._lines(lines, row, len(tokens), tensors)
        tokens += [self._token(f"procedure|{line['procedure_code'] or ''}") for line in lines]
        tensors["token"][row, : len(tokens)] = tokens
        tensors["number"][row] = self._numbers(claim, attributes)

    def _lines(self, lines: Sequence[Mapping[str, Any]], row: int, first: int, tensors: Tensors) -> None:
        revenue, amount = tensors["revenue"], tensors["amount"]
        for place, line in enumerate(lines, start=first):
            if line["revenue_code"] is not None:
                revenue[row, place] = self._token(f"revenue|{line['revenue_code']}")
            amount[row, place] = compressed(line["units"]), compressed(line["charge"])

    def _numbers(self, claim: Mapping[str, Any], attributes: Mapping[str, str]) -> list[float]:
        received, service = claim["received_date"], claim["service_date"]
        return [
            compressed(sum(line["charge"] for line in claim["lines"])),
            compressed(float(len(claim["lines"]))),
            compressed(float((received - service).days)) if received is not None else 0.0,
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
