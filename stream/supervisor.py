"""Worker processes: started, watched, started again. The supervisor holds no claim and no model."""

from __future__ import annotations

import itertools
import logging
import multiprocessing.connection
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from models import CacheStatus
from stream.backoff import Backoff, Draw, by_chance
from stream.clock import Clock
from stream.decisions import BatchingStatus
from stream.errors import UsageError
from stream.metrics import Snapshot
from stream.pieces import Pieces
from stream.reports import STOP, CacheAction, CacheAnswer, CacheCommand, Ended, Joining, Ready, Told
from stream.slot import Slot

log = logging.getLogger(__name__)

_STEADY = 60.0
# A worker that can still say what hangs says it first.
_GRACE = 10.0
_LONGEST_LOOK = 1.0
_ERRORS_KEPT = 100


Spawn = Callable[[int, Connection], BaseProcess]


class Supervisor:
    """Keeps `workers` processes alive. `spawn(slot, connection)` starts one that reports over the connection.

    `patience`: seconds after which a worker takes a step of its own for hung. One that has joined and says nothing for
    longer can be told nothing either, and is ended by force.
    """

    def __init__(
        self, spawn: Spawn, workers: int, clock: Clock, patience: float, draw: Draw = by_chance
    ) -> None:
        self._spawn = spawn
        self._clock = clock
        self._silence = patience + _GRACE
        self._looked = clock.now()
        # Longer than any hang goes unseen, or hangs in a row would not count as such.
        self._steady = _STEADY + patience
        self._draw = draw
        self._slots = [self._slot(number) for number in range(workers)]
        self._departed = Snapshot()
        self._stopping = False
        # Whether any worker ever joined.
        self._served = False
        self._numbers = itertools.count()
        self._asked: dict[tuple[int, int], Future[CacheAnswer]] = {}
        self._sending = threading.Lock()
        # A signal may ask for a snapshot in the middle of a change, on the same thread.
        self._counting = threading.RLock()
        self._restarts = 0
        self._unfinished = 0
        # Whether a worker left without saying how many.
        self.uncounted = False
        self.errors: list[str] = []
        # What all workers would meet.
        self.fatal = ""
        # Of the stage: 1 when a worker failed to drain or was killed, 2 or 3 when one said that all are to end.
        self.exit_code = 0

    @property
    def workers(self) -> int:
        return len(self._slots)

    @property
    def ready(self) -> bool:
        """Whether every worker has joined the group, none keeps ending, and none is being stopped."""
        return not self.unready

    @property
    def unready(self) -> str:
        """Why the stage is not ready; nothing when it is."""
        if self._stopping:
            return "workers are stopping"
        now = self._clock.now()
        if looping := [slot for slot in self._slots if self._loops(slot, now)]:
            slot = looping[0]
            return f"worker {slot.number} ended {slot.backoff.failures} times in a row: {slot.error}"
        return "" if all(slot.ready for slot in self._slots) else "workers are starting"

    @property
    def hopeless(self) -> bool:
        """Whether a worker met what every other would meet: the stage is to stop."""
        return self.exit_code > 1

    @property
    def unfinished(self) -> int:
        """Claims that stay uncommitted, as far as workers said so."""
        return self._unfinished + sum(slot.left for slot in self._slots)

    @property
    def alive(self) -> int:
        return sum(slot.process is not None for slot in self._slots)

    def add_worker(self) -> None:
        """One more member; it starts with the next `step`."""
        self._slots.append(self._slot(len(self._slots)))

    def snapshot(self) -> Snapshot:
        """The sum over all workers, those that are gone included."""
        total = Snapshot()
        with self._counting:
            total.add(self._departed)
            for slot in self._slots:
                total.add(slot.latest)
        total.numbers |= {(name, ()): number for name, number in self._own_numbers().items()}
        return total

    def _own_numbers(self) -> dict[str, int]:
        """As many workers are ready as are wanted exactly when the stage is."""
        now = self._clock.now()
        looping = [self._loops(slot, now) for slot in self._slots]
        ready = [slot.ready and not loops for slot, loops in zip(self._slots, looping, strict=True)]
        return {
            "worker_restarts_total": self._restarts,
            "workers_crash_looping": sum(looping),
            "workers_ready": 0 if self._stopping else sum(ready),
            "workers_wanted": self.workers,
        }

    def caches(self) -> list[CacheStatus]:
        """The latest cache of each worker."""
        return [slot.cache for slot in self._slots if slot.cache is not None]

    def batching(self) -> dict[int, BatchingStatus]:
        """The latest batching of each worker, by its number."""
        return {slot.number: slot.batching for slot in self._slots if slot.batching is not None}

    def ask(self, action: CacheAction, models: Sequence[str]) -> list[Future[CacheAnswer]]:
        """Have every worker do something with models; one answer each, from any thread but that of `step`.

        One that is not ready is not told: it hears nothing while it starts. Its answer says so, and counts as failed.
        """
        command = CacheCommand(next(self._numbers), action, tuple(models))
        return [self._ask_one(slot, command) for slot in self._slots]

    def _ask_one(self, slot: Slot, command: CacheCommand) -> Future[CacheAnswer]:
        asked: Future[CacheAnswer] = Future()
        if not slot.ready:
            asked.set_result(
                CacheAnswer(command.number, (f"worker {slot.number} is not ready",), failed=True)
            )
            return asked
        self._asked[slot.number, command.number] = asked
        self._tell(slot, command)
        if slot.connection is None:
            self._answer_for(slot)
        return asked

    def step(self, patience: float) -> None:
        """Start what is due, then take reports for up to `patience` seconds."""
        now = self._clock.now()
        for slot in self._slots:
            if (
                slot.process is None
                and not self._stopping
                and slot.start_at is not None
                and now >= slot.start_at
            ):
                self._start(slot, now)
        busy = {slot.connection: slot for slot in self._slots if slot.connection is not None}
        for connection in multiprocessing.connection.wait(list(busy), patience):
            self._receive(busy[connection])  # type: ignore[index]
        if not self._stopping:
            self._end_silent()

    def stop(self, timeout: float) -> None:
        """Ask every worker to drain and leave; end those that have not after `timeout` seconds.

        A worker that is still on its way into the group holds no claim, and hears nothing while it loads its models:
        it is ended at once. Claims of one that failed are not committed until somebody is in the group to read them.
        """
        self._stopping = True
        self.step(0.0)
        if any(slot.joining for slot in self._slots):
            self._forget_left()
        if any(slot.backoff.failures for slot in self._slots) and not any(s.joining for s in self._slots):
            log.error(
                "a worker failed and no other has joined since; what it had in flight may stay uncommitted"
            )
            self.exit_code = self.exit_code or 1
            self.uncounted = True
        for slot in self._slots:
            if slot.process is not None and not slot.joining:
                log.info("worker %d was still starting; it is ended", slot.number)
                slot.process.kill()
                self._bury(slot)
        for slot in self._slots:
            self._tell(slot, STOP)
        deadline = self._clock.now() + timeout
        while self.alive and self._clock.now() < deadline:
            self.step(0.1)
        self.kill()

    def kill(self) -> None:
        """End every worker at once; what it had in flight stays uncommitted."""
        self._stopping = True
        for slot in self._slots:
            if slot.process is not None:
                log.error("worker %d is ended by force; what it had in flight stays uncommitted", slot.number)
                self.exit_code = self.exit_code or 1
                self.uncounted = True
                slot.process.kill()
                self._bury(slot)

    def _start(self, slot: Slot, now: float) -> None:
        try:
            slot.process, slot.connection = self._spawned(slot.number)
        except OSError as error:
            # Such as no memory, or no more processes, for now.
            wait = slot.backoff.failed()
            slot.start_at = now + wait
            self._note_error(slot, f"{type(error).__name__}: {error}")
            log.error("worker %d cannot be started: %s; next try in %.1f s", slot.number, error, wait)  # noqa: TRY400
            return
        slot.start_at = slot.joined = slot.ended = None
        slot.ready, slot.pieces = False, Pieces()

    def _spawned(self, number: int) -> tuple[BaseProcess, Connection]:
        """Raises OSError."""
        ours, theirs = multiprocessing.Pipe()
        try:
            return self._spawn(number, theirs), ours
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()

    def _end_silent(self) -> None:
        """The end of such a worker is heard of like that of any other.

        Time in which this process stood still itself, perhaps with its workers, is nobody's silence.
        """
        now = self._clock.now()
        passed, self._looked = min(now - self._looked, _LONGEST_LOOK), now
        for slot in self._slots:
            slot.silent += passed
            if slot.process is not None and slot.joining and not slot.ended and slot.silent > self._silence:
                error = f"nothing was heard of it for {slot.silent:.0f} s; it is ended by force"
                self._note_end(slot, Ended(0, error, 1))
                slot.ready = False
                slot.process.kill()

    def _receive(self, slot: Slot) -> None:
        if slot.connection is None:
            return
        try:
            report = slot.pieces.receive(slot.connection)
        except (EOFError, OSError):
            # Plain OSError where it died within a report.
            self._ended(slot)
            return
        slot.silent = 0.0
        if isinstance(report, Ended):
            self._note_end(slot, report)
        elif report is not None:
            self._take(slot, report)

    def _note_end(self, slot: Slot, report: Ended) -> None:
        slot.ended = report
        if self._stopping or not report.error:
            self._unfinished += report.unfinished
        else:
            slot.left = report.unfinished
        if report.error:
            self._note_error(slot, report.error)
            log.error("worker %d: %s", slot.number, report.error)
        if report.exit_code > 1 and not self.hopeless and not self._concerns_it_alone(slot, report):
            self.exit_code, self.fatal = report.exit_code, report.error
            self.uncounted = True
        elif report.error and self._stopping:
            self.exit_code = self.exit_code or 1

    def _concerns_it_alone(self, slot: Slot, report: Ended) -> bool:
        """Such as a file changed since the others read theirs, or commits that are slow just when one of them ended."""
        served = self._served and (not slot.joining or self._restarts > 0)
        return served and report.exit_code == UsageError.exit_code

    def _forget_left(self) -> None:
        """Somebody is there to score what failed workers left."""
        for slot in self._slots:
            slot.left = 0

    def _note_error(self, slot: Slot, error: str) -> None:
        slot.error = error
        self.errors = [*self.errors[1 - _ERRORS_KEPT :], error]

    def _take(self, slot: Slot, report: Told) -> None:
        if isinstance(report, Snapshot):
            slot.latest = report
        elif isinstance(report, CacheStatus):
            slot.cache = report
        elif isinstance(report, BatchingStatus):
            slot.batching = report
        elif isinstance(report, Joining):
            slot.joined = self._clock.now()
            self._served = True
            self._forget_left()
        elif isinstance(report, Ready):
            slot.ready = True
        elif (asked := self._asked.pop((slot.number, report.number), None)) is not None:
            asked.set_result(report)

    def _ended(self, slot: Slot) -> None:
        now = self._clock.now()
        steady = slot.steady(now, self._steady)
        code = self._bury(slot)
        if self._stopping:
            if slot.ended is None:
                log.error("worker %d ended with code %s without a word", slot.number, code)
                self.exit_code = self.exit_code or 1
                self.uncounted = True
            return
        if slot.ended is None:
            self._note_error(slot, f"ended with code {code} without a word")
        if steady:
            slot.backoff.succeeded()
        self._restarts += 1
        wait = slot.backoff.failed()
        slot.start_at = now + wait
        log.error(
            "worker %d ended with code %s, %d times in a row; it starts again in %.1f s%s",
            slot.number,
            code,
            slot.backoff.failures,
            wait,
            "; the stage is not ready while it goes on like this" if self._loops(slot, now) else "",
        )

    def _loops(self, slot: Slot, now: float) -> bool:
        return slot.loops(now, self._steady)

    def _slot(self, number: int) -> Slot:
        return Slot(number, start_at=0.0, backoff=Backoff(draw=self._draw))

    def _bury(self, slot: Slot) -> int | None:
        if slot.process is None or slot.connection is None:
            return None
        slot.process.join(10.0)
        if slot.process.exitcode is None:
            # It lives, and nobody would hear of it any more.
            slot.process.kill()
            slot.process.join()
        code = slot.process.exitcode
        slot.connection.close()
        with self._counting:
            self._departed.add(slot.latest.without_gauges())
            slot.latest = Snapshot()
        slot.process, slot.connection = None, None
        slot.joined, slot.ready = None, False
        slot.cache = slot.batching = None
        self._answer_for(slot)
        return code

    def _answer_for(self, slot: Slot) -> None:
        """A worker that is gone answers nothing; from the thread of `step` or of `ask`."""
        for place in [place for place in list(self._asked) if place[0] == slot.number]:
            gone = CacheAnswer(place[1], (f"worker {slot.number} ended meanwhile",), failed=True)
            if (asked := self._asked.pop(place, None)) is not None:
                asked.set_result(gone)

    def _tell(self, slot: Slot, word: str | CacheCommand) -> None:
        # Another thread may take it away meanwhile.
        if (connection := slot.connection) is None:
            return
        try:
            with self._sending:
                connection.send(word)
        except (BrokenPipeError, OSError) as error:
            log.warning("worker %d could not be told to %s: %s", slot.number, word, error)
