"""One schedule: a seed, the stage as it is, a simulated Kafka, and what came of it."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.faults.checker import Finding, Published, Terms, check
from bench.faults.driver import Driver
from bench.faults.models import Versions
from bench.faults.plan import HORIZON, Change, Plan, Publication, Turn, draw_plan
from bench.faults.strikes import SeededFaults, Strikes
from bench.faults.workers import Place, Stage
from config import Settings
from stream.clock import ManualClock
from stream.embedded.simulated import Rhythm, SimulatedKafka
from stream.embedded.simulated.partitioner import partition_of

AT_LEAST_ONCE, EXACTLY_ONCE = "at_least_once", "exactly_once"
_CLAIMS, _SCORES, _LETTERS, _GROUP = "claims", "scores", "dead", "group"
_SETTLE, _PATIENT = 90.0, 30.0
_LOOK = 0.25
# Seconds after the horizon in which a fault that found nobody may still strike.
_LATE = 10.0
_MOST_TURNS = 150_000
_PATIENCE = {"max.poll.interval.ms": 6_000}
_OPTIONS = {"session.timeout.ms": 3_000, "heartbeat.interval.ms": 300} | _PATIENCE
_LED = Rhythm(heartbeat=0.3, session=3.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`settled`: everything was committed in the end. `errors`: those that ended a worker and that no fault explains.

    `met`: faults that met somebody. `lives`: of all workers; `beyond`: those beyond one a worker and one a fault.
    """

    seed: int
    finding: Finding
    settled: bool
    errors: tuple[str, ...]
    met: int
    lives: int
    beyond: int
    turns: int

    @property
    def sound(self) -> bool:
        return self.finding.sound and self.settled and not self.errors


