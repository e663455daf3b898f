"""One member of the consumer group: its loops, and the order in which they end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from stream.client_watch import ClientWatch
from stream.clock import Clock
from stream.consumer import ClaimConsumer
from stream.decisions import BatchingStatus
from stream.errors import FatalError, StopError
from stream.loops import Loop, MakeLoop, StepLoop
from stream.offsets import OffsetLedger
from stream.pipeline import Pipeline
from stream.producer import Sender
from stream.rhythm import Signals
from stream.watchdog import Watchdog

log = logging.getLogger(__name__)

_LOOK = 0.02
_WATCH = "client watch"
# It serves the others, which go on with the models that are there.
_LOADER = "loader"
# The intake itself waits; the watch of clients delivers nothing.
_NOT_WAITED_FOR = {"intake", _WATCH}


class Moved(Protocol):
    """Set when something was finished; `threading.Event` in service."""

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def wait(self, timeout: float) -> object: ...


class Progress:
    """Where the loops meet: wakes between them, and waiting for claims to be finished."""

    def __init__(self, ledger: OffsetLedger, clock: Clock, drain_timeout: float, moved: Moved) -> None:
        self._ledger = ledger
        self._clock = clock
        self._timeout = drain_timeout
        self._moved = moved
        self._loops: dict[str, Loop] = {}
        self._pipeline: Pipeline | None = None

    def signals(self) -> Signals:
        """The wakes that the pipeline's steps use."""
        return Signals(
            lambda: self._wake("intake"),
            lambda: self._wake("scoring"),
            lambda: self._wake("slow scoring"),
            lambda: self._wake("output"),
            lambda: self._wake(_LOADER),
            self._moved.set,
            lambda: self._wake("transactions"),
        )

    def connect(self, pipeline: Pipeline, loops: dict[str, Loop]) -> None:
        self._pipeline = pipeline
        self._loops = loops

    def drain(self, partitions: Sequence[int] | None = None) -> None:
        """Finish what is in flight of these partitions, which are given away, or of all, within the drain timeout."""
        if self._pipeline is None:
            return
        deadline = self._clock.now() + self._timeout
        self._pipeline.drain(partitions or ())
        while self._ledger.pending(partitions) and self._alive() and self._clock.now() < deadline:
            self._moved.clear()
            self._moved.wait(_LOOK)
        self._pipeline.drained()

    def _alive(self) -> bool:
        return all(loop.is_alive() for name, loop in self._loops.items() if name not in _NOT_WAITED_FOR)

    def _wake(self, name: str) -> None:
        if (loop := self._loops.get(name)) is not None:
            loop.wake()


class Worker:
    """Runs the steps in loops until told to stop, then leaves the group in good order."""

    def __init__(
        self,
        pipeline: Pipeline,
        consumer: ClaimConsumer,
        producer: Sender,
        ledger: OffsetLedger,
        progress: Progress,
        clock: Clock,
        watchdog: Watchdog,
        watch: ClientWatch | None = None,
        make_loop: MakeLoop = StepLoop,
    ) -> None:
        self._pipeline = pipeline
        self._consumer = consumer
        self._producer = producer
        self._ledger = ledger
        self._progress = progress
        self._clock = clock
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._left: int | None = None
        self._loader_hangs = False
        steps = {
            "intake": pipeline.intake,
            "scoring": pipeline.scoring,
            "slow scoring": pipeline.slow_scoring,
            "output": pipeline.output,
            _LOADER: pipeline.loading,
        }
        if producer.carries_offsets:
            steps |= {"transactions": pipeline.transactions, "watchdog": watchdog.step}
        if watch is not None:
            steps[_WATCH] = watch.step
        self._loops = {name: make_loop(name, step, clock, self._fail) for name, step in steps.items()}
        progress.connect(pipeline, self._loops)

    def start(self, joining: Callable[[], object] = lambda: None) -> None:
        """Join the group and begin to score; `joining` is called before the group may give it claims.

        The producer opens before that: it ends what a predecessor left open, which the group's offsets would wait for.
        Whoever watches its calls is there first.
        """
        if (watchdog := self._loops.get("watchdog")) is not None:
            watchdog.start()
        self._producer.open()
        joining()
        self._consumer.join()
        for loop in self._loops.values():
            if loop is not watchdog:
                loop.start()

    @property
    def joined(self) -> bool:
        """Whether the group has accepted this member."""
        return self._consumer.joined.is_set()

    def batching(self) -> BatchingStatus:
        """What batching does and why."""
        return self._pipeline.batching(self._clock.now())

    @property
    def unfinished(self) -> int:
        """Claims that were taken in and are not delivered; after `stop` those that stay uncommitted."""
        return self._pipeline.unfinished() if self._left is None else self._left

    @property
    def failed(self) -> bool:
        """Whether an error ended a loop."""
        return self._error is not None

    def check(self, limit: float) -> None:
        """Raises FatalError when a step has not come back for `limit` seconds: it hangs, and would for ever."""
        now = self._clock.now()
        stuck = {name: seconds for name, loop in self._loops.items() if (seconds := loop.stuck(now)) > limit}
        self._note_loader(stuck.pop(_LOADER, 0.0))
        for name, seconds in stuck.items():
            raise FatalError(
                f"a step of {name} has not come back for {seconds:.0f} s, the limit is {limit:g} s"
            )

    def _note_loader(self, stuck: float) -> None:
        """Another worker could not even start while the repository hangs."""
        if stuck and not self._loader_hangs:
            log.error("the loader has not come back for %.0f s; what is loaded is served", stuck)
        self._loader_hangs = stuck > 0.0

    def wait(self, timeout: float) -> bool:
        """Whether the worker has ended by itself, which it does only after an error."""
        return self._ended.wait(timeout)

    def stop(self, *, drain: bool = True) -> int:
        """Leave the group; returns how many claims that were taken in stay uncommitted, for the next owner to score.

        Reading ends first, so that nothing new comes; scoring and output go on until what was read is delivered;
        then the loops end, and only then the consumer closes, because closing commits and gives the partitions away,
        and no loop may touch it beside that. Before it the producer closes: its acknowledgements decided what is
        committed, and a transaction that is still open is aborted, because the next owner would wait for it.
        Models are let go by whoever opened them, after this.
        Raises the error that ended a loop, if one did.
        """
        self._pipeline.closing = True
        if (watch := self._loops.get(_WATCH)) is not None:
            # In an outage a step of it waits for a time-out, which passes while the others drain.
            watch.stop()
        if drain and self._error is None:
            self._progress.drain()
        for loop in self._loops.values():
            loop.stop()
        for name, loop in self._loops.items():
            if name != _LOADER:
                loop.join()
        # Giving the partitions away forgets them.
        self._left = unfinished = self._pipeline.unfinished()
        self._producer.close()
        self._consumer.close()
        # Last, because what it waits for may hang, and nothing that is committed waits for it.
        self._loops[_LOADER].join()
        if self._error is not None:
            raise self._error
        return unfinished

    def _fail(self, error: BaseException) -> None:
        # What is meant for a person needs no traceback.
        log.error("a loop ended: %s", error, exc_info=None if isinstance(error, StopError) else error)
        self._error = self._error or error
        self._ended.set()
