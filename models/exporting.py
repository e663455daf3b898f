"""A network of one's own becomes a version: exported, tried as the stage runs it, written into a folder to push."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.errors import ArtifactError
from models.features import ClaimFeatures, FeatureSpec
from models.manifest import Manifest, Variant
from models.version_folder import described, write
from models.vocabulary import FILE as VOCABULARY

if TYPE_CHECKING:
    import torch

PROGRAM = "model.pt2"

_MOST_CLAIMS = 1 << 20
_EXAMPLE = 5
_CLOSE = 1e-4
_SEED = 7

Inputs = dict[str, npt.NDArray[Any]]


def export_version(
    network: torch.nn.Module,
    folder: Path,
    *,
    name: str,
    version: str,
    features: FeatureSpec,
    words: Sequence[str],
    data: str,
    **fields: Any,
) -> Manifest:
    """Write the version's folder, over what is there: the network as an exported program, vocabulary, manifest.

    `network(token, revenue, amount, number)`, on the CPU and in eval mode, gives logits (n,); a claim's score is
    sigmoid(logit). Inputs, of n claims and l tokens, 1 to `features.length`, are those that
    `ClaimFeatures(features, words)` makes: token and revenue (n, l) int32, amount (n, l, 2) float32,
    number (n, features.numbers) float32. A claim's tokens are followed by zeros, as many as the longest claim beside
    it asks for: no logit may depend on them, nor on other claims.
    `data` says what it was trained on; `fields` are others of the manifest, such as threshold, licence, decisions and
    metrics.

    Raises ArtifactError for a network that cannot be exported or that scores otherwise than the contract says,
    ManifestError that names the field.
    """
    encoder = ClaimFeatures(features, words)
    draft = {
        "threshold": 0.5,
        "licence": "not stated",
        **fields,
        "name": name,
        "version": version,
        "type": "exported",
        "features": features,
        "features_digest": encoder.digest,
        "data": data,
    }
    files = {
        PROGRAM: _exported(network, encoder, features.length),
        VOCABULARY: json.dumps(list(words), indent=0).encode(),
    }
    size = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    manifest = described(draft, files, Variant(file=PROGRAM, kind="pt2"), size, folder)
    _try(network, manifest, files)
    write(manifest, files, folder)
    return manifest


def _exported(network: torch.nn.Module, encoder: ClaimFeatures, length: int) -> bytes:
    import torch

    if network.training:
        raise ArtifactError(
            "the network is in training mode, in which dropout and norms differ: call eval() first"
        )
    n, tokens = torch.export.Dim("n", min=1, max=_MOST_CLAIMS), torch.export.Dim("tokens", min=1, max=length)
    by_token = {0: n, 1: tokens}
    example = _claims(encoder, np.full(_EXAMPLE, length))
    try:
        program = torch.export.export(
            network, _tensors(example), dynamic_shapes=(by_token, by_token, by_token, {0: n})
        )
        file = io.BytesIO()
        torch.export.save(program, file)
    except Exception as error:
        raise ArtifactError(
            f"torch.export cannot export the network for any number of claims and any length up to {length}: {error}"
        ) from error
    return file.getvalue()


def _try(network: torch.nn.Module, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raises ArtifactError when the stage would score otherwise than the network does, claim by claim."""
    import torch

    from models.loading import build

    model = build(manifest, {name: memoryview(bytearray(content)) for name, content in files.items()})
    for lengths in _batches(manifest.features.length):
        claims = _claims(model.features, lengths)
        with torch.inference_mode():
            alone = [network(*_tensors(_row(claims, row, length))) for row, length in enumerate(lengths)]
        if any(tuple(each.shape) != (1,) for each in alone):
            raise ArtifactError(
                f"the network gives {tuple(alone[0].shape)} for one claim; logits of shape (n,) are wanted"
            )
        wanted = torch.sigmoid(torch.cat(alone)).numpy()
        if not np.allclose(model.score(claims), wanted, rtol=0, atol=_CLOSE):
            raise ArtifactError(
                f"claims of {', '.join(map(str, lengths))} tokens score otherwise together than alone: let no logit "
                "depend on padding (token 0) nor on other claims, and keep every logit finite"
            )


def _batches(length: int) -> Iterator[npt.NDArray[np.int64]]:
    """Lengths of the claims of a batch: one of each extreme, and some together."""
    yield np.array([1])
    yield np.array([length])
    yield np.linspace(1, length, _EXAMPLE + 2).astype(np.int64)


def _claims(encoder: ClaimFeatures, lengths: npt.NDArray[np.int64]) -> Inputs:
    """Claims of any words; what lies behind a claim's last token is zero, as in those that are encoded."""
    chance = np.random.default_rng(_SEED)
    shapes = {name: (len(lengths), *column.shape) for name, column in encoder.columns.items()}
    real = np.arange(shapes["token"][1]) < lengths[:, None]
    token, revenue = (chance.integers(1, encoder.size, shapes["token"], np.int32) for _ in range(2))
    amount, number = (chance.random(shapes[name], np.float32) for name in ("amount", "number"))
    return {
        "token": token * real,
        "revenue": revenue * real,
        "amount": amount * real[..., None],
        "number": number,
    }


def _row(claims: Inputs, row: int, length: int) -> Inputs:
    """One claim without padding."""
    return {
        name: part[row : row + 1] if name == "number" else part[row : row + 1, :length]
        for name, part in claims.items()
    }


def _tensors(claims: Inputs) -> tuple[torch.Tensor, ...]:
    import torch

    return tuple(torch.from_numpy(part) for part in claims.values())
