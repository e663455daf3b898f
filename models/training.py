"""Trains the claims transformer, reproducibly, and writes a version."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import safetensors.torch
import torch
from torch.nn import functional

from models.backends.pytorch import ClaimsTransformer
from models.digests import digest_file
from models.features import ClaimFeatures, FeatureSpec
from models.loading import VOCABULARY, WEIGHTS, network_shape
from models.manifest import FILE, Architecture, FileEntry, Manifest, MeasuredBytes, Variant, encoded
from models.runner import TransformerModel

Labels = npt.NDArray[np.float32]

_BATCH = 256
_PEAK_RATE = 2e-3
_WARM_SHARE = 0.1
_RARE = 2


@dataclass(frozen=True, slots=True)
class Labelled:
    """Claims and what is true of them, 0 or 1 each."""

    claims: Sequence[pa.RecordBatch]
    labels: Labels


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, and how long; two runs of one recipe on one machine give the same bytes."""

    name: str
    version: str
    features: FeatureSpec
    architecture: Architecture
    epochs: int
    seed: int
    data: str


def vocabulary(claims: Iterable[pa.RecordBatch], spec: FeatureSpec) -> list[str]:
    """Words that occur more than once, most frequent first."""
    counts: Counter[str] = Counter()
    for batch in claims:
        codes, lines = batch.column("codes").flatten(), batch.column("lines").flatten()
        counts.update(f"type|{word}" for word in batch.column("claim_type").to_pylist())
        systems, words = codes.field("system").to_pylist(), codes.field("code").to_pylist()
        counts.update(f"code|{system}|{word}" for system, word in zip(systems, words, strict=True))
        counts.update(f"procedure|{word or ''}" for word in lines.field("procedure_code").to_pylist())
        counts.update(f"revenue|{word}" for word in lines.field("revenue_code").to_pylist() if word)
        for attributes in batch.column("attributes").to_pylist():
            counts.update(f"{name}|{word}" for name, word in attributes if name in spec.token_attributes)
    return [
        word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= _RARE
    ]


def train(
    recipe: Recipe, data: Labelled, held_out: Labelled, folder: Path, advance: Callable[[int], None]
) -> Manifest:
    """Train, measure on `held_out`, write a version into `folder`. `advance` is told how many claims were seen."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(mode=True)
    words = vocabulary(data.claims, recipe.features)
    features = ClaimFeatures(recipe.features, words)
    # What it still lacks, the files above all, is there once the weights are.
    draft = Manifest.model_construct(
        name=recipe.name,
        version=recipe.version,
        features=recipe.features,
        architecture=recipe.architecture,
        threshold=0.5,
        data=recipe.data,
    )
    network = ClaimsTransformer(network_shape(draft, features))
    _fit(network, _encoded(features, data.claims), data.labels, recipe, advance)
    scores = _scores(TransformerModel(draft, features, network), held_out)
    metrics = {
        "auc": auc(scores, held_out.labels),
        "average_precision": average_precision(scores, held_out.labels),
    }
    threshold = _best_threshold(scores, held_out.labels)
    finished = draft.model_copy(update={"metrics": metrics, "threshold": threshold})
    return _write(finished, words, network, folder)


def auc(scores: Labels, labels: Labels) -> float:
    """Area under the ROC curve, ties counted half (Mann-Whitney)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    positives = labels.sum()
    area = (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (
        positives * (len(labels) - positives)
    )
    return round(float(area), 4)


def average_precision(scores: Labels, labels: Labels) -> float:
    """Mean precision at each positive, best scores first."""
    hits = labels[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return round(float(precision[hits == 1].mean()), 4)


def _fit(
    network: ClaimsTransformer,
    tensors: dict[str, torch.Tensor],
    labels: Labels,
    recipe: Recipe,
    advance: Callable[[int], None],
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=_PEAK_RATE, weight_decay=0.01)
    steps = recipe.epochs * math.ceil(len(labels) / _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, steps, pct_start=_WARM_SHARE)
    targets = torch.from_numpy(labels)
    shuffle = torch.Generator().manual_seed(recipe.seed)
    network.train()
    for _ in range(recipe.epochs):
        for chosen in torch.split(torch.randperm(len(labels), generator=shuffle), _BATCH):
            loss = functional.binary_cross_entropy_with_logits(
                _forward(network, tensors, chosen), targets[chosen]
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            advance(len(chosen))


def _forward(
    network: ClaimsTransformer, tensors: dict[str, torch.Tensor], rows: torch.Tensor
) -> torch.Tensor:
    token = tensors["token"][rows]
    longest = int((token != 0).sum(1).max())
    logits: torch.Tensor = network(
        token[:, :longest],
        tensors["revenue"][rows, :longest],
        tensors["amount"][rows, :longest],
        tensors["number"][rows],
    )
    return logits


def _encoded(features: ClaimFeatures, claims: Sequence[pa.RecordBatch]) -> dict[str, torch.Tensor]:
    encoded = [features.encode(batch) for batch in claims]
    return {name: torch.from_numpy(np.concatenate([e[name] for e in encoded])) for name in features.columns}


def _scores(model: TransformerModel, data: Labelled) -> Labels:
    return np.concatenate([model.score(model.features.encode(batch)) for batch in data.claims])


def _best_threshold(scores: Labels, labels: Labels) -> float:
    """The score at which F1 is highest."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    best = int(np.argmax(2 * hits / (np.arange(1, len(hits) + 1) + labels.sum())))
    return round(float(scores[order[best]]), 4)


def _write(manifest: Manifest, words: list[str], network: ClaimsTransformer, folder: Path) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    weights = dict(sorted(network.state_dict().items()))
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(weights))
    (folder / VOCABULARY).write_bytes(json.dumps(words, indent=0).encode())
    files = {name: FileEntry(**asdict(digest_file(folder / name))) for name in (WEIGHTS, VOCABULARY)}
    size = sum(file.bytes for file in files.values())
    finished = Manifest(
        **dict(manifest),
        precisions={"fp32": Variant(file=WEIGHTS)},
        bytes=MeasuredBytes(
            device=sum(tensor.nbytes for tensor in weights.values()), memory=size, redis=size, repository=size
        ),
        files=files,
    )
    (folder / FILE).write_bytes(encoded(finished))
    return finished
