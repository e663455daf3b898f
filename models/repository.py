"""Versions in folders, found by the names that people write."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

import torch

from models import artifact
from models.backends.pytorch import ClaimsTransformer, TransformerShape
from models.errors import ArtifactError, UnknownModelError
from models.features import AMOUNTS, ClaimFeatures
from models.manifest import FILE, Manifest, read_manifest
from models.null import NAME as NULL
from models.null import NullModel
from models.protocols import Model
from models.runner import TransformerModel

SHIPPED = Path(__file__).parent / "shipped"
WEIGHTS = "model.safetensors"
VOCABULARY = "vocabulary.json"

_VERSION_INSIDE = re.compile(r"^(?P<name>.+?)(?:_v(?P<prefix>\d+(?:\.\d+)*)|:(?P<exact>\d+\.\d+\.\d+))?$")


def open_model(name: str, *, repository: Path | None = None, threads: int | None = None) -> Model:
    """A verified model, ready to score.

    `null` is built in; `claims_filter` is its newest version, `claims_filter_v2.1` the newest 2.1.x,
    `claims_filter:2.1.0` that one. Raises UnknownModelError naming the nearest, ManifestError or ArtifactError.
    """
    if name == NULL:
        return NullModel()
    if threads is not None:
        torch.set_num_threads(threads)
    return load(resolve(name, repository or SHIPPED))


def resolve(name: str, repository: Path) -> Path:
    """Folder of the version that a name means."""
    match = _VERSION_INSIDE.match(name)
    wanted = match["exact"] or match["prefix"] or "" if match else ""
    folder = repository / (match["name"] if match else name)
    versions = [
        f
        for f in folder.glob("*")
        if (f / FILE).is_file() and f"{f.name}.".startswith(f"{wanted}." if wanted else "")
    ]
    if not versions:
        known = [NULL, *_known(repository)]
        near = difflib.get_close_matches(name, known, 3, 0.0)
        raise UnknownModelError(f"no model {name!r} in {repository}; the nearest are {', '.join(near)}")
    return max(versions, key=lambda version: tuple(map(int, version.name.split("."))))


def load(folder: Path) -> TransformerModel:
    """Verify and load the version in a folder."""
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


def _known(repository: Path) -> list[str]:
    return sorted(
        f"{f.parent.name}_v{'.'.join(f.name.split('.')[:2])}"
        for f in repository.glob("*/*")
        if (f / FILE).is_file()
    )
