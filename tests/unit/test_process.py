"""A worker process: what it answers, and how it ends."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from models import UnknownModelError
from stream.clock import ManualClock
from stream.process import Correspondence
from stream.supervisor import CacheAnswer, CacheCommand

FAILING = """
import multiprocessing, threading, time
from config import load_settings
from stream import process

def assemble(*_):
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise RuntimeError("cannot be built")

process.assemble = assemble
_, theirs = multiprocessing.Pipe()
process.run_worker(load_settings(None, {}, {}), None, theirs)
"""


def raising(error: Exception) -> Any:
    def preload(_: object) -> None:
        raise error

    return preload


@pytest.mark.parametrize(
    "error", [UnknownModelError("no model 'a'"), OSError(24, "Too many open files"), MemoryError("no room")]
)
def test_an_order_is_answered_whatever_becomes_of_it(error: Exception) -> None:
    cache = SimpleNamespace(preload=raising(error))
    ours, theirs = multiprocessing.Pipe()
    correspondence = Correspondence(SimpleNamespace(cache=cache), theirs, ManualClock())  # type: ignore[arg-type]
    correspondence._obey(CacheCommand(7, "preload", ("a", "b")))
    assert correspondence._answers.get_nowait() == CacheAnswer(7, (f"a: {error}", f"b: {error}"), failed=True)
    ours.close()


def test_a_worker_that_fails_ends_at_once_whatever_its_threads_do() -> None:
    ended = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, timeout=40, check=False)
    assert ended.returncode == 1
    assert b"cannot be built" in ended.stderr
