"""What every model must do, whatever it is made of."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from models import Model, open_model
from stream.publishing import generate


@pytest.fixture(scope="module", params=["null", "claims_filter_v2.1"])
def model(request: pytest.FixtureRequest) -> Model:
    return open_model(request.param, threads=1)


@pytest.fixture(scope="module")
def claims() -> pa.RecordBatch:
    return next(iter(generate(300, 11)))


def test_tensors_have_the_declared_shapes(model: Model, claims: pa.RecordBatch) -> None:
    tensors = model.features.encode(claims)
    assert tensors.keys() == model.features.columns.keys()
    for name, column in model.features.columns.items():
        assert tensors[name].shape == (300, *column.shape)
        assert tensors[name].dtype == column.dtype


def test_scores_are_shares_and_decisions_follow_them(model: Model, claims: pa.RecordBatch) -> None:
    scores = model.score(model.features.encode(claims))
    assert scores.dtype == np.float32
    assert scores.shape == (300,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.std() > 0.01
    decisions = model.decide(scores)
    assert set(decisions.tolist()) <= set(range(len(model.decisions)))
    assert scores[decisions == 1].min() > scores[decisions == 0].max()


@pytest.mark.parametrize("charge", [float("nan"), float("inf"), -float("inf"), 1e300, -1e18])
def test_an_impossible_charge_costs_only_its_own_claim(
    model: Model, claims: pa.RecordBatch, charge: float
) -> None:
    records = claims.to_pylist()
    records[50]["lines"][0]["charge"] = charge
    spoiled = model.score(model.features.encode(pa.RecordBatch.from_pylist(records, claims.schema)))
    whole = model.score(model.features.encode(claims))
    others = np.arange(300) != 50
    np.testing.assert_allclose(spoiled[others], whole[others], atol=1e-5)
    assert 0.0 <= spoiled[50] <= 1.0


@pytest.mark.parametrize("size", [1, 7, 64])
def test_no_claim_depends_on_its_batch(model: Model, claims: pa.RecordBatch, size: int) -> None:
    tensors = model.features.encode(claims)
    whole = model.score(tensors)
    parts = [model.score({k: v[i : i + size] for k, v in tensors.items()}) for i in range(0, 300, size)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_the_same_batch_gives_the_same_bytes(model: Model, claims: pa.RecordBatch) -> None:
    tensors = model.features.encode(claims)
    assert model.score(tensors).tobytes() == model.score(tensors).tobytes()


def test_an_empty_batch_has_no_scores(model: Model, claims: pa.RecordBatch) -> None:
    assert model.score(model.features.encode(claims.slice(0, 0))).shape == (0,)


def test_warm_up_accepts_any_size(model: Model) -> None:
    model.warm_up([1, 33])
    assert model.identity.name in {"null", "claims_filter"}
