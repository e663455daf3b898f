"""A worker, as a process of its own, in which one model takes its time: half a second first, then for ever."""

from __future__ import annotations

import time
from typing import Any

from config import environment, load_settings
from stream.app import assemble
from stream.clock import SystemClock
from stream.options import TopicShape
from stream.scoring import Scorer

_SLOW = "claims_filter"


def main() -> None:
    fast = Scorer.score
    seen = 0

    def score(self: Scorer, batch: Any, model: Any) -> Any:
        nonlocal seen
        if model.identity.name == _SLOW:
            seen += 1
            time.sleep(0.5 if seen == 1 else 600.0)
        return fast(self, batch, model)

    Scorer.score = score  # type: ignore[method-assign]
    worker = assemble(
        load_settings(None, environment.of_process(), {}), TopicShape(1, 1), SystemClock()
    ).worker
    worker.start()
    worker.wait(600.0)


if __name__ == "__main__":
    main()
