"""The simulator against the stage: the same claims, on a real Kafka and on the virtual clock.

The simulator is told what cannot be chosen and was measured in the very run that it foretells: how long batches, polls
and delivery took, and how long a claim is on its way when there is nothing else to do.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.batching.cases import LIMITS
from bench.batching.simulator import Reading, Simulated, World, simulate
from bench.broker import loaded_broker
from bench.load import await_scores, drained, publishing, receiving
from bench.report import Figure
from bench.scrape import numbers, page, total
from bench.windows import Route, running, stage
from stream.batching import BatchingRules
from stream.cost_model import LatencyCurve
from stream.demonstration.receiver import Receiver
from stream.publishing.arrivals import Floats

_MODEL = "claims_filter_v2.1"
_BUDGET = 0.2
_PORT = 18_623
_FIRST_CLAIMS = 40_000
_LIGHT_RATE = 200.0
_LOAD = 0.6
_BURSTS = "bursts:height=4,burst=0.5,calm=2.5"
_LEFT_OUT = 2.0
# Nine in ten are below the median times this power of e, where values are lognormal with deviation one.
_NINE_TENTHS = 1.2816
# Seconds that a poll costs beside its claims.
_POLL_OF_NONE = 0.001
# Seconds until a worker has told what it did.
_REPORTED = 1.2
# As the stage has them unless told otherwise.
_POLL, _CLAIMS, _COALESCE = 2_000, 16_384, 0.012


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Claims that were sent and received, (n, 2) seconds since the epoch, and what the stage said of itself then."""

    times: Floats
    world: World
    reading: LatencyCurve

    @property
    def throughput(self) -> float:
        """Claims a second from the first sent to the last received."""
        return float(len(self.times) / (self.times[:, 1].max() - self.times[:, 0].min()))

    def latencies(self) -> Floats:
        found: Floats = (self.times[:, 1] - self.times[:, 0])[self._settled(self.times[:, 0])]
        return found

    def foretold(self) -> tuple[float, Floats]:
        """Claims a second, and latencies in seconds, of the simulator."""
        arrivals = np.sort(self.times[:, 0]) - self.times[:, 0].min()
        simulated = self._simulated(arrivals)
        return simulated.throughput, simulated.latencies[self._settled(arrivals)]

    def _simulated(self, arrivals: Floats) -> Simulated:
        reading = Reading(_CLAIMS, LIMITS.largest, _POLL, _COALESCE, self.reading)
        return simulate(
            arrivals, self.world, BatchingRules(LIMITS, _BUDGET), reading, {0: self.world.curves[0]}
        )

    @staticmethod
    def _settled(sent: Floats) -> Any:
        return sent - sent.min() > _LEFT_OUT


def measure(*, quick: bool, plots: Path) -> list[Figure]:  # noqa: ARG001 - there is nothing to draw
    """`simulator_throughput_error` and `simulator_p95_error`.

    Bursts are apart: while one lasts, a tenth of the machine's speed decides on twice as much latency.
    """
    seconds, rounds = (5.0, 1) if quick else (15.0, 3)
    with _stage() as (route, receiver):
        speed = drained(route, receiver, _FIRST_CLAIMS)
        transport = _transport(route, receiver)
        found = [_round(route, receiver, speed, seconds, transport) for _ in range(rounds)]
    receiver.stop()
    return [
        _throughput_error([flood for flood, _, _ in found]),
        _p95_error("simulator_p95_error", "≤ 0.25", "Poisson", [steady for _, steady, _ in found]),
        _p95_error("simulator_p95_error_bursts", "", _BURSTS, [bursts for _, _, bursts in found]),
        Figure(
            "transport_ms",
            round(1_000 * transport, 1),
            "ms",
            "",
            "of a claim and its score, with nothing to do",
        ),
    ]


def _throughput_error(runs: list[Run]) -> Figure:
    pairs = [(run.throughput, run.foretold()[0]) for run in runs]
    return Figure(
        "simulator_throughput_error",
        round(statistics.median(abs(foretold / real - 1) for real, foretold in pairs), 3),
        "",
        "≤ 0.15",
        "more claims than can be scored: "
        + "; ".join(f"{r:.0f} claims/s, foretold {f:.0f}" for r, f in pairs),
    )


