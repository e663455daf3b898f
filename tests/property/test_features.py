"""The bulk encoder against the plain one, and what its cost depends on."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyruhvro
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from models.date_tokens import DateToken, words_of
from models.errors import FeatureError
from models.features import ClaimFeatures, FeatureSpec
from models.null import LineTotals
from models.row_features import RowFeatures, number
from models.vocabulary import Vocabulary

DATES: tuple[DateToken, ...] = (
    "lag",
    "service_weekday",
    "service_month",
    "received_weekday",
    "received_month",
)
SPEC = FeatureSpec(
    length=13, codes=3, token_attributes=("sex",), number_attributes=("age",), date_tokens=DATES, buckets=4
)
WORDS = [
    "type|a",
    "sex|f",
    "lag|0",
    "lag|negative",
    "service_weekday|1",
    "received_month|12",
    "code|icd|E1",
    "procedure|99213",
    "procedure|",
    "revenue|0450",
]
ARROW: pa.Schema = pyruhvro.avro_to_arrow_schema(json.dumps(schemas.load("claim_event")))

words = st.sampled_from(["E1", "E2", "99213", "0450", "", "x"])
days = st.dates(datetime.date(2000, 1, 1), datetime.date(2030, 1, 1))
amounts = st.one_of(st.floats(-1e7, 1e7), st.sampled_from([0.0, float("nan"), float("inf"), -1e300]))
claims = st.fixed_dictionaries(
    {
        "claim_id": st.just("c"),
        "claim_type": st.sampled_from(["a", "b"]),
        "member_id": st.just("m"),
        "provider_id": st.none(),
        "service_date": days,
        "received_date": st.one_of(st.none(), days),
        "codes": st.lists(
            st.fixed_dictionaries({"system": st.sampled_from(["icd", "s"]), "code": words}), max_size=5
        ),
        "lines": st.lists(
            st.fixed_dictionaries(
                {
                    "procedure_code": st.one_of(st.none(), words),
                    "revenue_code": st.one_of(st.none(), words),
                    "units": amounts,
                    "charge": amounts,
                }
            ),
            max_size=12,
        ),
        "attributes": st.lists(
            st.tuples(
                st.sampled_from(["sex", "age", "anomaly"]), st.sampled_from(["f", "41", "?", "nan", "1e99"])
            )
        ),
    }
)


def by_row(batch: pa.RecordBatch) -> dict[str, np.ndarray[Any, Any]]:
    features = ClaimFeatures(SPEC, WORDS)
    rows = RowFeatures(
        SPEC.token_attributes, SPEC.number_attributes, SPEC.codes, SPEC.length, Vocabulary(WORDS, 4), DATES
    )
    tensors = {name: np.zeros((len(batch), *c.shape), c.dtype) for name, c in features.columns.items()}
    for row, claim in enumerate(batch.to_pylist()):
        rows.encode(claim, row, tensors)
    return tensors


@given(st.lists(claims, max_size=8), st.integers(0, 3), st.integers(0, 8))
def test_bulk_and_row_by_row_agree(records: list[dict[str, Any]], start: int, count: int) -> None:
    batch = pa.RecordBatch.from_pylist(records, ARROW).slice(start, count)
    bulk, plain = ClaimFeatures(SPEC, WORDS, few=0).encode(batch), by_row(batch)
    assert bulk.keys() == plain.keys()
    for name, tensor in bulk.items():
        np.testing.assert_allclose(tensor, plain[name], rtol=1e-5, atol=1e-6, err_msg=name)


@given(st.lists(claims, min_size=2, max_size=6), st.sampled_from([0, 24]))
def test_no_claim_reaches_the_features_of_another(records: list[dict[str, Any]], few: int) -> None:
    batch = pa.RecordBatch.from_pylist(records, ARROW)
    for features in (ClaimFeatures(SPEC, WORDS, few=few), LineTotals()):
        together = features.encode(batch)
        alone = [features.encode(batch.slice(row, 1)) for row in range(len(batch))]
        for name, tensor in together.items():
            assert np.isfinite(tensor).all()
            np.testing.assert_array_equal(tensor, np.concatenate([one[name] for one in alone]), err_msg=name)


@pytest.mark.parametrize("text", ["", "?", "nan", "-inf", "1e999", "1000001", "1e38", None])
def test_what_is_no_plausible_number_counts_as_zero(text: str | None) -> None:
    assert number(text) == 0.0


@given(st.lists(claims, min_size=1, max_size=3))
def test_the_label_is_never_a_feature(records: list[dict[str, Any]]) -> None:
    without = [{**r, "attributes": [a for a in r["attributes"] if a[0] != "anomaly"]} for r in records]
    features = ClaimFeatures(SPEC, WORDS)
    one, other = (features.encode(pa.RecordBatch.from_pylist(r, ARROW)) for r in (records, without))
    assert all(np.array_equal(one[name], other[name]) for name in one)


class CountingWords(dict[str, int]):
    """A vocabulary that counts how often it is asked."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


@pytest.mark.parametrize("size", [100, 70_000])
def test_look_ups_grow_with_the_poll_and_not_with_the_vocabulary(size: int) -> None:
    vocabulary = Vocabulary([f"code|icd|{i}" for i in range(size)], buckets=8)
    counting = CountingWords(vocabulary._numbers)
    vocabulary._numbers = counting
    codes = pa.array([f"icd|{i % 20}" for i in range(2_000)])
    tokens = vocabulary.tokens("code", codes)
    assert counting.asked == 20
    assert len(np.unique(tokens)) == 20


def test_unknown_words_share_the_buckets_and_null_is_padding() -> None:
    vocabulary = Vocabulary(["code|a"], buckets=8)
    tokens = vocabulary.tokens("code", pa.array(["a", None, *(f"new{i}" for i in range(100))]))
    assert tokens[:2].tolist() == [9, 0]
    assert set(tokens[2:].tolist()) <= set(range(1, 9))


def test_a_missing_column_is_named() -> None:
    batch = pa.RecordBatch.from_pydict({"claim_type": ["a"]})
    with pytest.raises(FeatureError, match="'attributes', 'codes', 'lines'"):
        ClaimFeatures(SPEC, WORDS).encode(batch)


@pytest.mark.parametrize(
    ("service", "received", "words"),
    [
        ("2013-12-30", "2014-01-05", ["lag|6", "1", "12", "7", "1"]),
        ("2012-02-29", "2012-02-28", ["lag|negative", "3", "2", "2", "2"]),
        ("1969-12-31", "1971-09-30", ["lag|512", "3", "12", "4", "9"]),
        ("2020-05-01", "2020-05-10", ["lag|8", "5", "5", "7", "5"]),
        ("2020-05-01", None, ["5", "5"]),
    ],
)
def test_dates_become_words(service: str, received: str | None, words: list[str]) -> None:
    dates = (datetime.date.fromisoformat(text) if text else None for text in (service, received))
    found = list(words_of(DATES, *dates))  # type: ignore[arg-type]
    assert [word if word.startswith("lag") else word.split("|")[1] for word in found] == words


def test_a_spec_without_date_tokens_is_written_as_before() -> None:
    plain = FeatureSpec(length=10, codes=3, buckets=4)
    assert "date_tokens" not in plain.model_dump()
    assert "date_tokens" in SPEC.model_dump()
    assert FeatureSpec.model_validate_json(SPEC.model_dump_json()) == SPEC
