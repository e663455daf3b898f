"""`python -m bench.real_faults.comer FOLDER SECONDS PERIOD`: a worker that joins the group and leaves, again and again.

It loads everything once, because a process takes longer to start than a member may stay. What it reads while it is
there it answers, and it hands over in order when it leaves.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from bench.real_faults.entry import prepare
from config import Settings, environment, load_settings
from stream import topics
from stream.app import assemble
from stream.clock import SystemClock
from stream.options import TopicShape

_SLOT = 1_000


def main() -> None:
    """Say "joining" once everything is loaded."""
    folder, seconds, period = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    prepare(folder)
    settings = load_settings(None, environment.of_process(), {})
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s comer %(name)s: %(message)s")
    names = settings.kafka.topics
    client = {"bootstrap.servers": settings.kafka.bootstrap_servers}
    found = topics.describe(client, [names.input, names.output])
    shape = TopicShape(found[names.input] or 0, found[names.output] or 0)
    print("joining", flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _visit(settings, shape, period)
        time.sleep(max(min(period, until - time.monotonic()), 0.0))


def _visit(settings: Settings, shape: TopicShape, period: float) -> None:
    assembly = assemble(settings, shape, SystemClock(), _SLOT)
    assembly.worker.start()
    assembly.worker.wait(period)
    assembly.worker.stop()
    assembly.loader.close()
    assembly.cache.close()


if __name__ == "__main__":
    main()
