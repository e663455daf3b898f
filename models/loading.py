"""From the verified files of a version to a model that scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from models import artifact
from models.backends.factors import ClaimsFactors, FactorsShape
from models.backends.pytorch import ClaimsTransformer, TransformerShape
from models.devices import told_apart
from models.digests import check_chunks
from models.errors import ArtifactError, ManifestError, UnavailableError
from models.features import AMOUNTS, ClaimFeatures
from models.manifest import Architecture, Factors, Manifest, Variant, read_manifest
from models.release import Content
from models.runner import TransformerModel
from models.verification import check_features
from models.vocabulary import FILE as VOCABULARY
from models.vocabulary import parsed

WEIGHTS = "model.safetensors"


def load(
    folder: Path, *, precision: str = "fp32", device: str = "cpu", threads: int | None = None
) -> TransformerModel:
    """Verify and build the version in `<name>/<version>`. Raises what `build` raises, ManifestError."""
    manifest = read_manifest(folder)
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise ManifestError(
            f"{folder}: its manifest is that of {manifest.name} {manifest.version}; push it anew"
        )
    content = {name: artifact.read(folder, name, file.bytes) for name, file in manifest.files.items()}
    for name, data in content.items():
        check_chunks(data, manifest.files[name].chunks, str(folder / name))
    return build(manifest, content, precision=precision, device=device, threads=threads)


def build(
    manifest: Manifest,
    content: Content,
    *,
    precision: str = "fp32",
    device: str = "cpu",
    threads: int | None = None,
) -> TransformerModel:
    """A model whose weights, on a CPU, are views of `content`, which was checked and stays as it is.

    `threads` are those of one forward pass on a CPU, for the whole process.
    Raises UnavailableError for a precision that the version lacks, ArtifactError for files that contradict it, and
    MemoryError or DeviceError where the device is to blame.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    variant = next((found for name, found in manifest.precisions.items() if name == precision), None)
    if variant is None:
        raise UnavailableError(
            f"{manifest.name} {manifest.version} has no precision {precision!r}; "
            f"it has {', '.join(manifest.precisions)}"
        )
    label = f"{manifest.name} {manifest.version}"
    if VOCABULARY not in content:
        raise ArtifactError(f"{label}: the manifest lists no {VOCABULARY}; push it with one")
    words = parsed(bytes(content[VOCABULARY]), f"{label}: {VOCABULARY}")
    check_features(manifest, words, label)
    features = ClaimFeatures(manifest.features, words)
    with told_apart(device):
        network = _network(manifest, features, variant, content, label, device)
        return TransformerModel(manifest, features, network.to(device), precision, device)


def _network(
    manifest: Manifest, features: ClaimFeatures, variant: Variant, content: Content, label: str, device: str
) -> torch.nn.Module:
    """On the device already if it is a program, which says itself where it makes its tensors."""
    data, name = content[variant.file], f"{label}: {variant.file}"
    if variant.kind == "pt2":
        return artifact.program(data, name, device)
    with _Unwritten(), torch.device("meta"):
        network = new_network(manifest, features)
    try:
        network.load_state_dict(artifact.tensors(data, name), assign=True)
    except RuntimeError as error:
        raise ArtifactError(f"{name}: not the tensors of this architecture: {error}") from error
    return network


def new_network(manifest: Manifest, features: ClaimFeatures) -> ClaimsTransformer | ClaimsFactors:
    """A network of the type and the sizes that a manifest declares, not trained."""
    sizes = manifest.architecture
    if isinstance(sizes, Factors):
        shape = FactorsShape(features.size, AMOUNTS, manifest.features.numbers, **sizes.model_dump())
        return ClaimsFactors(shape)
    return ClaimsTransformer(network_shape(manifest, features))


def network_shape(manifest: Manifest, features: ClaimFeatures) -> TransformerShape:
    """Sizes of the transformer that a manifest and its vocabulary ask for."""
    sizes = manifest.architecture
    assert isinstance(sizes, Architecture)
    return TransformerShape(
        vocabulary=features.size,
        amounts=AMOUNTS,
        numbers=manifest.features.numbers,
        width=sizes.width,
        heads=sizes.heads,
        layers=sizes.layers,
    )


class _Unwritten(TorchFunctionMode):
    """Leaves new parameters as they are: on the device `meta`, initializing them imports a compiler for seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", "") == torch.nn.init.__name__:
            return None
        return func(*args, **(kwargs or {}))
