"""`python -m bench.real_faults.entry FOLDER …` is `claimstream …` whose workers have levers in that folder.

Beside the levers it differs in two things: a worker that ended is started again after a quarter of a second, not after
one, two, four and more, so that many strikes fit into minutes; and transactions last at most FAULTS_TRANSACTION_MS.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from stream import clients, service, supervisor
from stream.backoff import Backoff, BackoffRule
from stream.cli.main import main
from stream.options import TopicShape
from stream.process import run_worker

LONGEST_TRANSACTION = "FAULTS_TRANSACTION_MS"
_RESTART = BackoffRule(first=0.25, longest=0.5)


def struck_worker(folder: str, settings: Any, shape: TopicShape, connection: Connection, slot: int) -> None:
    """A worker process with levers."""
    prepare(Path(folder))
    run_worker(settings, shape, connection, slot)


def prepare(folder: Path) -> None:
    """Levers and ailments for the workers of this process."""
    from bench.real_faults import ailments, levers

    chosen = levers.Levers(folder)
    levers.lay(chosen)
    ailments.infect(chosen)
    if longest := os.environ.get(LONGEST_TRANSACTION):
        clients._TRANSACTION_MS = int(longest)  # noqa: SLF001 - a constant of the stage, not a setting


def _spawner(folder: str, settings: Any, shape: TopicShape) -> Any:
    context = multiprocessing.get_context("spawn")

    def spawn(slot: int, connection: Connection) -> BaseProcess:
        process = context.Process(target=struck_worker, args=(folder, settings, shape, connection, slot))
        process.start()
        return process

    return spawn


if __name__ == "__main__":
    lever_folder = sys.argv.pop(1)
    # As modules, not as names of theirs: what they imported is replaced there.
    vars(service)["spawner"] = partial(_spawner, lever_folder)
    vars(supervisor)["Backoff"] = partial(Backoff, _RESTART)
    main()
