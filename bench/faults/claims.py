"""Claims to publish: sound ones, and those that a stage cannot score."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from functools import cache

import pyarrow as pa

import schemas
from models import open_model
from stream.codec import Encoder
from stream.publishing import generate

_POOL, _SEED, _SPOILED = 300, 3, 12
_SHARE_SPOILED = 0.08
_NULL = open_model("null")

Headers = tuple[tuple[str, bytes | None], ...]


class Kind(Enum):
    """What a stage can make of a claim."""

    SOUND = "sound"
    POISON = "poison"
    BOUNDLESS = "boundless"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a result has to say: the claim's type, and what any scripted model makes of it."""

    claim_type: str
    score: float
    decision: str


UNSCORED = Expected("", 0.0, "")


@dataclass(frozen=True, slots=True)
class Claim:
    """A record's value, and the charge by which a scripted model knows it."""

    value: bytes | None
    kind: Kind
    charge: float
    expected: Expected = UNSCORED


@cache
def pool() -> dict[Kind, tuple[Claim, ...]]:
    """Generated claims by kind; a spoiled one has a charge that no other has."""
    batch = next(iter(generate(_POOL, _SEED)))
    values = Encoder(schemas.load("claim_event")).encode(batch)
    expected = _expected(batch)
    charges = [float(charge) for charge in _NULL.features.encode(batch)["totals"][:, 0]]
    times = Counter(charges)
    single = [number for number, charge in enumerate(charges) if times[charge] == 1]
    poison, boundless = single[:_SPOILED], single[_SPOILED : 2 * _SPOILED]
    spoiled = {*poison, *boundless}
    return {
        Kind.POISON: tuple(Claim(values[n], Kind.POISON, charges[n]) for n in poison),
        Kind.BOUNDLESS: tuple(Claim(values[n], Kind.BOUNDLESS, charges[n]) for n in boundless),
        Kind.SOUND: tuple(
            Claim(value, Kind.SOUND, charges[number], expected[number])
            for number, value in enumerate(values)
            if number not in spoiled
        ),
        Kind.UNREADABLE: tuple(
            Claim(value, Kind.UNREADABLE, 0.0)
            for value in (b"", b"\xc3\x01", values[0][:-3], values[1][:12], b"\x00" * 40, b"no claim at all")
        ),
    }


def _expected(batch: pa.RecordBatch) -> list[Expected]:
    """As the null model has it, of which all scripted models are copies."""
    scores = _NULL.score(_NULL.features.encode(batch))
    decisions = [_NULL.decisions[number] for number in _NULL.decide(scores)]
    types = batch.column("claim_type").to_pylist()
    return [Expected(*each) for each in zip(types, scores.tolist(), decisions, strict=True)]


def draw_claim(draw: random.Random) -> Claim:
    """One claim in twelve cannot be scored."""
    if draw.random() >= _SHARE_SPOILED:
        return draw.choice(pool()[Kind.SOUND])
    return draw.choice(pool()[draw.choice((Kind.POISON, Kind.BOUNDLESS, Kind.UNREADABLE))])