def _p95_error(name: str, goal: str, pattern: str, runs: list[Run]) -> Figure:
    pairs = [(_p95(run.latencies()), _p95(run.foretold()[1])) for run in runs]
    return Figure(
        name,
        round(statistics.median(abs(foretold / real - 1) for real, foretold in pairs), 3),
        "",
        goal,
        f"{pattern} at {_LOAD:g} of capacity: "
        + "; ".join(f"P95 {r:.0f} ms, foretold {f:.0f}" for r, f in pairs),
    )


def _p95(latencies: Floats) -> float:
    return 1_000 * float(np.percentile(latencies, 95))


@contextmanager
def _stage() -> Iterator[tuple[Route, Receiver]]:
    with loaded_broker(0) as route:
        receiver = receiving(route)
        budget = {"CLAIMSTREAM_LATENCY__BUDGET_MS": f"{1_000 * _BUDGET:g}"}
        with running(stage(route, _MODEL, 1, _PORT, **budget)):
            yield route, receiver


def _round(
    route: Route, receiver: Receiver, speed: float, seconds: float, transport: float
) -> tuple[Run, Run, Run]:
    """More than can be scored, then a part of it, evenly and in bursts."""
    flood = _run(route, receiver, int(1.2 * speed * seconds / 3), transport, "--rate", f"{1.2 * speed:.0f}")
    rate = _LOAD * flood.throughput
    pace, claims = ("--rate", f"{rate:.0f}"), int(rate * seconds)
    steady = _run(route, receiver, claims, transport, *pace)
    return flood, steady, _run(route, receiver, claims, transport, *pace, "--arrivals", _BURSTS)


def _transport(route: Route, receiver: Receiver) -> float:
    """Median seconds of a claim for which there is nothing to do, beyond its forward and the delivery of its score."""
    light = _run(route, receiver, int(3 * _LIGHT_RATE), 0.0, "--rate", f"{_LIGHT_RATE:g}")
    known = light.world.curves[0].seconds(1) + light.world.delivery + light.reading.seconds(1)
    return max(float(np.median(light.latencies())) - known, 0.0)


def _run(route: Route, receiver: Receiver, claims: int, transport: float, *pace: str) -> Run:
    first, before = receiver.count, _numbers()
    publishing(route, claims, *pace).wait()
    await_scores(receiver, first + claims)
    batching, after = _batching(), _numbers()
    times = receiver.times()[first:]
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    return Run(times, _world(batching, spent, transport), _reading(spent))


def _world(batching: dict[str, Any], spent: dict[str, float], transport: float) -> World:
    """The curve as it was at the end, and as much slower or faster as batches were over the whole run."""
    lane, decisions = batching["lanes"][0], batching["decisions"]
    curve = LatencyCurve(lane["fixed_ms"] / 1e3, lane["each_us"] / 1e6)
    predicted = curve.fixed * spent["batches"] + curve.each * spent["claims"]
    spread = [
        math.log(each["actual_ms"] / each["predicted_ms"]) for each in decisions if each["predicted_ms"] > 0
    ]
    noise = float(np.subtract(*np.percentile(spread, (90, 50)))) / _NINE_TENTHS if spread else 0.0
    # What is drawn around a median has a higher mean.
    slower = spent["forward"] / predicted / math.exp(noise**2 / 2)
    typical = batching["delivery_ms"] / 1_000
    return World(
        (curve.slower(slower),),
        noise=noise,
        delivery=typical,
        delivery_noise=math.log1p(batching["reserve_ms"] / batching["delivery_ms"]) / _NINE_TENTHS,
        transport=transport,
    )


def _reading(spent: dict[str, float]) -> LatencyCurve:
    fixed = min(_POLL_OF_NONE, spent["busy"] / spent["polls"])
    return LatencyCurve(fixed, (spent["busy"] - fixed * spent["polls"]) / spent["claims"])


def _batching() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page(_PORT, "/ml/batching")[1])["workers"][0]
    return found


def _numbers() -> dict[str, float]:
    """So far: seconds of decoding and features, and of forwards; polls, batches and claims."""
    time.sleep(_REPORTED)
    found = numbers(page(_PORT, "/metrics")[1])
    return {
        "busy": sum(
            found.get(f'busy_seconds_total{{part="{part}"}}', 0.0) for part in ("decode", "features")
        ),
        "forward": total(found, "inference_seconds_sum"),
        "batches": total(found, "inference_seconds_count"),
        "polls": found.get("polls_total", 0.0),
        "claims": found.get("claims_consumed_total", 0.0),
    }
