"""One thread calls the steps of all workers in an order drawn from a seed, on a virtual clock.

Each step has a stack of its own, a greenlet. At each call that waits for something (a poll, a request, a drain, a
forward) the step gives way, and goes on when that is over and it is drawn. So any step of any worker can come between
any two such calls. Between two lines of Python nobody comes, as between threads somebody could.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from greenlet import getcurrent, greenlet

from stream.clock import Clock, ManualClock
from stream.embedded.simulated import ProcessDied, SimulatedConsumer, SimulatedProcess
from stream.loops import Step

Action = Callable[[], None]

_LONGEST_WAIT = 0.5
_IDLE_POLL = 0.1
_MEAN_PAUSE = 0.004


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """What gave way, and from when on it may go on."""

    due: float
    stack: greenlet


class DrivenLoop:
    """In place of a thread."""

    def __init__(
        self,
        driver: Driver,
        process: SimulatedProcess,
        name: str,
        step: Step,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._driver = driver
        self._step = step
        self._failed = failed
        self.stopping = False
        self._started = False
        self._ended = False
        self.process = process
        self.name = name
        self.due = 0.0
        self.busy = False
        self.polls: SimulatedConsumer | None = None

    def start(self) -> None:
        self._started = True
        self._driver.add(self)

    def stuck(self, now: float) -> float:  # noqa: ARG002 - as the thread has it
        """Whatever blocks has a time-out of its own; nothing hangs."""
        return 0.0

    def wake(self) -> None:
        self.due = 0.0

    def stop(self) -> None:
        self.stopping = True

    def join(self) -> None:
        while self.busy:
            self._driver.block(self.process, _MEAN_PAUSE)
        self._end()

    def is_alive(self) -> bool:
        return self._started and not self._ended

    def call(self, now: float) -> None:
        """One step; an error ends the loop, the death of the process ends it in silence."""
        self.busy = True
        self.due = float("inf")
        try:
            due = self._step(now)
        except ProcessDied:
            self._end()
        except BaseException as error:  # noqa: BLE001 - as in service: whatever it is, it ends the loop
            self._end()
            self._failed(error)
        else:
            if self.polls is not None and self.polls.found_nothing and due <= now:
                due = now + _IDLE_POLL
            self.due = min(self.due, due, now + _LONGEST_WAIT)
        finally:
            self.busy = False

    def _end(self) -> None:
        self._ended = True
        self._driver.remove(self)


class Driver:
    """Owns the clock's movement. The same seed, and the same program, give the same run."""

    def __init__(self, draw: random.Random, clock: ManualClock) -> None:
        self.clock = clock
        self.turns = 0
        self._draw = draw
        self._hub = getcurrent()
        self._loops: list[DrivenLoop] = []
        self._processes: list[SimulatedProcess] = []
        self._events: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()
        self._waiting: list[Waiting] = []

    def add(self, loop: DrivenLoop) -> None:
        self._loops.append(loop)

    def remove(self, loop: DrivenLoop) -> None:
        if loop in self._loops:
            self._loops.remove(loop)

    def admit(self, process: SimulatedProcess) -> None:
        """Its clients' threads run from now on."""
        self._processes.append(process)

    def bury(self, process: SimulatedProcess) -> None:
        """A process that is gone: its loops end, one whose step is under way when that goes on."""
        self._processes.remove(process)
        for loop in [loop for loop in self._loops if loop.process is process]:
            loop.stop()
            if not loop.busy:
                self.remove(loop)

    def at(self, moment: float, action: Action) -> None:
        """Do something at a moment of the monotonic clock."""
        heapq.heappush(self._events, (moment, next(self._numbers), action))

    def run_for(self, seconds: float) -> None:
        """Let everybody else go on for so long, or somewhat longer where a step waits so."""
        deadline = self.clock.now() + seconds
        if (here := getcurrent()) is not self._hub:
            self._waiting.append(Waiting(deadline, here))
            self._hub.switch()
            return
        while (left := deadline - self.clock.now()) > 0.0:
            self._turn(left)

    def block(self, process: SimulatedProcess, seconds: float) -> None:
        """The same for a step that blocks: it does not go on while its process stands still. Raises ProcessDied."""
        self.run_for(seconds)
        while process.frozen and process.alive:
            self.run_for(_MEAN_PAUSE)
        process.check()

    def close(self) -> None:
        """End what waits: a stack that is not over is never freed."""
        for process in self._processes:
            process.kill()
        while self._waiting:
            self._waiting.pop().stack.throw(ProcessDied)

    def _turn(self, most: float) -> None:
        self.turns += 1
        now = self.clock.now()
        while self._events and self._events[0][0] <= now:
            greenlet(heapq.heappop(self._events)[2]).switch()
        ready = [each for each in self._free() if each.due <= now]
        roll = self._draw.random()
        if ready and roll < 0.8:
            self._go_on(self._draw.choice(ready), now)
        elif self._processes and 0.8 <= roll < 0.9:
            self._background(self._draw.choice(self._processes))
        elif ready:
            self.clock.advance(min(most, self._draw.expovariate(1.0 / _MEAN_PAUSE)))
        else:
            self.clock.advance(max(min(most, self._next() - now), 0.0001))

    def _go_on(self, chosen: DrivenLoop | Waiting, now: float) -> None:
        if isinstance(chosen, DrivenLoop):
            greenlet(partial(chosen.call, now)).switch()
        else:
            self._waiting.remove(chosen)
            chosen.stack.switch()

    def _free(self) -> list[DrivenLoop | Waiting]:
        """Loops whose step may be called, and what waits; those that ended are not here any more."""
        loops = (each for each in self._loops if not (each.busy or each.stopping or each.process.frozen))
        return [*loops, *self._waiting]

    def _background(self, process: SimulatedProcess) -> None:
        try:
            process.background()
        except ProcessDied:
            process.kill()

    def _next(self) -> float:
        """When something is due again."""
        due = [each.due for each in self._free()]
        if self._events:
            due.append(self._events[0][0])
        return min(due, default=float("inf"))


class Blocking:
    """In place of an event that a thread waits for."""

    def __init__(self, driver: Driver, process: SimulatedProcess) -> None:
        self._driver = driver
        self._process = process
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float) -> None:
        deadline = self._driver.clock.now() + timeout
        while not self._is_set and (left := deadline - self._driver.clock.now()) > 0.0:
            self._driver.block(self._process, min(left, _MEAN_PAUSE))


def loop_maker(
    driver: Driver, process: SimulatedProcess, made: list[DrivenLoop]
) -> Callable[[str, Step, Clock, Callable[[BaseException], None]], DrivenLoop]:
    """What the worker calls for each of its loops."""

    def make(name: str, step: Step, _: Clock, failed: Callable[[BaseException], None]) -> DrivenLoop:
        made.append(DrivenLoop(driver, process, name, step, failed))
        return made[-1]

    return make
