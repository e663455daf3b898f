"""How an instance stands and how its workers batch, as one document: what they aim at and why, what presses."""

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


def standing(unready: str, alive: int, workers: int, numbers: Snapshot) -> dict[str, Any]:
    """What the supervisor knows. `unready` says why the stage is not ready, nothing when it is."""
    return {
        "ready": not unready,
        "reason": unready,
        "alive": alive,
        "workers": workers,
        "restarts": _sum(numbers, "worker_restarts_total"),
        "crash_looping": _sum(numbers, "workers_crash_looping"),
        "consumed": _sum(numbers, "claims_consumed_total"),
        "delivered": _sum(numbers, "claims_delivered_total"),
        "dead_letters": _sum(numbers, "dead_letters_total"),
        "in_flight": _sum(numbers, "claims_in_flight"),
        "lag": _sum(numbers, "consumer_lag"),
    }


def _sum(numbers: Snapshot, name: str) -> int:
    """Over all labels."""
    return round(sum(value for (metric, _), value in numbers.numbers.items() if metric == name))


def _worker(status: BatchingStatus) -> dict[str, Any]:
    document = asdict(status)
    document["flow"] = status.flow.value
    document["decisions"] = [decision._asdict() for decision in status.decisions]
    return document
