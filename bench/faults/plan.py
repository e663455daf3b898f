"""What a seed means: how many workers and partitions, which claims come when, and what goes wrong when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import Any

from confluent_kafka import KafkaError

from bench.faults.claims import Claim, draw_claim
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
class Publication:
    """A claim that is published at a moment."""

    at: float
    key: bytes | None
    claim: Claim


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule before it runs. `settings`: what the stage is configured with, beside its topics.

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


def draw_plan(seed: int) -> Plan:
    """The same plan for the same seed."""
    draw = random.Random(seed)
    count = draw.randint(20, 80)
    return Plan(
        seed=seed,
        partitions=draw.randint(1, 3),
        workers=draw.randint(1, 3),
        settings=_settings(draw),
        speeds={"quick": 0.001, "slow": draw.choice((0.002, 0.05, 0.4))},
        publications=tuple(_publication(draw) for _ in range(count)),
        disturbances=(
            *(_disturbance(draw, draw.choice(_CERTAIN)) for _ in range(draw.randint(5, 8))),
            *(_disturbance(draw, Kind.REQUEST) for _ in range(draw.randint(1, 4))),
        ),
        silence=_silence(random.Random(seed + 2)),
    )


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
