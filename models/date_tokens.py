"""Dates of a claim as words: how long it took to come in, weekdays and months. One meaning for rows and for columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.columns import Integers, Numbers
from models.vocabulary import Tokens, Vocabulary

DateToken = Literal["lag", "service_weekday", "service_month", "received_weekday", "received_month"]

# Days exactly up to a week, then wider by about a quarter each: a day more matters less the longer it took.
_LAGS = (*range(8), *(round(2 ** (step / 3)) for step in range(9, 28)))
_LAG_EDGES = np.array(_LAGS, np.int64)
_WEEK = 7
_YEAR = 12
# 1970-01-01 was a Thursday; Monday is 0.
_FIRST_WEEKDAY = 3
_FIRST_DAY = date(1970, 1, 1).toordinal()
# The calendar repeats, weekdays included, after 400 years; Python's ends with the year 9999.
_CYCLE_DAYS = 146_097


def bins(name: DateToken, service: Numbers, received: Numbers) -> tuple[Integers, Integers]:
    """Claims that have both dates that it needs, ascending, and the bin of each; dates are days since 1970, or NaN."""
    if name == "lag":
        claims, lags = _known(received - service)
        return claims, np.searchsorted(_LAG_EDGES, lags, side="right")
    claims, days = _known(service if name.startswith("service") else received)
    if name.endswith("weekday"):
        return claims, (days + _FIRST_WEEKDAY) % _WEEK
    return claims, days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % _YEAR


def word(name: DateToken, place: int) -> str:
    """The word of one bin; of a lag the least days in it, of a weekday 1 (Monday) to 7, of a month 1 to 12."""
    if name != "lag":
        return f"{name}|{place + 1}"
    return f"lag|{_LAGS[place - 1]}" if place else "lag|negative"


def words_of(names: tuple[DateToken, ...], service: int | None, received: int | None) -> Iterator[str]:
    """The words of one claim, of days since 1970; none where a date is missing."""
    for name in names:
        if name == "lag":
            if service is not None and received is not None:
                yield word(name, bisect_right(_LAGS, received - service))
        elif (day := service if name.startswith("service") else received) is not None:
            like = date.fromordinal(_FIRST_DAY + day % _CYCLE_DAYS)
            yield word(name, like.weekday() if name.endswith("weekday") else like.month - 1)


def tokens(
    name: DateToken, service: Numbers, received: Numbers, vocabulary: Vocabulary
) -> tuple[Integers, Tokens]:
    """Claims that have it, ascending, and the token of each."""
    claims, places = bins(name, service, received)
    distinct, inverse = np.unique(places, return_inverse=True)
    table = np.array([vocabulary.token(word(name, int(place))) for place in distinct], np.int32)
    found: Tokens = table[inverse]
    return claims, found


def _known(values: Numbers) -> tuple[Integers, npt.NDArray[np.int64]]:
    claims = np.flatnonzero(np.isfinite(values))
    return claims, values[claims].astype(np.int64)
