"""A worker process: its life, and its talk with the supervisor."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from config import Settings
from models import ModelError, SyncModelCacheManager
from stream.allocator import keep_freed_memory
from stream.app import Assembly, TopicShape, assemble
from stream.clock import SystemClock
from stream.supervisor import STOP, CacheAnswer, CacheCommand, Ended, Ready

log = logging.getLogger(__name__)

# Four threads share the interpreter lock; the default of 5 ms is the hand-over latency that each would see.
_SWITCH_INTERVAL = 0.0005
_REPORT_INTERVAL = 0.5


def run_worker(settings: Settings, shape: TopicShape, connection: Connection) -> None:
    """Life of a worker process: warm up, join, score until the supervisor says stop or is gone."""
    _prepare_process(settings)
    clock = SystemClock()
    try:
        assembly = assemble(settings, shape, clock)
        assembly.worker.start()
        _report_until_stop(assembly, connection)
        unfinished = assembly.worker.stop()
        assembly.loader.close()
        assembly.cache.close()
    except Exception as error:
        log.exception("the worker ends")
        _tell(connection, Ended(0, f"{type(error).__name__}: {error}"))
        sys.exit(1)
    _tell(connection, assembly.metrics.snapshot())
    _tell(connection, Ended(unfinished))


def spawner(settings: Settings, shape: TopicShape) -> Any:
    """How the supervisor starts a worker process: spawned, because threads and clients do not survive a fork."""
    context = multiprocessing.get_context("spawn")

    def spawn(slot: int, connection: Connection) -> BaseProcess:
        process = context.Process(
            target=run_worker, args=(settings, shape, connection), name=f"claimstream-worker-{slot}"
        )
        process.start()
        return process

    return spawn


def _report_until_stop(assembly: Assembly, connection: Connection) -> None:
    told = False
    answers: queue.SimpleQueue[CacheAnswer] = queue.SimpleQueue()
    while not assembly.worker.wait(0.0):
        if not told and assembly.worker.joined:
            told = _tell(connection, Ready())
        if connection.poll(_REPORT_INTERVAL):
            word = _received(connection)
            if word == STOP:
                return
            if isinstance(word, CacheCommand):
                # A load takes seconds; reports must not wait for it.
                threading.Thread(target=_obey, args=(assembly.cache, word, answers), daemon=True).start()
        while not answers.empty():
            _tell(connection, answers.get())
        _tell(connection, assembly.cache.status())
        if not _tell(connection, assembly.metrics.snapshot()):
            return


def _obey(
    cache: SyncModelCacheManager, command: CacheCommand, answers: queue.SimpleQueue[CacheAnswer]
) -> None:
    """Load models or let them go; every name gets its line."""
    lines, failed = [], False
    for name in command.models:
        try:
            if command.action == "preload":
                lines.append(f"{cache.preload([name])[0]}: loaded")
            else:
                gone = cache.evict(name)
                lines.append(
                    f"{name}: " + (f"gone from {', '.join(gone)}" if gone else "not there, or leased")
                )
        except ModelError as error:
            lines.append(f"{name}: {error}")
            failed = True
    answers.put(CacheAnswer(command.number, tuple(lines), failed))


def _received(connection: Connection) -> str | CacheCommand:
    try:
        word: str | CacheCommand = connection.recv()
    except (EOFError, ConnectionResetError):
        log.error("the supervisor is gone; draining and leaving")  # noqa: TRY400 - the place is no news
        return STOP
    return word


def _tell(connection: Connection, report: object) -> bool:
    try:
        connection.send(report)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _prepare_process(settings: Settings) -> None:
    # A Ctrl-C reaches the whole process group; only the supervisor answers it, and tells the workers to drain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    keep_freed_memory()
    configure_logging(settings)


def configure_logging(settings: Settings) -> None:
    """Plain lines on standard error."""
    # librdkafka calls enable.gapless.guarantee experimental at every start; it was weighed when it was chosen.
    logging.getLogger("librdkafka").addFilter(
        lambda record: "enable.gapless.guarantee" not in record.getMessage()
    )
    logging.basicConfig(
        level=settings.logging.level.upper(),
        format=f"%(asctime)s %(levelname)s {os.getpid()} %(name)s: %(message)s",
    )
