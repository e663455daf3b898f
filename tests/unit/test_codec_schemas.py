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


def with_default(kind: Any, default: Any) -> dict[str, Any]:
    """A record of a field more than TWO."""
    return {**TWO, "fields": [*TWO["fields"], {"name": "added", "type": kind, "default": default}]}  # type: ignore[misc]


def field(name: str, kind: Any, default: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "default": default}


INNER: dict[str, Any] = {
    "type": "record",
    "name": "Inner",
    "fields": [field("y", "bytes", "\u00ff"), field("x", "int", 3)],
}
OUTER: dict[str, Any] = {
    "type": "record",
    "name": "Outer",
    "namespace": "elsewhere",
    "fields": [field("inner", INNER, {}), field("more", ["null", "Inner"], None)],
}
FULL = {"inner": {"y": b"\xff", "x": 3}, "more": None}


@pytest.mark.parametrize(
    ("kind", "default", "expected"),
    [
        (OUTER, {}, FULL),
        (OUTER, {"more": {"x": 4}}, FULL | {"more": {"y": b"\xff", "x": 4}}),
        (
            {"type": "array", "items": OUTER},
            [{}, {"inner": {"y": "a"}}],
            [FULL, FULL | {"inner": {"y": b"a", "x": 3}}],
        ),
        ({"type": "map", "values": INNER}, {"a": {}}, [("a", FULL["inner"])]),
        ("double", 2**53 + 1, 2.0**53),
        ("float", 2**24 + 1, 2.0**24),
        ([{"type": "array", "items": "float"}, "null"], [2**24 + 1], [2.0**24]),
        ({"type": "fixed", "name": "F", "size": 16, "logicalType": "uuid"}, "a" * 16, b"a" * 16),
    ],
)
@pytest.mark.parametrize("count", [1, 40])
def test_a_default_is_completed_and_rounded_as_avro_does_it(
    kind: Any, default: Any, expected: Any, count: int
) -> None:
    decoder = Decoder(with_default(kind, default), known_writers=[TWO])
    values = [encoded(TWO, {"text": f"t{i}", "number": i}, TWO_PREFIX) for i in range(count)]
    found = decoder.decode(values)
    assert found.claims.column("added").to_pylist() == [expected] * count
    decoder._by_fingerprint[TWO_PREFIX]._fast = None
    assert decoder.decode(values).claims == found.claims


def test_a_nested_record_that_gained_fields_has_their_completed_defaults() -> None:
    before = {"type": "record", "name": "Inner", "fields": INNER["fields"][1:]}
    deep = {"type": "record", "name": "Deep", "fields": [field("d", "double", 2**53 + 1)]}
    after = {**INNER, "fields": [*INNER["fields"], field("z", deep, {})]}
    value = encoded(record(f=before), {"f": {"x": 5}}, single_object_prefix(record(f=before)))
    found = Decoder(record(f=after), known_writers=[record(f=before)]).decode([value])
    assert found.claims.column("f").to_pylist() == [{"y": b"\xff", "x": 5, "z": {"d": 2.0**53}}]


@pytest.mark.parametrize(
    ("kind", "default", "message"),
    [
        ({"type": "fixed", "name": "F", "size": 2}, "abc", "added: its default does not fit its type"),
        ({"type": "int", "logicalType": "time-millis"}, -1, "-1 is no time of day"),
        ([{"type": "bytes", "logicalType": "decimal", "precision": 1}, "null"], "\x7f", "more than 1 digits"),
        (["int", "null"], 2**40, "malformed Avro schema"),
        ({"type": "array", "items": record(x="int", y="int")}, [{"x": 1}], "malformed Avro schema"),
        ({"type": "array", "items": {"type": "enum", "name": "E", "symbols": ["a"]}}, ["b"], "malformed"),
        ({"type": "map", "values": "double"}, {"a": True}, "malformed"),
    ],
)
def test_a_default_that_does_not_fit_is_said_when_the_reader_is_built(
    kind: Any, default: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Decoder(with_default(kind, default))
    with pytest.raises(UsageError, match=message):
        Decoder(record(outer={"type": "array", "items": with_default(kind, default)}))


def stamp(unit: str, kind: str = "long") -> dict[str, Any]:
    return {"type": kind, "logicalType": unit}


def aliased(kind: Any) -> dict[str, Any]:
    """A record whose field the writer calls `b`."""
    return {"type": "record", "name": "R", "fields": [{"name": "a", "type": kind, "aliases": ["b"]}]}


MILLIS, MICROS, DATE = stamp("timestamp-millis"), stamp("timestamp-micros"), stamp("date", "int")


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        (record(b=MILLIS), aliased(MICROS)),
        (record(b=["null", DATE]), aliased(["null", MILLIS])),
        (
            record(c={"type": "array", "items": {**record(b=MILLIS), "name": "I"}}),
            record(c={"type": "array", "items": ["null", {**aliased(MICROS), "name": "I"}]}),
        ),
        (record(a=["null", DATE]), record(a=["null", MILLIS])),
        (record(a=DATE), record(a=["null", MILLIS])),
        (record(a=["null", "string", DATE]), record(a=MILLIS)),
        (
            record(a={"type": "map", "values": [stamp("time-millis", "int"), "null"]}),
            record(a={"type": "map", "values": ["null", stamp("time-micros")]}),
        ),
    ],
)
def test_units_are_not_confused_under_an_alias_or_in_a_union(writer: Any, reader: Any) -> None:
    with pytest.raises(
        UsageError, match=r"R\..*: written as (timestamp-millis|date|time-millis), wanted as t"
    ):
        Decoder(reader, known_writers=[writer])


def test_one_unit_under_an_alias_or_in_a_union_is_read() -> None:
    for kind, wanted in ((MILLIS, MILLIS), ("int", "long"), (["null", "int"], ["null", MILLIS])):
        writer = record(b=kind)
        value = encoded(writer, {"b": 7}, single_object_prefix(writer))
        found = Decoder(aliased(wanted), known_writers=[writer]).decode([value])
        assert found.claims.column("a").cast("int64").to_pylist() == [7]
