"""The model alone, in a process of its own: what its scores cost without Kafka."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import numpy as np

from models import open_model
from stream.publishing import generate

_SIZES = (64, 128, 256, 512)
_CLAIMS = 2_000
_CALIBRATION = 3.0


class Offline:
    """A process that scores the same claims over and over, one torch thread, at its best batch size."""

    def __init__(self, process: Any, scored: Synchronized[int]) -> None:
        self._process = process
        self._scored = scored

    def total(self) -> int:
        """Raises RuntimeError where it has ended."""
        if not self._process.is_alive():
            raise RuntimeError(f"the model alone ended with {self._process.exitcode}")
        return self._scored.value

    def stop(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


@contextmanager
def offline(model: str) -> Iterator[Offline]:
    """Running, past its calibration."""
    context = multiprocessing.get_context("spawn")
    scored: Synchronized[int] = context.Value("q", 0)
    process = context.Process(target=_score_for_ever, args=(model, scored), daemon=True)
    process.start()
    try:
        while not scored.value:
            if not process.is_alive():
                raise RuntimeError(
                    f"the model alone ended with {process.exitcode} before it had scored a claim"
                )
            time.sleep(0.1)
        yield Offline(process, scored)
    finally:
        process.kill()
        process.join()


def _score_for_ever(name: str, scored: Synchronized[int]) -> None:
    model = open_model(name, threads=1)
    tensors = model.features.encode(next(iter(generate(_CLAIMS, 1))))
    batches = _batches(tensors, _best_size(model, tensors))
    while True:
        for batch in batches:
            model.score(batch)
            scored.value += len(batch["token"])


def _best_size(model: Any, tensors: Mapping[str, Any]) -> int:
    """The size of most claims a second; sizes take turns, so that they share the machine's moods."""
    seconds = dict.fromkeys(_SIZES, 0.0)
    until = time.perf_counter() + _CALIBRATION
    while time.perf_counter() < until:
        for size in _SIZES:
            started = time.perf_counter()
            for batch in _batches(tensors, size):
                model.score(batch)
            seconds[size] += time.perf_counter() - started
    return min(_SIZES, key=lambda size: seconds[size])


def _batches(tensors: Mapping[str, Any], size: int) -> list[dict[str, np.ndarray[Any, Any]]]:
    return [
        {name: column[start : start + size] for name, column in tensors.items()}
        for start in range(0, _CLAIMS, size)
    ]
