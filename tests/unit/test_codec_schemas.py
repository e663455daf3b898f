"""Malformed schemas cost only their records, and what decides between walking and measuring."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from stream.codec import Decoder
from stream.codec.framing import confluent_prefix, single_object_prefix
from stream.errors import DecodeError, OversizeError, UsageError
from tests.unit.test_codec import CLAIM, TWO, Known, claim, encoded, failure, learned, read, record

TWO_PREFIX = single_object_prefix(TWO)
MALFORMED: list[Any] = [
    {**TWO, "fields": [*TWO["fields"], {"name": "more", "type": "int", "default": "x"}]},  # type: ignore[misc]
    record(field={"type": "enum", "name": "E", "symbols": ["x", "x"]}),
    record(field={"type": "bytes", "logicalType": "decimal", "precision": "many"}),
    record(field={"type": "array", "items": {"type": "fixed", "name": "F", "size": -4}}),
    {**record(field="string"), "name": 5},
    functools.reduce(lambda inner, _: record(field={"type": "array", "items": inner}), range(2_000), TWO),
]


@pytest.mark.parametrize("malformed", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_registered_schema_fails_its_records_only(malformed: Any) -> None:
    values = [
        encoded(TWO, {"text": "a", "number": 1}, prefix) for prefix in (confluent_prefix(9), TWO_PREFIX)
    ]
    found = read(Decoder(TWO, registry=learned(Known({9: malformed}))), values)
    assert found.rows.tolist() == [1]
    assert "the schema of id 9 cannot be read here" in str(found.failures[0].error)


@pytest.mark.parametrize("malformed", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_configured_schema_is_a_usage_error(malformed: Any) -> None:
    with pytest.raises(UsageError):
        Decoder(TWO, known_writers=[malformed])
    with pytest.raises(UsageError):
        Decoder(malformed)


def test_a_large_record_is_not_walked_step_by_step() -> None:
    lines = [{"procedure_code": None, "revenue_code": None, "units": 1.0, "charge": 2.0}] * 1_000
    value = encoded(CLAIM, claim(1) | {"lines": lines}, single_object_prefix(CLAIM))
    decoder = Decoder(CLAIM)
    decoder._by_fingerprint[single_object_prefix(CLAIM)]._fast._walker = None  # type: ignore[union-attr, assignment]
    assert len(decoder.decode([value]).claims.column("lines")[0]) == 1_000
    assert "1 bytes follow" in failure(decoder, value + b"\x00")


def test_bare_values_that_begin_with_a_null_are_read_at_once() -> None:
    schema = record(a=["null", "string"], b="string")
    values = [encoded(schema, {"a": None, "b": "x"})] * 40
    assert Decoder(schema, bare_schema=schema)._alike(values) is not None


def test_what_a_registered_schema_that_cannot_be_read_and_a_bare_one_do_not_fit_fails() -> None:
    schema, unreadable = record(**dict.fromkeys("abcdef", "string")), record(field="nowhere")
    value = encoded(schema, dict.fromkeys("abcde", "") | {"f": "end"})
    decoder = Decoder(
        schema, bare_schema=schema, registry=learned(Known({0: unreadable})), max_record_bytes=100
    )
    found = read(decoder, [value, value + b"x" * 100, b"", None, value[:-1], value])
    assert found.rows.tolist() == [0, 5]
    errors = [str(failure.error) for failure in found.failures]
    assert [type(failure.error) for failure in found.failures] == [OversizeError, *[DecodeError] * 3]
    assert "the schema of id 0 cannot be read here" in errors[3]
