"""What a seed means: how many workers and partitions, which claims come when, and what goes wrong when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from confluent_kafka import KafkaError

from bench.faults.claims import Claim, Headers, draw_claim
from stream.embedded.simulated import Effect, Fault, Step

HORIZON = 8.0
_KEYS = 9
_DEATHS = (Effect.DIES_BEFORE, Effect.DIES_AFTER)
_LOSSES = (Effect.REQUEST_LOST, Effect.ANSWER_LOST)
_ROUTES: tuple[dict[str, list[str]], ...] = (
    {"*": ["quick"]},
    {"professional": ["quick"], "*": ["slow"]},
    {"pharmacy": ["slow"], "*": ["quick", "slow"]},
)
# A trace; a name that comes twice, with nothing and with bytes that are no text; the letter of another stage; the same,
# replayed.
_LETTER = (
    ("claimstream-error-class", b"DecodeError"),
    ("claimstream-partition", b"7"),
    ("claimstream-offset", b"9"),
)
_HEADERS: tuple[Headers, ...] = (
    (("traceparent", b"00-4bf92f35"),),
    (("tag", b""), ("tag", b"\x00\xff"), ("none", None)),
    _LETTER,
    (*_LETTER, ("claimstream-attempt", b"2"), ("claimstream-replay-of", b"dead[0]@1")),
)


class Kind(Enum):
    """What can go wrong."""

    KILL = "kill"
    STOP = "stop"
    ZOMBIE = "zombie"
    JOIN = "join"
    LEAVE = "leave"
    AWAY = "away"
    CUT_OFF = "cut off"
    REQUEST = "request"
    SLOW = "slow"
    LAZY = "lazy"
    LATE = "late"
    CLOCK = "clock"


class Turn(Enum):
    """What operators do meanwhile, which is no fault."""

    GROW = "partitions added"
    PROMOTE = "promote"
    SHARE = "share"
    REMOVE = "remove"


# What happens whenever its moment comes; a request may never be made.
_CERTAIN = (*(kind for kind in Kind if kind is not Kind.REQUEST), Kind.KILL, Kind.KILL, Kind.ZOMBIE)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """`at` and `seconds` of the virtual clock, from the start; `worker` and `amount` as the kind reads them."""

    at: float
    kind: Kind
    worker: int
    seconds: float
    amount: float
    step: Step
    fault: Fault


@dataclass(frozen=True, slots=True)
class Change:
    """`amount` as the turn reads it: which model, or whether the output topic grows as well."""

    at: float
    turn: Turn
    amount: float


@dataclass(frozen=True, slots=True)
class Publication:
    """A claim that is published at a moment."""

    at: float
    key: bytes | None
    claim: Claim
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule before it runs. `settings`: what the stage is configured with, beside its topics.

    `order`: what the order of steps is drawn from. `outputs`: partitions of the results' topic. `led`: the members
    join by KIP-848. `static`: they have names that outlive them.
    `silence`: from when and for how long the ends of transactions apply and nobody hears of it; longer than a worker
    asks again, so that it has to find out what became of its transaction.
    """

    seed: int
    partitions: int
    workers: int
    settings: dict[str, Any]
    speeds: dict[str, float]
    publications: tuple[Publication, ...]
    disturbances: tuple[Disturbance, ...]
    silence: tuple[float, float] | None
    changes: tuple[Change, ...] = ()
    order: int = 0
    outputs: int = 0
    led: bool = False
    static: bool = False


def draw_plan(seed: int) -> Plan:
    """The same plan for the same seed."""
    draw, group = random.Random(seed), _stream(seed, "group")
    count, partitions = draw.randint(20, 80), draw.randint(1, 3)
    led = group.random() < 0.4
    return Plan(
        seed=seed,
        partitions=partitions,
        workers=draw.randint(1, 3),
        settings=_settings(draw),
        speeds={"quick": 0.001, "slow": draw.choice((0.002, 0.1, 0.4))},
        publications=_with_headers([_publication(draw) for _ in range(count)], _stream(seed, "headers")),
        disturbances=(
            *(_disturbance(draw, draw.choice(_CERTAIN)) for _ in range(draw.randint(5, 8))),
            *(_disturbance(draw, Kind.REQUEST) for _ in range(draw.randint(1, 4))),
        ),
        silence=_silence(_stream(seed, "silence")),
        changes=_changes(_stream(seed, "changes")),
        order=seed,
        outputs=group.choice((partitions, partitions, partitions + 1, 2)),
        led=led,
        static=not led and group.random() < 0.3,
    )


