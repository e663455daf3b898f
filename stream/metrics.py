"""What a worker counts, as plain numbers that travel over a pipe, and the sum of all workers as Prometheus families."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

Labels = tuple[str, ...]
State = TypeVar("State")
PREFIX = "claimstream_"

SECONDS = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.035,
    0.05,
    0.067,
    0.1,
    0.15,
    0.2,
    0.35,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

# Single values of a histogram that are counted at once: an array of one costs as much as one of many.
_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric: what it counts and by which labels; buckets make it a histogram.

    Of an instance it is the sum over its workers, or the `largest` of theirs.
    """

    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    gauge: bool = False
    largest: bool = False


DEFINITIONS = {
    "claims_consumed_total": Definition("Claims read from the input topic."),
    "claim_age_at_read_seconds": Definition(
        "Input record's timestamp to its being read; records without one are left out.", (), SECONDS
    ),
    "claims_scored_total": Definition("Scores given, by model.", ("model", "version")),
    "claims_delivered_total": Definition("Results acknowledged by the broker."),
    "dead_letters_total": Definition("Records sent to the dead letters, by error.", ("error",)),
    "dead_letters_incomplete_total": Definition(
        "Dead letters without what was too large for their topic; the record lies where their headers say."
    ),
    "deadline_missed_total": Definition("Results acknowledged after their deadline."),
    "stale_results_total": Definition(
        "Results dropped because their partition had moved on; its new owner scores them."
    ),
    "claims_skipped_total": Definition(
        "Records that were not scored again, because an earlier owner of their partition had delivered them."
    ),
    "partitions_held_total": Definition(
        "Times that a partition was not read further, because what completes of it might not fit into a commit."
    ),
    "offset_metadata_ignored_total": Definition("Commits whose metadata could not be read."),
    "polls_total": Definition("Polls that brought records."),
    "batches_closed_total": Definition(
        "Micro-batches, by model and by why they were closed: `size`, `deadline`, `idle`, `drain`, `late`.",
        ("model", "reason"),
    ),
    "claims_set_aside_total": Definition(
        "Claims set aside because they could no longer be on time; they are scored in spare room.", ("model",)
    ),
    "batching_pressure": Definition(
        "What the fullest store or slowest delivery presses, 0 to 1, the worst worker.",
        gauge=True,
        largest=True,
    ),
    "models_beyond_budget": Definition(
        "Models of which a single claim takes longer than the budget, the worst worker.",
        gauge=True,
        largest=True,
    ),
    "claims_aside": Definition("Claims set aside and not scored yet.", gauge=True),
    "commits_total": Definition(
        "Offset commits, by how they ended: `done`, `failed`, `put off` (nobody said whether the topic is still the "
        "same).",
        ("result",),
    ),
    "transactions_total": Definition(
        "Transactions, by how they ended: `committed`, `aborted`, `stale` (they held a partition that has moved), "
        "`uncertain` (the answer was lost, and found out). What was not committed is produced again, "
        "without being scored again.",
        ("result",),
    ),
    "transaction_commit_seconds": Definition("Duration of a transaction's commit.", (), SECONDS),
    "client_errors_total": Definition("Errors that the Kafka clients reported, by name.", ("error",)),
    "retries_total": Definition(
        "Times that work was put off because something outside was unavailable.", ("error",)
    ),
    "model_load_failures_total": Definition("Loads of models that failed, by version.", ("model", "version")),
    "model_loads_begun_total": Definition(
        "Loads begun because claims waited, by what made them due: `room`, `deadline`, `break-even` (waiting costs "
        "as much as the load), `drain`.",
        ("reason",),
    ),
    "claims_reassigned_total": Definition(
        "Claims given another version, because theirs is no longer served and cannot be loaded."
    ),
    "model_lookups_total": Definition(
        "Look-ups of models, by the tier of the cache that served them: `device`, `memory`, `redis`, `repository`.",
        ("tier",),
    ),
    "model_bytes_loaded_total": Definition("Bytes of models that loads brought, by tier.", ("tier",)),
    "model_device_bytes": Definition("Bytes of models on the devices of all workers.", gauge=True),
    "model_uncached_bytes": Definition(
        "Bytes of models in memory of a worker's own, beside that which all share.", gauge=True
    ),
    "reading_paused_total": Definition("Times that reading was paused because a bounded store was full."),
    "busy_seconds_total": Definition(
        "Seconds spent, by part of the stage: `consume`, `decode`, `features`, `forward`, `encode`, `produce`.",
        ("part",),
    ),
    "batch_size": Definition("Claims in a micro-batch.", ("model",), SIZES),
    "inference_seconds": Definition("Duration of a forward pass.", ("model",), SECONDS),
    "delivery_seconds": Definition(
        "End of a forward to acknowledgement, by shipment: the results of one partition.", (), SECONDS
    ),
    "stage_latency_seconds": Definition(
        "Input record's timestamp to acknowledgement of its result.", (), SECONDS
    ),
    "claims_in_flight": Definition("Claims between poll and acknowledgement.", gauge=True),
    "bytes_in_flight": Definition("Raw bytes retained for claims in flight.", gauge=True),
    "output_queue_claims": Definition("Scored claims that wait for the output.", gauge=True),
    "worker_restarts_total": Definition("Worker processes that ended by themselves and were started again."),
    "workers_crash_looping": Definition(
        "Workers that ended three times or more, each time soon after they joined.", gauge=True
    ),
    "workers_ready": Definition(
        "Workers in the group that do not keep ending; as many as are wanted exactly when /readyz says ready.",
        gauge=True,
    ),
    "workers_wanted": Definition("Workers that the instance is to have.", gauge=True),
    "consumer_lag": Definition("Records behind the end of the partition.", ("partition",), gauge=True),
    "partitions_giving_way": Definition("Partitions read in turns, for the others' sake.", gauge=True),
    "partitions_owned": Definition("Partitions assigned.", gauge=True),
    "build_info": Definition("Always 1; its label is the version of the program.", ("version",), gauge=True),
    "partitions_unknown": Definition(
        "Partitions assigned whose lag is not known: nothing was fetched of them yet, or the group's offsets are not "
        "learned.",
        gauge=True,
    ),
}


