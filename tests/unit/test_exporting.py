"""A network becomes a version: what is written, and what breaks the contract and is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import FeatureSpec, export_version, open_model
from models.errors import ArtifactError, ManifestError
from models.manifest import Manifest

SPEC = FeatureSpec(length=6, codes=2, number_attributes=("age",), buckets=3)
WORDS = ["type|professional", "procedure|99213"]


class Sum(torch.nn.Module):
    """Adds a number a word; `fault` is what it does wrong."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.word = torch.nn.Embedding(1 + SPEC.buckets + len(WORDS), 1, padding_idx=0)
        self.fault = fault

    def forward(self, token: Tensor, revenue: Tensor, amount: Tensor, number: Tensor) -> Tensor:
        logits = (
            self.word(token).sum((1, 2)) + self.word(revenue).sum((1, 2)) + amount.sum((1, 2)) + number.sum(1)
        )
        if self.fault == "a column":
            return logits.unsqueeze(1)
        if self.fault == "padding":
            return logits + (token == 0).sum(1)
        if self.fault == "its neighbours":
            return logits - logits.mean()
        if self.fault == "no number":
            return logits * torch.inf - torch.inf
        if self.fault == "one length":
            return logits + (token.float() @ torch.ones(SPEC.length))
        if self.fault == "random":
            return logits + torch.rand_like(logits)
        return logits


def exported(folder: Path, network: torch.nn.Module, **fields: Any) -> Manifest:
    given = {"name": "sum", "version": "1.2.3", "features": SPEC, "words": WORDS, "data": "a test"}
    return export_version(network, folder, **(given | fields))


def test_a_network_is_written_as_a_version_that_opens_and_scores_as_it_does(tmp_path: Path) -> None:
    network = Sum().eval()
    manifest = exported(
        tmp_path / "sum" / "1.2.3", network, threshold=0.25, decisions=("yes", "no"), metrics={"auc": 0.5}
    )
    assert (manifest.type, manifest.threshold, manifest.decisions) == ("exported", 0.25, ("yes", "no"))
    assert "architecture" not in json.loads((tmp_path / "sum" / "1.2.3" / "manifest.json").read_text())
    model = open_model("sum", repository=tmp_path)
    rows = {name: np.ones((300, *c.shape), c.dtype) for name, c in model.features.columns.items()}
    with torch.inference_mode():
        wanted = torch.sigmoid(network(*map(torch.from_numpy, rows.values())))
    np.testing.assert_allclose(model.score(rows), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("a column", r"gives \(1, 1\) for one claim"),
        ("padding", "score otherwise together than alone"),
        ("its neighbours", "score otherwise together than alone"),
        ("no number", "score otherwise together than alone"),
        ("one length", "cannot export the network for any number of claims and any length up to 6"),
        ("random", "an operator that is not run here .*rand_like"),
    ],
)
def test_a_network_that_breaks_the_contract_is_refused_and_nothing_written(
    tmp_path: Path, fault: str, said: str
) -> None:
    with pytest.raises(ArtifactError, match=said):
        exported(tmp_path / "folder", Sum(fault).eval())
    assert not (tmp_path / "folder").exists()


def test_a_network_in_training_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="in training mode"):
        exported(tmp_path, Sum())


@pytest.mark.parametrize(
    ("field", "value"), [("name", "Sum"), ("version", "1.2"), ("colour", "red"), ("threshold", 2)]
)
def test_a_field_that_no_manifest_has_is_named(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(ManifestError, match=rf"manifest\.json: {field}: "):
        exported(tmp_path, Sum().eval(), **{field: value})
