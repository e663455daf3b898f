"""What exactly_once costs, and how long a partition lies idle when it moves.

Both kinds of delivery run side by side with the shipped model and the same latency budget, and are loaded in turn; a
stage without load hardly computes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from confluent_kafka.admin import AdminClient

from bench.broker import loaded_broker
from bench.load import Check, at_rate, await_scores, drained, publish_at_rate, receiving, warmed_up
from bench.plots import latency_plot
from bench.report import Figure, spread
from bench.windows import Contestant, Meter, Route, running, stage
from stream.audit_topics import messages
from stream.demonstration.receiver import Receiver

_MODEL = "claims_filter_v2.1"
_MODES = ("at_least_once", "exactly_once")
_LOAD = 0.2
_FIRST_CLAIMS = 2_000
_LEFT_OUT = 0.5
_HAND_OVER_RATE = 400.0
_JOINED_SECONDS = 60.0
_SETTLED = 3.0
# Described as the new owner's long before: the old one learns of it with its next heartbeat, the new one with its own.
_SETTLED_LED = 13.0
_KIP_848 = {"CLAIMSTREAM_KAFKA__CONSUMER__GROUP_PROTOCOL": "consumer"}


@dataclass(frozen=True, slots=True)
class Scale:
    """Rounds, claims of a backlog, and seconds of load in each."""

    rounds: int
    claims: int
    seconds: float


@dataclass(slots=True)
class Loaded:
    """Claims a second out of a backlog, one a round, and all latencies under load, in seconds."""

    speeds: list[float] = field(default_factory=list)
    latencies: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.percentile(1_000 * np.concatenate(self.latencies), share))


def measure(*, quick: bool, plots: Path, rounds: int | None = None) -> list[Figure]:
    """`exactly_once_share`, the P99 that it adds, and `handover_s`. `rounds`: how many of them, eight otherwise."""
    scale = Scale(1, 60_000, 2.5) if quick else Scale(rounds or 8, 120_000, 10.0)
    with loaded_broker(0) as route:
        found, gaps = _side_by_side(route, scale)
        moved = {"handover_s": gaps}
        if not quick:
            moved["handover_kip848_s"] = _alone(_named(route, "kip848"))
    latency_plot(1_000 * np.concatenate(found["exactly_once"].latencies), plots / "exactly-once-latency.png")
    return [*_cost(found), *_moves(moved)]


def _cost(found: Mapping[str, Loaded]) -> list[Figure]:
    once, least = found["exactly_once"], found["at_least_once"]
    shares = [ours / theirs for ours, theirs in zip(once.speeds, least.speeds, strict=True)]
    note = f"Poisson at {_LOAD:.0%} of what at_least_once carries, at read_committed"
    added = once.percentile(99) - least.percentile(99)
    return [
        Figure("exactly_once_share", statistics.median(shares), "x", "≥ 0.9", spread(shares)),
        Figure("exactly_once_claims_per_s", statistics.median(once.speeds), "claims/s"),
        Figure("at_least_once_claims_per_s", statistics.median(least.speeds), "claims/s"),
        Figure("exactly_once_p99_ms", once.percentile(99), "ms", "", note),
        Figure("at_least_once_p99_ms", least.percentile(99), "ms", "", note),
        Figure("exactly_once_added_p50_ms", once.percentile(50) - least.percentile(50), "ms"),
        Figure("exactly_once_added_p99_ms", added, "ms"),
    ]


def _moves(moved: Mapping[str, list[float]]) -> list[Figure]:
    notes = {
        "handover_s": "cooperative-sticky, heartbeat 0.3 s",
        "handover_kip848_s": "group.protocol=consumer, whose heartbeat is the broker's, 5 s",
    }
    return [
        Figure(
            name,
            max(gaps),
            "s",
            "≤ 1.0" if name == "handover_s" else "",
            f"{notes[name]}; silence of each partition that moved: {spread(gaps)}",
        )
        for name, gaps in moved.items()
    ]


def _side_by_side(route: Route, scale: Scale) -> tuple[dict[str, Loaded], list[float]]:
    """What both carry, and the silences when a second member joins the one with at_least_once."""
    routes = {mode: _named(route, mode) for mode in _MODES}
    receivers = {mode: receiving(each) for mode, each in routes.items()}
    contestants = {mode: _member(each, CLAIMSTREAM_KAFKA__DELIVERY=mode) for mode, each in routes.items()}
    found = {mode: Loaded() for mode in _MODES}
    with ExitStack() as stack:
        checks = {mode: stack.enter_context(running(each)).check for mode, each in contestants.items()}
        for mode in _MODES:
            warmed_up(routes[mode], receivers[mode], _FIRST_CLAIMS, checks[mode])
        for number in range(scale.rounds):
            # Whoever goes first in one round goes last in the next.
            for mode in _MODES if number % 2 else _MODES[::-1]:
                found[mode].speeds.append(drained(routes[mode], receivers[mode], scale.claims, checks[mode]))
        rate = _LOAD * statistics.median(found["at_least_once"].speeds)
        for number in range(scale.rounds):
            for mode in _MODES if number % 2 else _MODES[::-1]:
                loaded = _latencies(routes[mode], receivers[mode], rate, scale.seconds, checks[mode])
                found[mode].latencies.append(loaded)
        for receiver in receivers.values():
            receiver.stop()
        gaps = _joined(routes["at_least_once"], contestants["at_least_once"])
    return found, gaps


def _latencies(
    route: Route, receiver: Receiver, rate: float, seconds: float, check: Check
) -> npt.NDArray[np.float64]:
    first = receiver.count
    await_scores(receiver, first + publish_at_rate(route, rate, seconds), check)
    times = receiver.times()[first:]
    settled = times[times[:, 0] > times[:, 0].min() + _LEFT_OUT]
    found: npt.NDArray[np.float64] = settled[:, 1] - settled[:, 0]
    return found


def _alone(route: Route) -> list[float]:
    """The silences when a second member joins by the group protocol of KIP-848."""
    contestant, receiver = _member(route, **_KIP_848), receiving(route)
    with running(contestant) as first:
        warmed_up(route, receiver, _FIRST_CLAIMS, first.check)
        receiver.stop()
        return _joined(route, contestant, _SETTLED_LED)


def _joined(route: Route, contestant: Contestant, settled: float = _SETTLED) -> list[float]:
    """Seconds of silence of each partition that moves when a second member joins a loaded first one."""
    group = AdminClient({"bootstrap.servers": route.bootstrap})
    before = set(_owners(group, route).values())
    with at_rate(route, _HAND_OVER_RATE, _JOINED_SECONDS) as publisher, running(contestant) as second:
        deadline = time.monotonic() + _JOINED_SECONDS
        while not (moved := {p for p, owner in _owners(group, route).items() if owner not in before}):
            if time.monotonic() > deadline:
                raise RuntimeError("no partition moved within a minute")
            second.check()
            time.sleep(0.02)
        at = time.time()
        time.sleep(settled)
        for partition in moved:
            # However long it is silent, its silence ends with a result.
            meter = Meter(route.bootstrap, route.scores, [partition])
            meter.await_growth(meter.total(), 1, second.check)
        publisher.check()
    return [silence(stamps, at, settled) for stamps in _stamps(route, moved)]


def _owners(group: AdminClient, route: Route) -> dict[int, str]:
    """Member of each partition that has one."""
    described = group.describe_consumer_groups([_group(route)])[_group(route)].result(10.0)
    return {
        place.partition: member.member_id
        for member in described.members
        for place in (member.assignment.topic_partitions if member.assignment else [])
    }


def _stamps(route: Route, partitions: set[int]) -> list[npt.NDArray[np.float64]]:
    """When the results of each partition were produced, in seconds since the epoch."""
    stamps: dict[int, list[float]] = {partition: [] for partition in partitions}
    for message in messages({"bootstrap.servers": route.bootstrap}, route.scores):
        if message.partition() in stamps:
            stamps[message.partition()].append(message.timestamp()[1] / 1_000)
    return [np.sort(each) for each in stamps.values()]


def silence(stamps: npt.NDArray[np.float64], at: float, settled: float) -> float:
    """The longest time between results, of those from a little before a moment to the first so long after it.

    `stamps`, ascending, in seconds. Raises RuntimeError where nothing came before that time was over, or after it.
    """
    near = stamps[stamps > at - _SETTLED]
    last = int(np.searchsorted(near, at + settled))
    if last in (0, len(near)):
        raise RuntimeError(
            f"how long a partition was silent cannot be told: {last} results around its move, {len(near) - last} later"
        )
    return float(np.diff(near[: last + 1]).max())


def _member(route: Route, **more: str) -> Contestant:
    return stage(route, _MODEL, 1, 0, CLAIMSTREAM_KAFKA__GROUP_ID=_group(route), **more)


def _group(route: Route) -> str:
    return f"{route.claims}-group"


def _named(route: Route, name: str) -> Route:
    return Route(
        route.bootstrap, f"{name}-claims", f"{name}-scores", f"{name}-dead-letters", route.partitions
    )
