"""The simulator against the stage: the same claims, on a real Kafka and on the virtual clock.

The simulator is told what cannot be chosen and was measured in the very run that it foretells, each at its time: how
much slower batches were, how long delivery took, and how old claims were when they were read. How soon one batch can
follow on another it is told of the overload beside that run. What it is not told is how long claims wait then, and in
which batches they are scored.

While claims lie in the log because the stage is behind, their age says more of it than of their way. So more than can
be scored are read as those of the same round are that come evenly.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.batching.cases import LIMITS
from bench.batching.measured import Course, Histogram, Sample, line
from bench.batching.simulator import Reading, World, simulate
from bench.broker import loaded_broker
from bench.load import Check, await_scores, drained, publishing, receiving, together
from bench.report import Figure
from bench.scrape import numbers, page
from bench.windows import Route, running, stage
from stream.batching import BatchingRules
from stream.cost_model import LatencyCurve
from stream.demonstration.receiver import Receiver
from stream.publishing.arrivals import Floats
from stream.publishing.disturbance import Disturbance
from stream.records import CloseReason
from stream.rhythm import BATCHES_AHEAD

_MODEL = "claims_filter_v2.1"
_BUDGET = 0.2
_PORT = 18_623
_FIRST_CLAIMS = 40_000
_LIGHT_RATE = 200.0
_LOAD = 0.6
_BURSTS = "bursts:height=4,burst=0.5,calm=2.5"
_LEFT_OUT = 2.0
# Seconds that a poll costs beside its claims.
_POLL_OF_NONE = 0.001
_PARTS = ("decode", "features")
_AGES, _DELIVERY = "claim_age_at_read_seconds", "delivery_seconds"
# Whose claims could no longer be on time: they had waited since long before the batch before ended.
_LATE = CloseReason.LATE.value
# Seconds until a worker has told of its latest batches, and before of all that it did.
_REPORTED = 2.6
_LOOK = 1.0
# As the stage has them unless told otherwise.
_POLL, _CLAIMS = 2_000, 16_384

# When, and the metrics then.
Page = tuple[float, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Way:
    """How claims come to be read and batches to begin: `World.transport`, `World.gaps` and `World.between`."""

    transport: float
    gaps: Course
    between: float


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Claims that were sent and received, (n, 2) seconds since the epoch, and what the stage said of itself then.

    `pages`: its metrics, with the time, before and after and now and then between. `batches`, (m, 4), of those that it
    told of: when they began, their claims, their seconds, and 1 where claims had surely waited for them.
    """

    times: Floats
    pages: Sequence[Page]
    batches: Floats

    @property
    def throughput(self) -> float:
        """Claims a second from the first sent to the last received."""
        return float(len(self.times) / (self.times[:, 1].max() - self.times[:, 0].min()))

    def latencies(self) -> Floats:
        found: Floats = (self.times[:, 1] - self.times[:, 0])[self._settled(self.times[:, 0])]
        return found

    def ages(self) -> Histogram:
        """Of all claims, when they were read."""
        return Histogram.of(self._spent(), _AGES)

    def way(self, transport: float, between: float) -> Way:
        """As it was from second to second."""
        return Way(transport, self._course(_AGES, lambda ages: ages.gaps(transport)), between)

    def between(self) -> float:
        """Typical seconds from the end of a batch to the begin of one that was due; some were not: claims came late."""
        at, _, seconds, waited = self.batches.T
        found = (np.diff(at) - seconds[:-1])[waited[1:] > 0]
        return max(float(np.median(found)), 0.0) if len(found) else 0.0

    def foretold(self, way: Way) -> tuple[float, Floats]:
        """Claims a second, and latencies in seconds, of the simulator."""
        arrivals = np.sort(self.times[:, 0]) - self._begin()
        world = replace(self._world(), transport=way.transport, gaps=way.gaps, between=way.between)
        # What intake waits for more claims is part of the gaps.
        reading = Reading(_CLAIMS, BATCHES_AHEAD * LIMITS.largest, _POLL, seconds=self._reading())
        known = {0: world.curves[0]}
        simulated = simulate(arrivals, world, BatchingRules(LIMITS, _BUDGET), reading, known)
        return simulated.throughput, simulated.latencies[self._settled(arrivals)]

    def _world(self) -> World:
        """A device that is at each moment as much slower than the line through all batches as the latest batch was."""
        at, claims, seconds, _ = self.batches.T
        curve = line(claims, seconds)
        slower = seconds / (curve.fixed + curve.each * claims)
        typical = statistics.median(Histogram.of(self._spent(), _DELIVERY).quantiles())
        return World(
            (curve,),
            device=Disturbance(tuple(zip((at - self._begin()).tolist(), slower.tolist(), strict=True))),
            delivery=typical,
            delivery_noise=self._course(
                _DELIVERY, lambda found: tuple(each / typical for each in found.quantiles())
            ),
        )

    def _course(self, name: str, sample: Callable[[Histogram], Sample]) -> Course:
        """Of what a metric counted from page to page."""
        parts = [
            (at - self._begin(), Histogram.of(_growth(before, after), name))
            for (at, before), (_, after) in pairwise(self.pages)
        ]
        told = [(at, sample(part)) for at, part in parts if part]
        return Course(tuple(at for at, _ in told), tuple(part for _, part in told))

    def _reading(self) -> LatencyCurve:
        """Decoding and features."""
        spent = self._spent()
        busy = sum(spent.get(f'busy_seconds_total{{part="{part}"}}', 0.0) for part in _PARTS)
        polls = spent["polls_total"]
        fixed = min(_POLL_OF_NONE, busy / polls)
        return LatencyCurve(fixed, (busy - fixed * polls) / spent["claims_consumed_total"])

    def _spent(self) -> dict[str, float]:
        return _growth(self.pages[0][1], self.pages[-1][1])

    def _begin(self) -> float:
        return float(self.times[:, 0].min())

    @staticmethod
    def _settled(sent: Floats) -> Any:
        return sent - sent.min() > _LEFT_OUT


