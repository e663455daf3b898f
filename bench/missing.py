"""Claims without a score: told by partition and offset, not by how many scores came."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice

import numpy as np
import numpy.typing as npt

import schemas
from bench.windows import Route
from stream.audit_topics import messages, spans
from stream.codec import Decoder

Places = npt.NDArray[np.int64]

_CHUNK = 10_000
_LOOK = 1.0


def ends(route: Route) -> dict[int, int]:
    """The end of each partition of claims."""
    return {number: end for number, (_, end) in spans(_client(route), route.claims).items()}


def missing(route: Route, first: Mapping[int, int], patience: float) -> int:
    """How many claims from these offsets on have no score; what may still come is waited for so many seconds."""
    asked, deadline = {number: (first.get(number, 0), end) for number, end in ends(route).items()}, 0.0
    while found := unanswered(asked, _scored(route)):
        deadline = deadline or time.monotonic() + patience
        if time.monotonic() > deadline:
            break
        time.sleep(_LOOK)
    return found


def unanswered(asked: Mapping[int, tuple[int, int]], scored: Places) -> int:
    """Offsets from a first one up to an end, by partition, that are in no row of `scored`.

    `scored`, (n, 2): partition and offset of the claim that each score answers, however often.
    """
    lacking = 0
    for number, (first, end) in asked.items():
        offsets = np.unique(scored[scored[:, 0] == number, 1])
        lacking += end - first - int(((offsets >= first) & (offsets < end)).sum())
    return lacking


def _scored(route: Route) -> Places:
    """Of all scores that are there now."""
    decoder, found = Decoder(schemas.load("claim_score")), [np.empty((0, 2), np.int64)]
    stream = messages(_client(route), route.scores)
    while chunk := [message.value() for message in islice(stream, _CHUNK)]:
        scores = decoder.decode(chunk).claims
        places = [scores.column(name).to_numpy() for name in ("input_partition", "input_offset")]
        found.append(np.stack(places, axis=1).astype(np.int64))
    return np.concatenate(found)


def _client(route: Route) -> dict[str, str]:
    return {"bootstrap.servers": route.bootstrap}