class Schedule:
    """Runs a plan."""

    def __init__(self, plan: Plan, mode: str) -> None:
        self._plan = plan
        self._mode = mode
        draw = random.Random(f"{plan.order} order")
        self._clock = ManualClock()
        self._start = self._clock.now()
        self._driver = Driver(draw, self._clock)
        self._faults = SeededFaults(draw)
        self._kafka = SimulatedKafka(self._clock, self._faults, self._driver.run_for, _LED)
        for topic, partitions in (
            (_CLAIMS, plan.partitions),
            (_SCORES, plan.outputs),
            (_LETTERS, plan.partitions),
        ):
            self._kafka.create_topic(topic, partitions, largest=4_000_000)
        self._versions, settings = Versions(list(plan.speeds)), self._settings()
        stage = Stage(self._driver, self._kafka, settings, self._versions, plan.speeds, draw)
        self._places = [Place(number, stage) for number in range(plan.workers + 1)]
        self._strikes = Strikes(self._driver, self._kafka, self._faults, self._places)
        self._published: list[Published] = []

    def run(self) -> Verdict:
        for publication in self._plan.publications:
            self._driver.at(self._start + publication.at, partial(self._publish, publication))
        for disturbance in self._plan.disturbances:
            self._driver.at(self._start + disturbance.at, partial(self._strikes.strike, disturbance))
        for change in self._plan.changes:
            self._driver.at(self._start + change.at, partial(self._change, change))
        if (silence := self._plan.silence) is not None:
            self._driver.at(self._start + silence[0], partial(setattr, self._faults, "silent", True))
            self._driver.at(self._start + sum(silence), partial(setattr, self._faults, "silent", False))
        for place in self._places[: self._plan.workers]:
            self._driver.at(self._start, place.start)
        self._driver.run_for(HORIZON)
        while self._strikes.waiting and self._clock.now() < self._start + HORIZON + _LATE:
            self._driver.run_for(_LOOK)
        self._strikes.heal()
        settled = self._settle() and self._ends_well()
        lives, met = sum(place.lives for place in self._places), self._strikes.met
        ends = [end for place in self._places for end in place.ends if not self._strikes.explain(end)]
        return Verdict(
            self._plan.seed,
            self._finding(),
            settled,
            tuple(f"{end.process}: {end.error!r}" for end in ends),
            met,
            lives,
            lives - self._plan.workers - met,
            self._driver.turns,
        )

    def close(self) -> None:
        """End what still waits."""
        self._driver.close()

    def _settings(self) -> Settings:
        topics = {"input": _CLAIMS, "output": _SCORES, "dead_letters": _LETTERS}
        kafka: dict[str, Any] = {
            "bootstrap_servers": "simulated",
            "group_id": _GROUP,
            "topics": topics,
            "consumer": {"group.protocol": "consumer"} | _PATIENCE if self._plan.led else _OPTIONS,
            "static_membership": self._plan.static,
            "instance": "instance",
        }
        if self._mode != AT_LEAST_ONCE:
            kafka["delivery"] = self._mode
        cache = {"catalog": str(Path(__file__).parent / "catalog.yaml")}
        return Settings.model_validate({"kafka": kafka, "cache": cache, **self._plan.settings})

    def _publish(self, publication: Publication) -> None:
        key, claim = publication.key, publication.claim
        partition = 0 if key is None else partition_of(key, self._kafka.partitions(_CLAIMS))
        offset = self._kafka.write(_CLAIMS, partition, claim.value, key, list(publication.headers) or None)
        routes, kind = self._plan.settings["routes"], claim.expected.claim_type
        models = tuple(routes[kind if kind in routes else "*"])
        self._published.append(
            Published(
                partition, offset, key, claim.value, claim.kind, publication.headers, models, claim.expected
            )
        )

    def _change(self, change: Change) -> None:
        model = ("quick", "slow")[int(2 * change.amount)]
        if change.turn is Turn.PROMOTE:
            self._versions.promote(model)
        elif change.turn is Turn.SHARE:
            self._versions.share(model)
        elif change.turn is Turn.REMOVE:
            self._versions.remove(model)
        else:
            self._kafka.add_partitions(_CLAIMS, self._plan.partitions + 1)
            if change.amount < 0.5:
                self._kafka.add_partitions(_SCORES, self._plan.partitions + 1)

    def _settle(self) -> bool:
        """Whether all that was published is committed within the time that is given."""
        started, rebalanced = self._clock.now(), not self._plan.static
        while self._clock.now() < started + _SETTLE and self._driver.turns < _MOST_TURNS:
            self._driver.run_for(_LOOK)
            if self._is_committed():
                return True
            if not rebalanced and self._clock.now() > started + _PATIENT:
                # What a member gave up just before it died has no owner when its name comes back: that is no rebalance.
                self._kafka.group(_GROUP).refresh(self._clock.now())
                rebalanced = True
            if not any(place.running for place in self._places):
                self._places[0].start()
        return False

    def _ends_well(self) -> bool:
        """Whether it stays so while all workers leave, whatever one of them still had under way."""
        until = self._clock.now() + _PATIENT
        while self._clock.now() < until:
            for place in self._places:
                place.leave(back=False)
            self._driver.run_for(_LOOK)
        return self._is_committed() and not any(place.running for place in self._places)

    def _is_committed(self) -> bool:
        offsets = self._kafka.group(_GROUP).offsets
        ends = {p: self._kafka.log(_CLAIMS, p).end for p in range(self._kafka.partitions(_CLAIMS))}
        committed = all(end == 0 or offsets.get((_CLAIMS, p), (0, ""))[0] == end for p, end in ends.items())
        return committed and self._is_readable(_SCORES) and self._is_readable(_LETTERS)

    def _is_readable(self, topic: str) -> bool:
        """Whether no transaction is open any more, such as one that a killed worker left to its time-out."""
        logs = (self._kafka.log(topic, number) for number in range(self._kafka.partitions(topic)))
        return all(log.stable == log.end for log in logs)

    def _finding(self) -> Finding:
        readings = self._kafka.readings if self._mode == AT_LEAST_ONCE else None
        had = sorted({self._plan.outputs, self._kafka.partitions(_SCORES)})
        terms = Terms(had, self._versions.published, self._plan.settings["latency"]["drain_timeout_s"])
        scores, letters = self._kafka.messages(_SCORES), self._kafka.messages(_LETTERS)
        return check(self._published, scores, letters, readings, terms)


def run(seed: int, mode: str = AT_LEAST_ONCE) -> Verdict:
    """The verdict on one seed; what is logged meanwhile is told to nobody."""
    return run_plan(draw_plan(seed), mode)


def run_plan(plan: Plan, mode: str = AT_LEAST_ONCE) -> Verdict:
    with _in_silence(), closing(Schedule(plan, mode)) as schedule:
        return schedule.run()


@contextmanager
def _in_silence() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