def _growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A stage at work, and who receives its scores."""

    route: Route
    receiver: Receiver
    check: Check


Foretold = list[tuple[Run, Way]]


def measure(*, quick: bool, plots: Path) -> list[Figure]:  # noqa: ARG001 - there is nothing to draw
    """`simulator_throughput_error` and `simulator_p95_error`.

    Bursts are apart: while one lasts, a tenth of the machine's speed decides on twice as much latency.
    """
    seconds, rounds = (4.0, 1) if quick else (15.0, 3)
    with _stage() as loaded:
        speed = drained(loaded.route, loaded.receiver, _FIRST_CLAIMS, loaded.check)
        alone = _alone(loaded)
        found = [_round(loaded, speed, seconds) for _ in range(rounds)]
    return figures(alone, found)


def figures(alone: Run, found: list[tuple[Run, Run, Run]]) -> list[Figure]:
    """From claims that came one by one, and rounds of too many claims, of fewer evenly, and of as many in bursts."""
    transport = statistics.median(alone.ages().quantiles())
    # Only where more claims come than can be scored is the next batch always due.
    steady = [(run, run.way(transport, flood.between())) for flood, run, _ in found]
    bursts = [(run, run.way(transport, flood.between())) for flood, _, run in found]
    # Their own ages are those of a backlog, which the simulator makes itself.
    floods = [
        (flood, Way(transport, Course.steady(run.ages().gaps(transport)), flood.between()))
        for flood, run, _ in found
    ]
    return [
        _throughput_error(floods),
        _p95_error("simulator_p95_error", "≤ 0.25", "Poisson", steady),
        _p95_error("simulator_p95_error_bursts", "", _BURSTS, bursts),
        Figure("transport_ms", 1_000 * transport, "ms", "", "of a claim with nothing to do"),
        _ages("claim_age_p95_ms", [run for run, _ in steady]),
    ]


def _throughput_error(runs: Foretold) -> Figure:
    pairs = [(run.throughput, run.foretold(way)[0]) for run, way in runs]
    return Figure(
        "simulator_throughput_error",
        statistics.median(abs(foretold / real - 1) for real, foretold in pairs),
        "",
        "≤ 0.15",
        "more claims than can be scored: "
        + "; ".join(f"{r:.0f} claims/s, foretold {f:.0f}" for r, f in pairs),
    )


def _p95_error(name: str, goal: str, pattern: str, runs: Foretold) -> Figure:
    pairs = [(_percentiles(run.latencies()), _percentiles(run.foretold(way)[1])) for run, way in runs]
    return Figure(
        name,
        statistics.median(abs(foretold[1] / real[1] - 1) for real, foretold in pairs),
        "",
        goal,
        f"{pattern} at {_LOAD:g} of capacity, P50/P95/P99: "
        + "; ".join(f"{_shown(real)} ms, foretold {_shown(foretold)}" for real, foretold in pairs),
    )


def _ages(name: str, runs: list[Run]) -> Figure:
    found = [_percentiles(run.ages().quantiles()) for run in runs]
    value = statistics.median(each[1] for each in found)
    return Figure(name, value, "ms", "", "when read, P50/P95/P99: " + "; ".join(map(_shown, found)))


def _percentiles(seconds: Floats | Sample) -> list[float]:
    """Milliseconds."""
    found: list[float] = (1_000 * np.percentile(seconds, (50, 95, 99))).tolist()
    return found


def _shown(percentiles: list[float]) -> str:
    return "/".join(f"{each:.0f}" for each in percentiles)


@contextmanager
def _stage() -> Iterator[Loaded]:
    with loaded_broker(0) as route:
        receiver = receiving(route)
        budget = {"CLAIMSTREAM_LATENCY__BUDGET_MS": f"{1_000 * _BUDGET:g}"}
        with running(stage(route, _MODEL, 1, _PORT, **budget)) as program:
            yield Loaded(route, receiver, program.check)
            receiver.stop()


def _alone(loaded: Loaded) -> Run:
    """Claims for which there is nothing to do."""
    time.sleep(_REPORTED)
    return _run(loaded, int(3 * _LIGHT_RATE), "--rate", f"{_LIGHT_RATE:g}")


def _round(loaded: Loaded, speed: float, seconds: float) -> tuple[Run, Run, Run]:
    """More than can be scored, then a part of it, evenly and in bursts."""
    flood = _run(loaded, int(1.2 * speed * seconds / 3), "--rate", f"{1.2 * speed:.0f}")
    rate = _LOAD * flood.throughput
    pace, claims = ("--rate", f"{rate:.0f}"), int(rate * seconds)
    steady = _run(loaded, claims, *pace)
    return flood, steady, _run(loaded, claims, *pace, "--arrivals", _BURSTS)


def _run(loaded: Loaded, claims: int, *pace: str) -> Run:
    first, notes = loaded.receiver.count, Notes(_page())
    with publishing(loaded.route, claims, *pace) as publisher:
        check = together(loaded.check, publisher.check, notes.take)
        await_scores(loaded.receiver, first + claims, check)
        publisher.finish()
    time.sleep(_REPORTED)
    notes.take()
    return Run(loaded.receiver.times()[first:], notes.pages, notes.told())


class Notes:
    """What the stage says of itself while it works, from a first page of metrics on."""

    def __init__(self, first: Page) -> None:
        self.pages = [first]
        self._batches: dict[float, tuple[float, float, bool]] = {}
        self._due = 0.0

    def take(self) -> None:
        """Look at the latest batches and at the metrics, once a second."""
        if (now := time.time()) < self._due:
            return
        self._due = now + _LOOK
        decisions = json.loads(page(_PORT, "/ml/batching")[1])["workers"][0]["decisions"]
        self._batches |= {
            each["at"]: (each["claims"], each["actual_ms"] / 1_000, each["reason"] == _LATE)
            for each in decisions
        }
        self.pages.append(_page())

    def told(self) -> Floats:
        """`Run.batches`, of those that began since the first page."""
        found = self._batches
        if not found:
            raise RuntimeError("the stage told of no batch")
        return np.array([(at, *found[at]) for at in sorted(found) if at >= self.pages[0][0]])


def _page() -> Page:
    return time.time(), numbers(page(_PORT, "/metrics")[1])
