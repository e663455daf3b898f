"""The batching of all workers as one document: what each aims at, why it closed its latest batches, what presses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stream.decisions import BatchingStatus
from stream.metrics import Snapshot


def batching_view(workers: Mapping[int, BatchingStatus], numbers: Snapshot) -> dict[str, Any]:
    """`/ml/batching`: the share of results that were on time so far, None before any, and each worker."""
    delivered = numbers.numbers.get(("claims_delivered_total", ()), 0.0)
    missed = numbers.numbers.get(("deadline_missed_total", ()), 0.0)
    return {
        "on_time": 1.0 - missed / delivered if delivered else None,
        "workers": [{"worker": number, **_worker(status)} for number, status in sorted(workers.items())],
    }


def _worker(status: BatchingStatus) -> dict[str, Any]:
    document = asdict(status)
    document["flow"] = status.flow.value
    document["decisions"] = [decision._asdict() for decision in status.decisions]
    return document