def _stream(seed: int, name: str) -> random.Random:
    """What is drawn from one stream does not move what is drawn from the others."""
    return random.Random(f"{seed} {name}")


def _changes(draw: random.Random) -> tuple[Change, ...]:
    """In half of the schedules models change, in one of four partitions are added. What was replaced is removed."""
    found: list[Change] = []
    if draw.random() < 0.25:
        found.append(Change(draw.uniform(0.5, HORIZON), Turn.GROW, draw.random()))
    for _ in range(draw.choice((0, 0, 1, 2))):
        at, which = draw.uniform(0.2, HORIZON), draw.random()
        found.append(Change(at, draw.choice((Turn.PROMOTE, Turn.PROMOTE, Turn.SHARE)), which))
        if draw.random() < 0.7:
            found.append(Change(at + draw.uniform(0.0, 3.0), Turn.REMOVE, which))
    return tuple(found)


def _silence(draw: random.Random) -> tuple[float, float] | None:
    """In one schedule of four."""
    return (draw.uniform(0.0, HORIZON), draw.uniform(10.5, 16.0)) if draw.random() < 0.25 else None


def _settings(draw: random.Random) -> dict[str, Any]:
    largest = draw.choice((4, 16, 64))
    poll = draw.choice((5, 20, 200))
    return {
        "routes": draw.choice(_ROUTES),
        "latency": {
            "budget_ms": draw.choice((50.0, 200.0, 1_000.0)),
            "drain_timeout_s": draw.choice((0.5, 2.0)),
        },
        "batching": {
            "size_min": min(4, largest),
            "size_max": largest,
            "speeds_file": "/nonexistent/speeds.json",
        },
        "limits": {
            "claims_in_flight": max(poll, draw.choice((20, 60, 1_000))),
            "poll_max_claims": poll,
            "output_queue_claims": draw.choice((10, 200)),
        },
    }


def _publication(draw: random.Random) -> Publication:
    key = None if draw.random() < 0.05 else b"member-%d" % draw.randrange(_KEYS)
    moment = draw.choice((0.0, draw.uniform(0.0, HORIZON)))
    return Publication(moment, key, draw_claim(draw))


def _with_headers(publications: Sequence[Publication], draw: random.Random) -> tuple[Publication, ...]:
    """One in three has some."""
    return tuple(
        replace(each, headers=draw.choice(_HEADERS)) if draw.random() < 1 / 3 else each
        for each in publications
    )


def _disturbance(draw: random.Random, kind: Kind) -> Disturbance:
    seconds = {
        Kind.STOP: draw.uniform(0.05, 1.5),
        Kind.ZOMBIE: draw.uniform(3.2, 6.0),
        Kind.AWAY: draw.uniform(0.05, 4.0),
        Kind.CUT_OFF: draw.uniform(0.3, 5.0),
        Kind.SLOW: draw.uniform(0.5, 3.0),
        Kind.LAZY: draw.uniform(0.3, 3.0),
        Kind.LATE: draw.uniform(0.3, 3.0),
    }.get(kind, 0.0)
    step = draw.choice((*Step, Step.PRODUCE, Step.COMMIT))
    return Disturbance(
        at=draw.uniform(0.02, HORIZON),
        kind=kind,
        worker=draw.randrange(3),
        seconds=seconds,
        amount=draw.random(),
        step=step,
        fault=_fault(draw, step),
    )


def _fault(draw: random.Random, step: Step) -> Fault:
    """What the next request of a step meets. Refusals are those that a broker gives at that step."""
    codes = {
        Step.COMMIT: (KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION),
        Step.PRODUCE: (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.TOPIC_AUTHORIZATION_FAILED),
        Step.TXN_OFFSETS: (KafkaError.ILLEGAL_GENERATION, KafkaError.CONCURRENT_TRANSACTIONS),
        Step.ADD_PARTITIONS: (KafkaError.CONCURRENT_TRANSACTIONS,),
        Step.END_TXN: (KafkaError.COORDINATOR_LOAD_IN_PROGRESS,),
    }.get(step, ())
    effect = draw.choice((*_DEATHS, *_LOSSES, *_LOSSES, *((Effect.REFUSED,) * 2 if codes else ())))
    return Fault(effect, draw.choice(codes) if effect is Effect.REFUSED else 0)
