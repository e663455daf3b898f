"""Learns a model of labelled claims: stops early by later claims, is calibrated on them, and measured on the latest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn import functional

from models import platt
from models.backends.factors import ClaimsFactors
from models.columns import Lists, same
from models.date_tokens import DateToken
from models.features import ClaimFeatures, FeatureSpec
from models.loading import new_network
from models.manifest import Factors, Manifest
from models.measures import (
    Calibration,
    Discrimination,
    Labels,
    auc,
    best_threshold,
    calibration,
    discrimination,
)
from models.runner import TransformerModel
from models.training import Labelled, encoded_claims, scored, vocabulary, write_version

SIZES = Factors(width=8, hidden=16, members=4)

_LARGEST_BATCH = 256
_SMALLEST_BATCH = 16
# A small table is learned in small steps: so many of them an epoch, where that is possible.
_STEPS = 100
_RATE = 2e-3
_DECAY = 0.1
_PATIENCE = 4
_LEAST = 5
_BUCKETS = 8
_MOST_CODES = 16
_MOST_LINES = 32
_LEAST_LENGTH = 4


class Advance(Protocol):
    """What shows how far it is."""

    def advance(self, amount: float = 1) -> None: ...


Watch = Callable[[str, float], AbstractContextManager[Advance]]


@dataclass(frozen=True, slots=True)
class Parts:
    """Claims by time: those learned from, those that say when to stop, those that measure."""

    train: Labelled
    validation: Labelled
    test: Labelled


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned, and for how long at most; two runs of one task on one machine give the same bytes."""

    name: str
    version: str
    features: FeatureSpec
    epochs: int
    seed: int
    data: str


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the claims: loss while learning, AUC on the claims learned from and on the later ones."""

    loss: float
    train_auc: float
    validation_auc: float


@dataclass(frozen=True, slots=True)
class Learned:
    """A version that was written, how it came about, and what the latest claims say of it."""

    manifest: Manifest
    epochs: tuple[Epoch, ...]
    kept: int
    scores: Labels
    discrimination: Discrimination
    calibration: Calibration


def repeated(claims: pa.RecordBatch, names: Sequence[str]) -> dict[str, str]:
    """Attributes that say what an earlier one says, and which: their products would count one fact twice."""
    column = claims.column("attributes")
    values = {name: pc.map_lookup(column, name, "last") for name in names}
    found: dict[str, str] = {}
    for place, name in enumerate(names):
        earlier = (one for one in names[:place] if one not in found and same(values[one], values[name]))
        if (twin := next(earlier, None)) is not None:
            found[name] = twin
    return found


def spec_for(
    claims: pa.RecordBatch, tokens: Sequence[str], numbers: Sequence[str], dates: Sequence[DateToken]
) -> FeatureSpec:
    """A spec with room for the codes and lines of 99 in 100 of these claims."""
    codes = _most(Lists(claims.column("codes")).counts, _MOST_CODES)
    lines = _most(Lists(claims.column("lines")).counts, _MOST_LINES)
    length = max(1 + len(tokens) + len(dates) + codes + lines, _LEAST_LENGTH)
    return FeatureSpec(
        length=length,
        codes=codes,
        token_attributes=tuple(tokens),
        number_attributes=tuple(numbers),
        date_tokens=tuple(dates),
        buckets=_BUCKETS,
    )


def learn(task: Task, parts: Parts, folder: Path, watch: Watch) -> Learned:
    """Find how long to learn, learn anew from all but the latest claims, measure on these, write into `folder`."""
    torch.use_deterministic_algorithms(mode=True)
    threads = torch.get_num_threads()
    # Steps are small: threads would wait for each other, and their number would change the sums.
    torch.set_num_threads(1)
    try:
        return _learned(task, parts, folder, watch)
    finally:
        torch.set_num_threads(threads)


def _learned(task: Task, parts: Parts, folder: Path, watch: Watch) -> Learned:
    trial = _Pupil(task, parts.train)
    epochs, kept = trial.try_out(parts.validation, watch)
    scale, shift = platt.fit(trial.logits(parts.validation), parts.validation.labels)
    trial.calibrate(scale, shift)
    threshold = best_threshold(trial.scores(parts.validation), parts.validation.labels)
    pupil = _Pupil(task, _joined(parts.train, parts.validation))
    pupil.repeat(kept, watch)
    pupil.calibrate(scale, shift)
    scores = pupil.scores(parts.test)
    found = discrimination(scores, parts.test.labels, task.seed)
    curve = calibration(scores, parts.test.labels)
    metrics = _metrics(found, curve, len(scores), kept)
    draft = pupil.draft.model_copy(update={"threshold": threshold, "metrics": metrics})
    manifest = write_version(draft, pupil.words, pupil.network, folder)
    return Learned(manifest, epochs, kept, scores, found, curve)


class _Pupil:
    """A network at the beginning, and the claims that it learns from."""

    def __init__(self, task: Task, data: Labelled) -> None:
        self._task = task
        self.words = vocabulary(data.claims, task.features, _LEAST)
        self._features = ClaimFeatures(task.features, self.words)
        # What it still lacks, the files above all, is there once the weights are.
        self.draft = Manifest.model_construct(
            name=task.name,
            version=task.version,
            type="factors",
            features=task.features,
            features_digest=self._features.digest,
            architecture=SIZES,
            threshold=0.5,
            data=task.data,
        )
        torch.manual_seed(task.seed)
        network = new_network(self.draft, self._features)
        assert isinstance(network, ClaimsFactors)
        self.network = network
        self._tensors = encoded_claims(self._features, data.claims)
        self._labels = torch.from_numpy(data.labels)
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
        self._batch = min(max(len(data.labels) // _STEPS, _SMALLEST_BATCH), _LARGEST_BATCH)
        positives = float(data.labels.sum())
        self._weight = torch.tensor((len(data.labels) - positives) / positives)

    def try_out(self, later: Labelled, watch: Watch) -> tuple[tuple[Epoch, ...], int]:
        """Learn until the AUC on later claims has not risen for a while; the network is left as it was at its best."""
        epochs: list[Epoch] = []
        kept, best = 0, self._state()
        total = self._task.epochs * len(self._labels)
        with watch("finding when to stop", total) as bar:
            while len(epochs) < self._task.epochs and len(epochs) - kept < _PATIENCE:
                loss = self._epoch(bar)
                known = auc(self._logits_of(self._tensors), self._labels.numpy())
                epochs.append(Epoch(loss, known, auc(self.logits(later), later.labels)))
                if epochs[-1].validation_auc > max([0.0, *(epoch.validation_auc for epoch in epochs[:-1])]):
                    kept, best = len(epochs), self._state()
            bar.advance(total - len(epochs) * len(self._labels))
        self.network.load_state_dict(best)
        return tuple(epochs), kept

    def repeat(self, epochs: int, watch: Watch) -> None:
        """Learn for so many passes."""
        with watch("training", epochs * len(self._labels)) as bar:
            for _ in range(epochs):
                self._epoch(bar)

    def calibrate(self, scale: float, shift: float) -> None:
        self.network.scale.fill_(scale)
        self.network.shift.fill_(shift)

    def logits(self, data: Labelled) -> npt.NDArray[np.float32]:
        return self._logits_of(encoded_claims(self._features, data.claims))

    def scores(self, data: Labelled) -> Labels:
        """As the stage scores."""
        return scored(TransformerModel(self.draft, self._features, self.network), data)

    def _epoch(self, bar: Advance) -> float:
        """One pass in a new order; the mean loss."""
        self.network.train()
        losses = []
        for rows in torch.split(torch.randperm(len(self._labels)), self._batch):
            logits = self.network.each(*self._inputs(self._tensors, rows))
            targets = self._labels[rows].unsqueeze(1).expand_as(logits)
            loss = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=self._weight)
            self._optimizer.zero_grad()
            # Each member learns as fast as it would alone.
            torch.autograd.backward(loss * SIZES.members)
            self._optimizer.step()
            losses.append(float(loss.detach()))
            bar.advance(len(rows))
        return float(np.mean(losses))

    @torch.inference_mode()
    def _logits_of(self, tensors: dict[str, torch.Tensor]) -> npt.NDArray[np.float32]:
        self.network.eval()
        parts = torch.split(torch.arange(len(tensors["token"])), 16 * _LARGEST_BATCH)
        found: npt.NDArray[np.float32] = torch.cat(
            [self.network(*self._inputs(tensors, rows)) for rows in parts]
        ).numpy()
        return found

    def _inputs(self, tensors: dict[str, torch.Tensor], rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensors[name][rows] for name in ("token", "revenue", "amount", "number"))

    def _state(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()}


def _joined(first: Labelled, second: Labelled) -> Labelled:
    return Labelled([*first.claims, *second.claims], np.concatenate([first.labels, second.labels]))


def _most(counts: npt.NDArray[np.int64], limit: int) -> int:
    return min(int(np.quantile(counts, 0.99, method="higher")), limit)


def _metrics(found: Discrimination, curve: Calibration, claims: int, epochs: int) -> dict[str, float]:
    metrics = {
        f"{name}{end}": value
        for name, interval in (("auc", found.auc), ("average_precision", found.average_precision))
        for end, value in (("", interval.value), ("_low", interval.low), ("_high", interval.high))
    }
    metrics |= {"brier": curve.brier, "calibration_error": curve.error}
    return {name: round(value, 4) for name, value in metrics.items()} | {
        "test_claims": float(claims),
        "epochs": float(epochs),
    }
