"""Micro-batches of several chunks: which claims share one, and that scores come back in the order of the claims."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import open_model
from models.manifest import read_manifest
from models.protocols import Model
from models.repository import SHIPPED
from models.runner import TransformerModel
from stream.publishing import generate

SIZES = [0, 1, 128, 129, 700]
MOST = max(SIZES)

Batch = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model("claims_filter_v2.1", threads=1)


@pytest.fixture(scope="module")
def claims(model: Model) -> Batch:
    return model.features.encode(next(iter(generate(MOST, 5))))


def cut(claims: Batch, size: int, seed: int) -> Batch:
    """So many of the claims, in random order, each with random tokens of its own missing, most of them at the end."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(MOST)[:size]
    batch = {name: column[rows] for name, column in claims.items()}
    gone = np.arange(batch["token"].shape[1]) >= rng.integers(1, 25, size)[:, None]
    for name in ("token", "revenue", "amount"):
        batch[name][gone] = 0
    batch["token"][:, 1:][rng.random((size, batch["token"].shape[1] - 1)) < 0.05] = 0
    return batch


def last(token: np.ndarray[Any, Any]) -> list[int]:
    """How many tokens each row has up to its last one."""
    return [int(np.flatnonzero(row).max()) + 1 for row in token]


class Spy(torch.nn.Module):
    """Scores a claim with its first number; notes the tokens of each chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[np.ndarray[Any, Any]] = []

    def forward(self, token: torch.Tensor, _revenue: object, _amount: object, number: torch.Tensor) -> Any:
        self.chunks.append(token.numpy())
        return number[:, 0]


@given(st.sampled_from(SIZES), st.integers(0, 2**32))
def test_claims_in_chunks_score_as_they_do_in_small_batches(
    model: Model, claims: Batch, size: int, seed: int
) -> None:
    batch = cut(claims, size, seed)
    scores = model.score(batch)
    parts = [
        model.score({k: v[start : start + 100] for k, v in batch.items()}) for start in range(0, size, 100)
    ]
    assert scores.shape == (size,)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.concatenate([*parts, np.empty(0)]), atol=1e-5)


@given(st.sampled_from(SIZES), st.integers(0, 2**32))
def test_chunks_rise_in_length_and_are_cut_to_their_longest(
    model: TransformerModel, claims: Batch, size: int, seed: int
) -> None:
    batch, spy = cut(claims, size, seed), Spy()
    spied = TransformerModel(read_manifest(SHIPPED / "claims_filter" / "2.1.0"), model.features, spy)
    np.testing.assert_allclose(spied.score(batch), 1 / (1 + np.exp(-batch["number"][:, 0])), atol=1e-6)
    lengths = [last(chunk) for chunk in spy.chunks]
    assert sorted(chain.from_iterable(lengths)) == sorted(last(batch["token"]))
    assert [chunk.shape[1] for chunk in spy.chunks] == [max(each) for each in lengths]
    assert all(max(shorter) <= min(longer) for shorter, longer in pairwise(lengths))
    assert max(map(len, lengths), default=0) <= 128


def test_a_batch_of_one_chunk_is_taken_as_it_is(model: TransformerModel, claims: Batch) -> None:
    batch, spy = cut(claims, 128, 1), Spy()
    TransformerModel(read_manifest(SHIPPED / "claims_filter" / "2.1.0"), model.features, spy).score(batch)
    (chunk,) = spy.chunks
    np.testing.assert_array_equal(chunk, batch["token"][:, : chunk.shape[1]])
