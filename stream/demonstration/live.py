"""The live table of a demonstration."""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from stream.demonstration.receiver import Receiver
from stream.demonstration.show import Look

_RECENT = 2_000


class LiveTable:
    """Draws on standard error; when that is no terminal, says each new stage in one line."""

    def __init__(self, budget_ms: float) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._budget = budget_ms
        self._stage = ""
        self._last = (time.monotonic(), 0)
        self._rate = 0.0

    def __enter__(self) -> LiveTable:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def watch(self, stage: str, look: Look | None, receiver: Receiver | None) -> None:
        """Show what is known; without a look only the stage is new."""
        if stage != self._stage:
            self._stage = stage
            self._console.print(f"{stage} ...", highlight=False)
        if look is not None and receiver is not None and self._console.is_terminal:
            self._live.update(self._table(look, receiver))

    def _table(self, look: Look, receiver: Receiver) -> Table:
        times = receiver.times()[-_RECENT:]
        latency = 1_000 * (times[:, 1] - times[:, 0]) if len(times) else np.zeros(1)
        p50, p95, p99 = np.percentile(latency, (50, 95, 99))
        numbers = look.snapshot.numbers
        sizes = [s for (name, _), s in look.snapshot.histograms.items() if name == "batch_size"]
        batches = sum(int(s.counts.sum()) for s in sizes)
        lag = sum(value for (name, _), value in numbers.items() if name == "consumer_lag")
        table = Table(title="claimstream", title_justify="left", show_header=False, min_width=44)
        for row in (
            ("published", f"{look.published:,}"),
            ("scored", f"{look.received:,}   {self._speed(look.received):,.0f}/s"),
            ("latency P50 / P95 / P99", f"{p50:.0f} / {p95:.0f} / {p99:.0f} ms"),
            ("budget", f"{self._budget:.0f} ms"),
            ("claims a micro-batch", f"{sum(s.total for s in sizes) / max(batches, 1):.1f}"),
            ("lag", f"{lag:,.0f}"),
            ("workers", f"{look.workers}"),
        ):
            table.add_row(*row)
        return table

    def _speed(self, received: int) -> float:
        now, (then, before) = time.monotonic(), self._last
        if now - then >= 1.0:
            self._rate, self._last = (received - before) / (now - then), (now, received)
        return self._rate
