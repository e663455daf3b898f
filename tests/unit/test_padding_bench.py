"""The benchmark of padding: it compares equal things, and counts and fits by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.batching.padding import (
    _check_equal,
    _Dense,
    _error,
    _heavy,
    _lengths,
    _Programs,
    _programs,
    _shares,
)
from models.backends.pytorch import ClaimsTransformer
from models.loading import network_shape


@pytest.fixture(scope="module")
def programs() -> _Programs:
    return _programs()


def test_the_dense_forward_scores_as_the_model_does(programs: _Programs) -> None:
    _check_equal(programs)
    few = {name: column[:300] for name, column in programs.claims.items()}
    whole, chunks = programs.dense.score(few), programs.dense.score_in_chunks(few)
    np.testing.assert_allclose(whole, chunks, atol=1e-4)


def test_a_dense_forward_of_other_weights_is_refused(programs: _Programs) -> None:
    torch.manual_seed(1)
    other = ClaimsTransformer(network_shape(programs.manifest, programs.model.features))
    with pytest.raises(RuntimeError, match="the dense forward differs from the model by 0"):
        _check_equal(replace(programs, dense=_Dense(other)))


def test_shares_of_padding_by_hand(programs: _Programs) -> None:
    """256 claims of one token around 256 of nine; a batch of 128 has both or only one kind."""
    token = np.zeros((512, 24), np.int32)
    token[:, 0] = 1
    token[64:320, :9] = 1
    claims = {name: column[:512] for name, column in programs.claims.items()} | {"token": token}
    found = {figure.name: figure.value for figure in _shares(replace(programs, claims=claims))}
    real, largest = 256 * 1 + 256 * 9, 512 * 9
    assert found["padding_dense_512"] == pytest.approx(1 - real / largest)
    assert found["padding_attention_512"] == 0.0
    mixed = pytest.approx(1 - real / (3 * 128 * 9 + 128))
    assert found["padding_dense_128"] == found["padding_attention_128"] == mixed


def test_a_heavy_tail_keeps_each_claim_and_repeats_its_last_line(programs: _Programs) -> None:
    claims, longer = programs.claims, _heavy(programs.claims)
    own, lengths = _lengths(claims), _lengths(longer)
    assert (lengths >= own).all()
    assert np.mean(lengths > own) > 0.1
    assert np.quantile(lengths / np.median(lengths), 0.99) > np.quantile(own / np.median(own), 0.99)
    last = np.arange(len(own)), own - 1
    for name in ("token", "revenue", "amount"):
        for row in range(50):
            np.testing.assert_array_equal(longer[name][row, : own[row]], claims[name][row, : own[row]])
        end = longer[name][np.arange(len(own)), lengths - 1]
        np.testing.assert_array_equal(end, claims[name][last])
    np.testing.assert_array_equal(longer["number"], claims["number"])


def test_tokens_predict_what_they_cost() -> None:
    rng = np.random.default_rng(1)
    ones, sizes = np.ones(200), rng.integers(1, 513, 200).astype(float)
    tokens = sizes * rng.uniform(3, 12, 200)
    seconds = 1 + 2 * sizes + 3 * tokens
    assert _error(np.stack([ones, sizes, tokens], 1), seconds) == pytest.approx(0.0, abs=1e-9)
    assert _error(np.stack([ones, sizes], 1), seconds) > 0.05
