"""From a version's folder to a model that scores."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from models import artifact
from models.backends.pytorch import ClaimsTransformer, TransformerShape
from models.errors import ArtifactError, ManifestError, UnavailableError
from models.features import AMOUNTS, ClaimFeatures
from models.manifest import Manifest, read_manifest
from models.runner import TransformerModel

WEIGHTS = "model.safetensors"
VOCABULARY = "vocabulary.json"


def load(folder: Path, *, precision: str = "fp32", threads: int | None = None) -> TransformerModel:
    """Verify and load the version in `<name>/<version>`; `threads` are those of one forward pass."""
    if threads is not None:
        torch.set_num_threads(threads)
    manifest = read_manifest(folder)
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise ManifestError(
            f"{folder}: its manifest is that of {manifest.name} {manifest.version}; push it anew"
        )
    if precision != manifest.precision:
        raise UnavailableError(
            f"{manifest.name} {manifest.version} has no precision {precision!r}; it has {manifest.precision}"
        )
    content = {name: artifact.verified(folder, name, digest) for name, digest in manifest.files.items()}
    if missing := {WEIGHTS, VOCABULARY} - set(content):
        raise ArtifactError(f"{folder}: the manifest lists no {', '.join(sorted(missing))}")
    features = ClaimFeatures(manifest.features, vocabulary(content[VOCABULARY], folder / VOCABULARY))
    network = ClaimsTransformer(network_shape(manifest, features))
    try:
        network.load_state_dict(artifact.tensors(content[WEIGHTS], WEIGHTS))
    except RuntimeError as error:
        raise ArtifactError(f"{folder / WEIGHTS}: not the tensors of this architecture: {error}") from error
    return TransformerModel(manifest, features, network)


def vocabulary(content: bytes, path: Path) -> list[str]:
    """Words of a vocabulary file. Raises ArtifactError when it is not a list of distinct strings."""
    try:
        words = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not JSON: {error}") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ArtifactError(f"{path}: not a list of words")
    if len(set(words)) != len(words):
        raise ArtifactError(f"{path}: it holds a word twice")
    return words


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