@dataclass(slots=True)
class HistogramState:
    """Counts per bucket (the last one is +Inf) and the sum of all values."""

    counts: npt.NDArray[np.int64]
    total: float = 0.0


@dataclass(slots=True)
class Snapshot:
    """All numbers of one worker at one moment."""

    numbers: dict[tuple[str, Labels], float] = field(default_factory=dict)
    histograms: dict[tuple[str, Labels], HistogramState] = field(default_factory=dict)

    def add(self, other: Snapshot) -> None:
        """Take another worker's numbers into these."""
        for key, value in other.numbers.items():
            mine = self.numbers.get(key, 0.0)
            self.numbers[key] = max(mine, value) if DEFINITIONS[key[0]].largest else mine + value
        for key, state in other.histograms.items():
            whole = self.histograms.setdefault(key, HistogramState(np.zeros_like(state.counts)))
            whole.counts = whole.counts + state.counts
            whole.total += state.total

    def without_gauges(self) -> Snapshot:
        """What a worker that is gone leaves behind: its counters."""
        kept = {key: value for key, value in self.numbers.items() if not DEFINITIONS[key[0]].gauge}
        return Snapshot(kept, dict(self.histograms))


class StageMetrics:
    """Counts in bulk: one call a poll or a batch, never one a claim."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, Labels], HistogramState] = {}
        self._kept: dict[tuple[str, Labels], list[float]] = {}
        self._edges = {name: np.array(d.buckets) for name, d in DEFINITIONS.items() if d.buckets}
        self._lock = threading.Lock()
        self._before_reading: list[Callable[[], None]] = []

    def before_reading(self, tell: Callable[[], None]) -> None:
        """Call this first whenever somebody reads: it counts what it has noted meanwhile."""
        self._before_reading.append(tell)

    def count(self, name: str, amount: float = 1.0, *labels: str) -> None:
        with self._lock:
            self._numbers[name, labels] = self._numbers.get((name, labels), 0.0) + amount

    def set(self, name: str, value: float, *labels: str) -> None:
        with self._lock:
            self._numbers[name, labels] = value

    def observe(self, name: str, values: npt.ArrayLike, *labels: str) -> None:
        """Count an array of values into a histogram."""
        counted = self._counted(name, values)
        with self._lock:
            self._add((name, labels), counted)

    def observe_one(self, name: str, value: float, *labels: str) -> None:
        """Keep one value until as many came as are worth counting, or somebody asks."""
        key = name, labels
        with self._lock:
            if (kept := self._kept.get(key)) is None:
                kept = self._kept[key] = []
            kept.append(value)
            if len(kept) == _TOGETHER:
                self._add(key, self._counted(name, self._kept.pop(key)))

    def _counted(self, name: str, values: npt.ArrayLike) -> HistogramState:
        edges = self._edges[name]
        array = np.atleast_1d(np.asarray(values, np.float64))
        counts = np.bincount(np.searchsorted(edges, array), minlength=len(edges) + 1)
        return HistogramState(counts, float(array.sum()))

    def _add(self, key: tuple[str, Labels], counted: HistogramState) -> None:
        if (state := self._histograms.setdefault(key, counted)) is not counted:
            state.counts += counted.counts
            state.total += counted.total

    def drop(self, name: str) -> None:
        """Forget every series of a gauge."""
        with self._lock:
            for key in [key for key in self._numbers if key[0] == name]:
                del self._numbers[key]

    def snapshot(self) -> Snapshot:
        for tell in self._before_reading:
            tell()
        with self._lock:
            for key, kept in self._kept.items():
                self._add(key, self._counted(key[0], kept))
            self._kept.clear()
            histograms = {k: HistogramState(s.counts.copy(), s.total) for k, s in self._histograms.items()}
            return Snapshot(dict(self._numbers), histograms)


class SnapshotCollector(Collector):
    """Gives Prometheus whatever `read` returns at the moment of the scrape."""

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        snapshot = self._read()
        for name, definition in DEFINITIONS.items():
            yield _family(name, definition, snapshot)


def _family(name: str, definition: Definition, snapshot: Snapshot) -> Metric:
    labels = list(definition.labels)
    full = PREFIX + name
    if definition.buckets:
        histogram = HistogramMetricFamily(full, definition.text, labels=labels)
        for (_, values), state in _series(name, snapshot.histograms.items()):
            histogram.add_metric(values, _buckets(definition.buckets, state), state.total)
        return histogram
    kind = GaugeMetricFamily if definition.gauge else CounterMetricFamily
    family = kind(full, definition.text, labels=labels)
    for (_, values), number in _series(name, snapshot.numbers.items()):
        family.add_metric(values, number)
    return family


def _buckets(edges: Sequence[float], state: HistogramState) -> list[tuple[str, float]]:
    bounds = [*map(str, edges), "+Inf"]
    return list(zip(bounds, np.cumsum(state.counts).astype(float).tolist(), strict=True))


def _series(
    name: str, items: Iterable[tuple[tuple[str, Labels], State]]
) -> Iterator[tuple[tuple[str, Labels], State]]:
    return ((key, state) for key, state in items if key[0] == name)
