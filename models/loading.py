"""From a version's folder to a model that scores."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from models import artifact
from models.backends.pytorch import ClaimsTransformer, TransformerShape
from models.errors import ArtifactError
from models.features import AMOUNTS, ClaimFeatures
from models.manifest import Manifest, read_manifest
from models.runner import TransformerModel

WEIGHTS = "model.safetensors"
VOCABULARY = "vocabulary.json"


def load(folder: Path, *, threads: int | None = None) -> TransformerModel:
    """Verify and load the version in a folder; `threads` are those of one forward pass."""
    if threads is not None:
        torch.set_num_threads(threads)
    manifest = read_manifest(folder)
    content = {name: artifact.verified(folder, name, digest) for name, digest in manifest.files.items()}
    if missing := {WEIGHTS, VOCABULARY} - set(content):
        raise ArtifactError(f"{folder}: the manifest lists no {', '.join(sorted(missing))}")
    words: list[str] = json.loads(content[VOCABULARY])
    features = ClaimFeatures(manifest.features, words)
    network = ClaimsTransformer(network_shape(manifest, features))
    try:
        network.load_state_dict(artifact.tensors(content[WEIGHTS], WEIGHTS))
    except RuntimeError as error:
        raise ArtifactError(f"{folder / WEIGHTS}: not the tensors of this architecture: {error}") from error
    return TransformerModel(manifest, features, network)


def network_shape(manifest: Manifest, features: ClaimFeatures) -> TransformerShape:
    """Sizes of the network that a manifest and its vocabulary ask for."""
    sizes = manifest.architecture
    return TransformerShape(
        vocabulary=features.size,
        amounts=AMOUNTS,
        numbers=manifest.features.numbers,
        width=sizes.width,
        heads=sizes.heads,
        layers=sizes.layers,
    )
