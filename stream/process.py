"""A worker process: its life, and its talk with the supervisor."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import queue
import select
import signal
import threading
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from config import ConfigurationError, Settings
from models import CacheStatus, ModelError
from models.null import NAME as NULL
from stream import pieces
from stream.allocator import keep_freed_memory, spare_what_stays
from stream.app import Assembly, assemble
from stream.clock import Clock, SystemClock
from stream.errors import ClaimstreamError, FatalError, StopError, UsageError
from stream.log_lines import formatter
from stream.options import TopicShape
from stream.reports import STOP, CacheAnswer, CacheCommand, Ended, Joining, Ready
from stream.turns import hand_over_quickly
from stream.worker import Worker

log = logging.getLogger(__name__)

_REPORT_INTERVAL = 0.5
# Longer, because a look at the cache asks Redis and the locks of other processes.
_STATUS_INTERVAL = 2.0
# Longer still, because a repository may hold thousands of versions, and each is looked at.
_REPOSITORY_INTERVAL = 60.0
# Beside the drain, what it takes to end loops, close the consumer and let models go.
LEAVE_SECONDS = 5.0
_TO_END = (signal.SIGINT, signal.SIGTERM)


class AloneError(Exception):
    """The supervisor is gone: its successor may have started a worker in this place, which this one would fence."""


def run_worker(settings: Settings, shape: TopicShape, connection: Connection, slot: int = 0) -> None:
    """Life of a worker process: warm up, join, score until the supervisor says stop or is gone."""
    _prepare_process(settings)
    clock = SystemClock()
    assembly: Assembly | None = None
    try:
        _settle(settings)
        assembly = assemble(settings, shape, clock, slot)
        _join(assembly.worker, connection)
        Correspondence(assembly, connection, clock, patience(settings)).until_stop()
        _leave_within(LEAVE_SECONDS + (0.0 if assembly.worker.failed else settings.latency.drain_timeout_s))
        unfinished = assembly.worker.stop()
        assembly.speeds.remember(assembly.batcher.speeds())
        assembly.loader.close()
        assembly.cache.close()
    except AloneError:
        log.warning("the supervisor is gone; this worker does not join")
        _end_at_once()
    except Exception as error:
        # What is meant for a person needs no traceback.
        log.error("the worker ends: %s", error, exc_info=not isinstance(error, UsageError | StopError))  # noqa: TRY400
        left = 0 if assembly is None else assembly.worker.unfinished
        _tell(connection, Ended(left, f"{type(error).__name__}: {error}", _exit_code(error)))
        _end_at_once()
    _tell(connection, assembly.metrics.snapshot())
    _tell(connection, Ended(unfinished))


def _join(worker: Worker, connection: Connection) -> None:
    """Raises AloneError where the supervisor is gone, before the producer opens or before the group hears of it."""

    def joining() -> None:
        if not _tell(connection, Joining()):
            raise AloneError

    if _hung_up(connection):
        raise AloneError
    worker.start(joining)


def _end_at_once() -> NoReturn:
    """An ordinary end would wait for loads in progress."""
    logging.shutdown()
    os._exit(1)


def _exit_code(error: Exception) -> int:
    if isinstance(error, ConfigurationError):
        return UsageError.exit_code
    return error.exit_code if isinstance(error, ClaimstreamError) else FatalError.exit_code


def patience(settings: Settings) -> float:
    """Seconds after which a step counts as hung. A poll may have to drain within itself."""
    return max(settings.limits.step_timeout_s, 2 * settings.latency.drain_timeout_s)


def _leave_within(seconds: float) -> None:
    """Ends the process by force then: a forward or a client that hangs must not keep its partitions for ever."""

    def end() -> None:
        log.error(
            "not left after %g s; ended by force, the group learns of it by the end of its session", seconds
        )
        _end_at_once()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def spawner(settings: Settings, shape: TopicShape) -> Any:
    """How the supervisor starts a worker process: spawned, because threads and clients do not survive a fork."""
    context = multiprocessing.get_context("spawn")

    def spawn(slot: int, connection: Connection) -> BaseProcess:
        process = context.Process(
            target=run_worker, args=(settings, shape, connection, slot), name=f"claimstream-worker-{slot}"
        )
        start_deaf(process)
        return process

    return spawn


def start_deaf(process: BaseProcess) -> None:
    """Start a process that signals to end do not reach until it lets them.

    A Ctrl-C goes to the whole process group, and for the seconds that its imports take a worker could not ignore it.
    """
    # Were it started together with the first process, it would let the signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_END)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Correspondence:
    """Reports to the supervisor and carries its orders out, until it says stop or is gone."""

    def __init__(
        self, assembly: Assembly, connection: Connection, clock: Clock, patience: float = float("inf")
    ) -> None:
        self._assembly = assembly
        self._connection = connection
        self._clock = clock
        self._patience = patience
        # Found in other threads, told in this one.
        self._found: queue.SimpleQueue[CacheAnswer | CacheStatus] = queue.SimpleQueue()
        self._look: threading.Thread | None = None
        self._told_ready = False
        self._next_status = 0.0

    def until_stop(self) -> None:
        """Raises FatalError when a step of the worker hangs."""
        while not self._assembly.worker.wait(0.0):
            self._assembly.worker.check(self._patience)
            if self._connection.poll(_REPORT_INTERVAL) and not self._take_order():
                return
            if not self._report():
                return

    def _take_order(self) -> bool:
        """False when it is to stop."""
        word = _received(self._connection)
        if isinstance(word, CacheCommand):
            # A load takes seconds; reports must not wait for it.
            threading.Thread(target=self._obey, args=(word,), name="order", daemon=True).start()
        return word != STOP

    def _report(self) -> bool:
        """False when nobody listens any more."""
        if not self._told_ready and self._assembly.worker.joined:
            self._told_ready = _tell(self._connection, Ready())
        while not self._found.empty():
            _tell(self._connection, self._found.get())
        if self._clock.now() >= self._next_status:
            self._next_status = self._clock.now() + _STATUS_INTERVAL
            self._look_at_cache()
            _tell(self._connection, self._assembly.worker.batching())
        return _tell(self._connection, self._assembly.metrics.snapshot())

    def _look_at_cache(self) -> None:
        """In a thread of its own: a repository that hangs must not silence the worker. The next look waits for it."""
        if self._look is None or not self._look.is_alive():
            self._look = threading.Thread(target=self._see_cache, name="cache status", daemon=True)
            self._look.start()

    def _see_cache(self) -> None:
        metrics = self._assembly.metrics
        try:
            status = self._assembly.cache.status(_REPOSITORY_INTERVAL)
        except Exception as error:
            defect = not isinstance(error, ModelError | OSError)
            log.warning("the state of the cache cannot be told now: %s", error, exc_info=defect)
            return
        for tier in status.tiers:
            metrics.set("model_lookups_total", tier.served, tier.tier)
            metrics.set("model_bytes_loaded_total", tier.bytes_loaded, tier.tier)
        metrics.set("model_device_bytes", status.tiers[0].used)
        metrics.set("model_uncached_bytes", status.uncached_bytes)
        self._found.put(status)

    def _obey(self, command: CacheCommand) -> None:
        """Load models or let them go; every name gets its line."""
        lines, failed = [], False
        for name in command.models:
            try:
                lines.append(self._changed(command.action, name))
            except Exception as error:
                if not isinstance(error, ModelError):
                    log.exception("%s: %s failed", name, command.action)
                lines.append(f"{name}: {error}")
                failed = True
        self._found.put(CacheAnswer(command.number, tuple(lines), failed))

    def _changed(self, action: str, name: str) -> str:
        if action == "preload":
            return f"{self._assembly.cache.preload([name])[0]}: loaded"
        gone = self._assembly.cache.evict(name)
        return f"{name}: " + (f"gone from {', '.join(gone)}" if gone else "not there, or leased")


def _hung_up(connection: Connection) -> bool:
    """Whether the other side is gone; what it said before may still be there to be read, and stays."""
    poller = select.poll()
    # Of what happens to a connection, its end is told unasked.
    poller.register(connection, 0)
    return bool(poller.poll(0))


def _received(connection: Connection) -> str | CacheCommand:
    try:
        word: str | CacheCommand = connection.recv()
    except (EOFError, ConnectionResetError):
        log.error("the supervisor is gone; draining and leaving")  # noqa: TRY400 - the place is no news
        return STOP
    return word


def _tell(connection: Connection, report: object) -> bool:
    try:
        pieces.send(connection, report)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _prepare_process(settings: Settings) -> None:
    # A Ctrl-C reaches the whole process group; only the supervisor answers it, and tells the workers to drain.
    for number in _TO_END:
        signal.signal(number, signal.SIG_IGN)
    # Held back since the start, see `start_deaf`; what came meanwhile is ignored with the rest.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_END)
    hand_over_quickly()
    keep_freed_memory()
    configure_logging(settings)


def _settle(settings: Settings) -> None:
    """Import what models need before there is one: they do not stay, and are to be collected when they have gone."""
    if any(model != NULL for route in settings.routes.values() for model in route):
        importlib.import_module("models.loading")
    spare_what_stays()


def configure_logging(settings: Settings) -> None:
    """Lines on standard error."""
    # librdkafka calls enable.gapless.guarantee experimental at every start; it was weighed when it was chosen.
    logging.getLogger("librdkafka").addFilter(
        lambda record: "enable.gapless.guarantee" not in record.getMessage()
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings.logging.format))
    logging.basicConfig(level=settings.logging.level.upper(), handlers=[handler])
    # Python's own warnings are lines, too.
    logging.captureWarnings(settings.logging.format == "json")
