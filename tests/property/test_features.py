"""The bulk encoder against the plain one, and what its cost depends on."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
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
from models.row_features import number
from models.vocabulary import Vocabulary, lengths
from stream.codec import Decoder
from stream.codec.framing import single_object_prefix
from stream.publishing import generate

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
# The same, but that null may be anywhere.
NULLABLE = pa.schema(
    [*ARROW.remove(ARROW.get_field_index("attributes")), ("attributes", pa.map_(pa.string(), pa.string()))]
)
EVENT = schemas.load("claim_event")
EVENT_ATTRIBUTES = ARROW.field("attributes").type
PREFIX = single_object_prefix(EVENT)
LINE: pa.StructType = ARROW.field("lines").type.value_type

words = st.sampled_from(["E1", "E2", "99213", "0450", "", "x"])
# Avro's dates are any 32 bits; Python's end with the year 9999.
days = st.one_of(st.integers(10_957, 21_915), st.integers(-(2**31), 2**31 - 1))
amounts = st.one_of(st.floats(-1e7, 1e7), st.sampled_from([0.0, float("nan"), float("inf"), -1e300]))
names = st.sampled_from(["sex", "age", "anomaly"])
values = st.sampled_from(["f", "41", "?", "nan", "1e99"])

Optional = Callable[[st.SearchStrategy[Any]], st.SearchStrategy[Any]]


def nullable(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


def claims_of(optional: Optional) -> st.SearchStrategy[dict[str, Any]]:
    """Claims of a reader schema that has null wherever `optional` puts it."""
    code = st.fixed_dictionaries(
        {"system": optional(st.sampled_from(["icd", "s", ""])), "code": optional(words)}
    )
    line = st.fixed_dictionaries(
        {
            "procedure_code": nullable(words),
            "revenue_code": nullable(words),
            "units": optional(amounts),
            "charge": optional(amounts),
        }
    )
    return st.fixed_dictionaries(
        {
            "claim_id": st.just("c"),
            "claim_type": optional(st.sampled_from(["a", "b"])),
            "member_id": st.just("m"),
            "provider_id": st.none(),
            "service_date": optional(days),
            "received_date": nullable(days),
            "codes": optional(st.lists(optional(code), max_size=5)),
            "lines": optional(st.lists(optional(line), max_size=12)),
            "attributes": optional(st.lists(st.tuples(names, optional(values)))),
        }
    )


claims = claims_of(lambda strategy: strategy)


def assert_agree(batch: pa.RecordBatch) -> dict[str, Any]:
    """Both encoders give the same, and no claim has a gap among its tokens."""
    bulk, plain = (ClaimFeatures(SPEC, WORDS, few=few).encode(batch) for few in (0, len(batch)))
    assert bulk.keys() == plain.keys()
    for name, tensor in bulk.items():
        np.testing.assert_allclose(tensor, plain[name], rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(lengths(bulk["token"]), np.count_nonzero(bulk["token"], axis=1))
    return bulk


@given(st.lists(claims_of(nullable), max_size=8), st.integers(0, 3), st.integers(0, 8))
def test_bulk_and_row_by_row_agree(records: list[dict[str, Any]], start: int, count: int) -> None:
    assert_agree(pa.RecordBatch.from_pylist(records, NULLABLE).slice(start, count))


def test_null_counts_as_what_is_not_there() -> None:
    line = {"procedure_code": None, "revenue_code": None, "units": 0.0, "charge": 0.0}
    full = {"claim_type": "a", "service_date": 9, "received_date": None, "attributes": [("age", "41")]}
    full |= {"codes": [{"system": "icd", "code": ""}], "lines": [line, line | {"charge": 5.0}]}
    nulls = full | {"attributes": [("sex", "f"), ("age", "7"), ("sex", None), ("age", "41")]}
    nulls |= {"codes": [{"system": "icd", "code": None}]}
    nulls |= {"lines": [None, {"charge": 5.0, "units": None, "procedure_code": None, "revenue_code": None}]}
    empty = full | {"claim_type": "", "attributes": [], "codes": [], "lines": []}
    absent = empty | {"claim_type": None, "attributes": None, "codes": None, "lines": None}
    records = [{"claim_id": "c", "member_id": "m"} | claim for claim in (full, nulls, empty, absent)]
    for tensor in assert_agree(pa.RecordBatch.from_pylist(records, NULLABLE)).values():
        np.testing.assert_array_equal(tensor[::2], tensor[1::2])


def twice(age: int, first: str, last: str) -> bytes:
    """A framed claim whose map has a name two times."""
    texts = ("c", "a", "m")
    start = b"".join(b"\x02" + text.encode() for text in texts) + bytes(5)
    entries = (("sex", first), ("age", str(age)), ("sex", last))
    written = [b"\x06" + name.encode() + b"\x02" + value.encode() for name, value in entries]
    return PREFIX + start + b"\x06" + b"".join(written) + b"\x00"


@pytest.mark.parametrize("count", [1, 40])
def test_a_name_that_is_there_twice_has_its_last_value_whoever_the_neighbours_are(count: int) -> None:
    given_values = [twice(row % 10, "x" if row % 3 else "m", "f") for row in range(count)]
    alike, by_reference = Decoder(EVENT), Decoder(EVENT)
    by_reference._by_fingerprint[PREFIX]._fast = None
    fast, exact = (decoder.decode(given_values).claims for decoder in (alike, by_reference))
    sizes = [{len(each) for each in claims.column("attributes").to_pylist()} for claims in (fast, exact)]
    assert sizes == [{3}, {2}]
    once = pa.array([[("sex", "f"), ("age", str(row % 10))] for row in range(count)], EVENT_ATTRIBUTES)
    wanted = exact.set_column(exact.schema.get_field_index("attributes"), "attributes", once)
    for start in (0, count // 3):
        expected = assert_agree(wanted.slice(start))
        for claims in (fast, exact):
            found = assert_agree(claims.slice(start))
            for name, tensor in expected.items():
                np.testing.assert_array_equal(found[name], tensor, err_msg=name)


def test_what_lies_beneath_a_null_is_not_read() -> None:
    batch = pa.RecordBatch.from_pylist([next(iter(generate(1, 3))).to_pylist()[0]] * 2, NULLABLE)
    lines = batch.column("lines")
    fields = [lines.values.field(place) for place in range(lines.values.type.num_fields)]
    hidden = pa.StructArray.from_arrays(
        fields, names=[*LINE.names], mask=pa.array([True] * len(lines.values))
    )
    covered = pa.ListArray.from_arrays(lines.offsets, hidden)
    tensors = assert_agree(batch.set_column(batch.schema.get_field_index("lines"), "lines", covered))
    assert tensors["number"][:, 0].tolist() == [0.0, 0.0]
    assert not tensors["revenue"].any()
    gone = pa.ListArray.from_arrays(lines.offsets, lines.values, mask=pa.array([True, False]))
    tensors = assert_agree(batch.set_column(batch.schema.get_field_index("lines"), "lines", gone))
    assert tensors["number"][0, 1] == 0.0 < tensors["number"][1, 1]


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.float32(), pa.decimal128(12, 2)])
def test_amounts_of_other_types_are_read_alike(kind: pa.DataType) -> None:
    line = pa.struct([(f.name, kind if f.name in ("units", "charge") else f.type) for f in LINE])
    (batch,) = generate(5, 3)
    lines = [
        [{**each, "units": 2, "charge": None} for each in claim]
        for claim in batch.column("lines").to_pylist()
    ]
    lines[0] = [lines[0][0] | {"charge": -7}] * 2
    if pa.types.is_integer(kind):
        lines[1][0]["charge"] = -(2 ** (kind.bit_width - 1))
    column = pa.array(lines, pa.list_(line))
    assert_agree(batch.set_column(batch.schema.get_field_index("lines"), "lines", column))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("service_date", pa.timestamp("ms")),
        ("claim_type", pa.date32()),
        ("attributes", pa.map_(pa.string(), pa.date32())),
    ],
)
def test_columns_that_python_may_not_hold_are_refused(name: str, kind: pa.DataType) -> None:
    (batch,) = generate(2, 3)
    other = batch.set_column(batch.schema.get_field_index(name), name, pa.nulls(2, kind))
    for few in (0, 2):
        with pytest.raises(FeatureError, match="was wanted where the reader schema has"):
            ClaimFeatures(SPEC, WORDS, few=few).encode(other)


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


def day(text: str) -> int:
    return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("service", "received", "words"),
    [
        ("2013-12-30", "2014-01-05", ["lag|6", "1", "12", "7", "1"]),
        ("2012-02-29", "2012-02-28", ["lag|negative", "3", "2", "2", "2"]),
        ("1969-12-31", "1971-09-30", ["lag|512", "3", "12", "4", "9"]),
        ("2020-05-01", "2020-05-10", ["lag|8", "5", "5", "7", "5"]),
        ("2020-05-01", None, ["5", "5"]),
        (None, "2020-05-10", ["7", "5"]),
    ],
)
def test_dates_become_words(service: str | None, received: str | None, words: list[str]) -> None:
    found = list(words_of(DATES, *(day(text) if text else None for text in (service, received))))
    assert [word if word.startswith("lag") else word.split("|")[1] for word in found] == words


def test_a_spec_without_date_tokens_is_written_as_before() -> None:
    plain = FeatureSpec(length=10, codes=3, buckets=4)
    assert "date_tokens" not in plain.model_dump()
    assert "date_tokens" in SPEC.model_dump()
    assert FeatureSpec.model_validate_json(SPEC.model_dump_json()) == SPEC
