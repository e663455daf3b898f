"""Faults that strike while a schedule runs: the requests of clients, one worker, or all of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from bench.faults.driver import Driver
from bench.faults.plan import Disturbance, Kind
from bench.faults.workers import End, Place
from stream.embedded.simulated import Effect, Fault, Faults, SimulatedKafka, SimulatedProcess, Step

_LAZINESS, _DELAY = 0.1, 0.002
# Seconds until it is tried again where nobody was there to be struck.
_AGAIN = 0.05
_STILL = (Kind.STOP, Kind.ZOMBIE)
_PROCESS = (Kind.KILL, Kind.CUT_OFF, *_STILL)


class SeededFaults(Faults):
    """Faults that were armed meet the next request of their step. `met`: how many did; `struck`: whose requests."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._armed: dict[Step, list[Fault]] = {}
        self.met = 0
        self.struck: set[str] = set()
        self.silent = False
        self.laziness, self.delay = _LAZINESS, _DELAY

    def arm(self, step: Step, fault: Fault) -> None:
        self._armed.setdefault(step, []).append(fault)

    def disarm(self) -> None:
        self._armed.clear()
        self.laziness, self.delay = _LAZINESS, _DELAY

    def at(self, step: Step, process: str) -> Fault | None:
        armed = self._armed.get(step)
        if self.silent and step is Step.END_TXN:
            self.struck.add(process)
            return Fault(Effect.ANSWER_LOST)
        if not armed:
            return None
        self.met += 1
        self.struck.add(process)
        return armed.pop()

    def dawdles(self, process: str) -> bool:  # noqa: ARG002 - all alike
        return self._draw.random() < self.laziness

    def latency(self, step: Step) -> float:  # noqa: ARG002 - all alike
        return self._draw.expovariate(1.0 / self.delay)


class Strikes:
    """What is to strike one worker strikes the one that was drawn, or the next that is there to be struck.

    Where none is, it waits until one is.
    """

    def __init__(
        self, driver: Driver, kafka: SimulatedKafka, faults: SeededFaults, places: Sequence[Place]
    ) -> None:
        self._driver = driver
        self._kafka = kafka
        self._faults = faults
        self._places = places
        self._struck = 0
        self._waiting: set[Disturbance] = set()
        # Until when each disturbance of all workers lasts.
        self._lasting: dict[Kind, float] = {}
        self._away: list[tuple[float, float]] = []
        self._over = False

    @property
    def met(self) -> int:
        """Faults that met somebody."""
        return self._struck + self._faults.met

    @property
    def waiting(self) -> bool:
        """Whether one found nobody yet."""
        return bool(self._waiting)

    def strike(self, disturbance: Disturbance) -> None:
        if disturbance.kind is Kind.REQUEST:
            self._faults.arm(disturbance.step, disturbance.fault)
            return
        if self._over:
            return
        if self._strikes(disturbance):
            self._struck += 1
            self._waiting.discard(disturbance)
            return
        self._waiting.add(disturbance)
        self._driver.at(self._driver.clock.now() + _AGAIN, partial(self.strike, disturbance))

    def explain(self, end: End) -> bool:
        """Whether a fault may have ended a worker: one that struck it, or the brokers were away in its life."""
        away = any(start < end.ended and end.began < stop for start, stop in self._away)
        return end.foreseen and (away or end.process in self._faults.struck)

    def heal(self) -> None:
        """No fault from now on."""
        self._over = True
        self._faults.disarm()
        self._kafka.away = False
        for place in self._places:
            place.pace = 1.0
            if place.process is not None:
                place.process.thaw()
                place.process.cut_off = False
        if not any(place.running for place in self._places):
            self._places[0].start()

    def _strikes(self, disturbance: Disturbance) -> bool:
        """Whether anybody was struck."""
        until = self._driver.clock.now() + disturbance.seconds
        around, amount = self._around(disturbance), disturbance.amount
        if disturbance.kind is Kind.LEAVE:
            return any(self._leaves(place, back=amount < 0.7) for place in around)
        if disturbance.kind is Kind.SLOW:
            return any(self._slows(place, 2.0 + 200.0 * amount**3, until) for place in around)
        if disturbance.kind in _PROCESS:
            return any(self._strikes_process(disturbance.kind, place.process, until) for place in around)
        if disturbance.kind is Kind.JOIN:
            return self._joins(self._places[-1])
        return any(map(_lives, self._places)) and self._strikes_all(disturbance, until)

    def _around(self, disturbance: Disturbance) -> list[Place]:
        """Its place first, the others after it."""
        first = disturbance.worker % len(self._places)
        return [*self._places[first:], *self._places[:first]]

    def _joins(self, place: Place) -> bool:
        """One member more, or less where it is there already."""
        if place.running:
            return self._leaves(place, back=False)
        place.start()
        return True

    def _leaves(self, place: Place, *, back: bool) -> bool:
        """The last one always comes back: a stage without workers meets no fault."""
        if not _lives(place) or place.leaving:
            return False
        others = any(_lives(each) and not each.leaving for each in self._places if each is not place)
        place.leave(back=back or not others)
        return True

    def _slows(self, place: Place, pace: float, until: float) -> bool:
        if not _lives(place) or place.pace != 1.0:
            return False
        place.pace = pace
        self._driver.at(until, lambda: setattr(place, "pace", 1.0))
        return True

    def _strikes_process(self, kind: Kind, process: SimulatedProcess | None, until: float) -> bool:
        if process is None or not process.alive or _is_so(kind, process):
            return False
        self._faults.struck.add(process.name)
        if kind in _STILL:
            process.freeze()
            self._driver.at(until, process.thaw)
        elif kind is Kind.CUT_OFF:
            process.cut_off = True
            self._driver.at(until, lambda: setattr(process, "cut_off", False))
        else:
            process.kill()
        return True

    def _strikes_all(self, disturbance: Disturbance, until: float) -> bool:
        now = self._driver.clock.now()
        if now < self._lasting.get(disturbance.kind, now):
            return False
        self._lasting[disturbance.kind] = until
        if disturbance.kind is Kind.AWAY:
            self._kafka.away = True
            self._away.append((now, until))
            self._driver.at(until, lambda: setattr(self._kafka, "away", False))
        elif disturbance.kind is Kind.LAZY:
            self._faults.laziness = 0.3 + 0.65 * disturbance.amount
            self._driver.at(until, lambda: setattr(self._faults, "laziness", _LAZINESS))
        elif disturbance.kind is Kind.LATE:
            self._faults.delay = 0.01 + 0.5 * disturbance.amount**2
            self._driver.at(until, lambda: setattr(self._faults, "delay", _DELAY))
        else:
            self._driver.clock.step_wall(20.0 * disturbance.amount - 10.0)
        return True


def _lives(place: Place) -> bool:
    """Whether a worker is there to be struck."""
    return place.running and place.process is not None and place.process.alive


def _is_so(kind: Kind, process: SimulatedProcess) -> bool:
    """Whether it is so already what it is to become."""
    return process.frozen if kind in _STILL else kind is Kind.CUT_OFF and process.cut_off
