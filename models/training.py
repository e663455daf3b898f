"""Trains the claims transformer, reproducibly, and writes a version."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import safetensors.torch
import torch
from torch.nn import functional

from models import date_tokens
from models.backends.pytorch import ClaimsTransformer
from models.columns import days
from models.features import ClaimFeatures, FeatureSpec
from models.loading import WEIGHTS, network_shape
from models.manifest import Architecture, Manifest, Variant
from models.measures import Labels, auc, average_precision, best_threshold
from models.runner import TransformerModel
from models.version_folder import described, write
from models.vocabulary import FILE as VOCABULARY
from models.vocabulary import lengths

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


def vocabulary(claims: Iterable[pa.RecordBatch], spec: FeatureSpec, least: int = _RARE) -> list[str]:
    """Words that occur at least so often, most frequent first."""
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
        service, received = (days(batch.column(name)) for name in ("service_date", "received_date"))
        for name in spec.date_tokens:
            counts.update(
                date_tokens.word(name, int(b)) for b in date_tokens.bins(name, service, received)[1]
            )
    return [word for word, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= least]


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
    _fit(network, encoded_claims(features, data.claims), data.labels, recipe, advance)
    scores = scored(TransformerModel(draft, features, network), held_out)
    metrics = {
        "auc": round(auc(scores, held_out.labels), 4),
        "average_precision": round(average_precision(scores, held_out.labels), 4),
    }
    threshold = best_threshold(scores, held_out.labels)
    finished = draft.model_copy(update={"metrics": metrics, "threshold": threshold})
    return write_version(finished, words, network, folder)


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
    longest = int(lengths(token.numpy()).max())
    logits: torch.Tensor = network(
        token[:, :longest],
        tensors["revenue"][rows, :longest],
        tensors["amount"][rows, :longest],
        tensors["number"][rows],
    )
    return logits


def encoded_claims(features: ClaimFeatures, claims: Sequence[pa.RecordBatch]) -> dict[str, torch.Tensor]:
    encoded = [features.encode(batch) for batch in claims]
    return {name: torch.from_numpy(np.concatenate([e[name] for e in encoded])) for name in features.columns}


def scored(model: TransformerModel, data: Labelled) -> Labels:
    return np.concatenate([model.score(model.features.encode(batch)) for batch in data.claims])


def write_version(manifest: Manifest, words: list[str], network: torch.nn.Module, folder: Path) -> Manifest:
    """The files of a version, its manifest last; `manifest` lacks only what the files say."""
    weights = dict(sorted(network.state_dict().items()))
    files = {WEIGHTS: safetensors.torch.save(weights), VOCABULARY: json.dumps(words, indent=0).encode()}
    size = sum(tensor.nbytes for tensor in weights.values())
    finished = described(dict(manifest), files, Variant(file=WEIGHTS), size, folder)
    write(finished, files, folder)
    return finished
