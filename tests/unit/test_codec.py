"""Framings, each kind of bad record, resolution, and the encoder's refusals."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

import schemas
from stream.clock import ManualClock
from stream.codec import Decoded, Decoder, Encoder, Framing
from stream.codec.framing import confluent_prefix, prefix_images, single_object_prefix
from stream.codec.learning import LearnedSchemas
from stream.codec.shapes import parse
from stream.codec.source import SchemaSource
from stream.codec.walk import Walker
from stream.errors import DecodeError, OversizeError, RetryError, UsageError

CLAIM = schemas.load("claim_event")
TWO = {
    "type": "record",
    "name": "Two",
    "fields": [{"name": "text", "type": "string"}, {"name": "number", "type": "int"}],
}


class Known:
    """A schema source over a dictionary."""

    def __init__(self, known: dict[int, Any]) -> None:
        self.known = known
        self.asked: list[int] = []

    def schema(self, schema_id: int) -> dict[str, Any]:
        self.asked.append(schema_id)
        if schema_id not in self.known:
            raise DecodeError(f"schema id {schema_id} is unknown to the registry")
        return dict(self.known[schema_id])


def learned(source: SchemaSource) -> LearnedSchemas:
    """What is learned of a source within the call."""
    return LearnedSchemas(source, ManualClock(), start=lambda work: work())


def read(decoder: Decoder, values: list[bytes]) -> Decoded:
    """As the stage reads them."""
    decoder.learn(values)
    return decoder.decode(values)


class Unreachable:
    def schema(self, schema_id: int) -> dict[str, Any]:
        raise RetryError("no answer")


def record(**fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": k, "type": v} for k, v in fields.items()]}


def encoded(schema: Any, value: Any, prefix: bytes = b"") -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return prefix + out.getvalue()


def claim(number: int) -> dict[str, Any]:
    return {
        "claim_id": f"c{number}",
        "claim_type": "professional",
        "member_id": f"m{number}",
        "provider_id": None if number % 2 else "é-provider",
        "service_date": 20_000 + number,
        "received_date": None,
        "codes": [{"system": "icd-10-cm", "code": "E11.9"}] * (number % 3),
        "lines": [{"procedure_code": "99213", "revenue_code": None, "units": 1.0, "charge": 2.5}],
        "attributes": {"anomaly": "none"},
    }


def claims(count: int) -> list[bytes]:
    return [encoded(CLAIM, claim(i), single_object_prefix(CLAIM)) for i in range(count)]


def failure(decoder: Decoder, value: bytes | None) -> str:
    decoder.learn([value])
    found = decoder.decode([value])
    assert found.claims.num_rows == 0
    assert found.claims.schema == decoder.arrow_schema
    return str(found.failures[0].error)


def number(value: int) -> bytes:
    return encoded("long", value)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_claims_come_back(count: int) -> None:
    found = Decoder(CLAIM).decode(claims(count))
    assert not found.failures
    assert found.rows.tolist() == list(range(count))
    assert found.claims.column("claim_id").to_pylist() == [f"c{i}" for i in range(count)]
    assert [len(codes) for codes in found.claims.column("codes").to_pylist()] == [i % 3 for i in range(count)]


def test_nothing_decodes_to_nothing() -> None:
    found = Decoder(CLAIM).decode([])
    assert found.claims.num_rows == 0
    assert found.claims.schema == Decoder(CLAIM).arrow_schema


def test_the_fingerprint_is_that_of_the_avro_specification() -> None:
    assert single_object_prefix("int").hex() == "c3018f5c393f1ad57572"  # type: ignore[arg-type]


BAD = {
    "null": (None, "tombstone"),
    "empty": (b"", "empty"),
    "truncated": (claims(1)[0][:-1], "ends inside the record, at byte"),
    "header only": (claims(1)[0][:10], "ends inside the record, at byte 10"),
    "trailing": (claims(1)[0] + b"\x00", "1 bytes follow the record's end at byte"),
    "huge length": (claims(1)[0][:10] + number(1 << 40) + b"abc", "says 1099511627776 bytes, 3 are left"),
    "negative length": (claims(1)[0][:10] + number(-1) + b"abc", "at byte 10 is negative, -1"),
    "not UTF-8": (claims(1)[0].replace(b"c0", b"c\xff"), "not UTF-8 at byte 12"),
    "unknown fingerprint": (b"\xc3\x01" + b"\x07" * 9, "0707070707070707 is of no known writer"),
    "registry's": (b"\x00\x00\x00\x00\x01abc", "set schemas.registry_url"),
    "unframed": (b"hello world, I am text", "begins with 6865"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("count", [1, 4, 60])
def test_a_bad_record_costs_only_itself(kind: str, count: int) -> None:
    bad, message = BAD[kind]
    values: list[bytes | None] = [*claims(count)]
    values.insert(count // 2, bad)
    found = Decoder(CLAIM).decode(values)
    assert [f.row for f in found.failures] == [count // 2]
    assert isinstance(found.failures[0].error, DecodeError)
    assert message in str(found.failures[0].error)
    assert found.claims.column("claim_id").to_pylist() == [f"c{i}" for i in range(count)]
    assert found.rows.tolist() == [row for row in range(count + 1) if row != count // 2]


def test_an_oversize_record_costs_only_itself() -> None:
    values = claims(5)
    found = Decoder(CLAIM, max_record_bytes=200).decode([*values, values[0] + b"x" * 200])
    assert found.rows.tolist() == [0, 1, 2, 3, 4]
    assert isinstance(found.failures[0].error, OversizeError)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ({"type": "array", "items": "string"}, number(1 << 40) + b"\x02a", "says 1099511627776 items"),
        ({"type": "array", "items": "double"}, number(-(1 << 62)) + number(5) + b"abc", "bytes are left"),
        ({"type": "map", "values": "long"}, number(1 << 40) + b"\x02a\x02", "says 1099511627776 items"),
        (
            {"type": "array", "items": "string"},
            number(-1) + number(9) + b"\x02a\x00",
            "says 9 bytes and takes 2",
        ),
        ("bytes", number(1 << 40) + b"abc", "says 1099511627776 bytes"),
        ("boolean", b"\x02", "neither 0 nor 1"),
        ("int", number(1 << 33), "does not fit 32 bits"),
        ("int", number((1 << 33) + (1 << 30)), "does not fit 32 bits"),
        ("long", b"\xff" * 9 + b"\x7f", "does not fit 64 bits"),
        ("long", b"\x80" * 11, "longer than 10 bytes"),
        (["null", "string"], number(2) + b"\x02a", "branch 2 of 2"),
        (["null", "string"], number(-1) + b"\x02a", "branch -1 of 2"),
        ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, number(-1), "symbol -1 of 2"),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 2},
            number(2) + b"\x7f\xff",
            "more than 2 digits",
        ),
        ({"type": "string", "logicalType": "uuid"}, number(2) + b"ab", "hexadecimal UUID"),
    ],
)
def test_what_the_libraries_let_pass_is_refused(kind: Any, data: bytes, message: str) -> None:
    schema = record(field=kind)
    decoder = Decoder(schema, bare_schema=schema)
    tracemalloc.start()
    try:
        found = decoder.decode([data] * 40)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert len(found.failures) == 40
    assert message in str(found.failures[0].error)


@pytest.mark.parametrize("data", [b"\x02\x82\x00a\x00", b"\x01\x04\x02a\x00", b"\x02\x02a\x02\x02b\x00"])
def test_long_winded_encodings_are_sound(data: bytes) -> None:
    """A length of two bytes, a block that says its size, two blocks."""
    schema = record(field={"type": "array", "items": "string"})
    found = Decoder(schema, bare_schema=schema).decode([data] * 40)
    assert not found.failures
    assert found.claims.column(0)[0].as_py()[0] == "a"


def test_framings_mix_in_one_poll() -> None:
    registry = Known({7: TWO, 2143289344: TWO})
    prefixes = [confluent_prefix(7), single_object_prefix(TWO), b"", confluent_prefix(2143289344)]
    values = [encoded(TWO, {"text": f"t{i}", "number": i}, prefixes[i % 4]) for i in range(80)]
    decoder = Decoder(TWO, bare_schema=TWO, registry=learned(registry))
    for poll in (values, values[0::4], values[3::4], values[0::4]):
        found = read(decoder, poll)
        assert not found.failures
        assert found.rows.tolist() == list(range(len(poll)))
    assert decoder.decode(values).claims.column("number").to_pylist() == list(range(80))


def test_a_prefix_is_seen_as_its_memory_image() -> None:
    magic, stamp = prefix_images(confluent_prefix(0x00C07F00))
    assert (magic, stamp) == (np.int64(0), np.uint32(0x007FC000))


@pytest.mark.parametrize("registry", [Known({}), Known({0: CLAIM}), Known({0: record(field="nowhere")})])
def test_a_bare_value_may_begin_like_a_framed_one(registry: Known) -> None:
    schema = record(a="string", b="string", c="string", d="string", e="string", f="string")
    value = encoded(schema, dict.fromkeys("abcde", "") | {"f": "end"})
    found = read(Decoder(schema, bare_schema=schema, registry=learned(registry)), [value] * 20)
    assert not found.failures
    assert found.claims.column("f")[19].as_py() == "end"


def test_an_unknown_id_fails_and_an_unreachable_registry_retries() -> None:
    value = encoded(TWO, {"text": "a", "number": 1}, confluent_prefix(9))
    assert "schema id 9 is unknown" in failure(Decoder(TWO, registry=learned(Known({}))), value)
    with pytest.raises(RetryError):
        Decoder(TWO, registry=learned(Unreachable())).learn([value])


def test_a_registered_schema_that_cannot_be_read_fails_its_records_only() -> None:
    recursive = {"type": "record", "name": "Two", "fields": [{"name": "text", "type": ["null", "Two"]}]}
    value = encoded(TWO, {"text": "a", "number": 1}, confluent_prefix(9))
    assert "recursive" in failure(Decoder(TWO, registry=learned(Known({9: recursive}))), value)


@pytest.mark.parametrize("bare", [None, TWO])
def test_a_registered_schema_that_cannot_be_read_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch, bare: dict[str, Any] | None
) -> None:
    monkeypatch.setattr("stream.codec.decoder._REFUSED_KEPT", 2)
    recursive = {"type": "record", "name": "Two", "fields": [{"name": "text", "type": ["null", "Two"]}]}
    registry = Known(dict.fromkeys((7, 8, 9), recursive))
    decoder = Decoder(TWO, registry=learned(registry), bare_schema=bare)
    values = {number: [confluent_prefix(number)] * 2_000 for number in (7, 8, 9)}
    for _ in range(3):
        found = read(decoder, values[7])
        assert {str(failure.error) for failure in found.failures} == {
            "the schema of id 7 cannot be read here: the Avro schema is recursive at 'Two'; a claim's columns cannot be"
        }
        assert len(found.failures) == 2_000
    assert registry.asked == [7]
    for number in (8, 9, 7):
        assert len(read(decoder, values[number]).failures) == 2_000
    assert registry.asked == [7, 8, 9]


def older() -> dict[str, Any]:
    """TWO without its text, with a field more, and an int where the reader has it."""
    fields = [{"name": "gone", "type": "string"}, {"name": "number", "type": "int"}]
    return {"type": "record", "name": "Two", "fields": fields}


def newer(kind: Any, default: Any) -> dict[str, Any]:
    return {**TWO, "fields": [*TWO["fields"], {"name": "added", "type": kind, "default": default}]}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "default", "expected"),
    [
        (["null", "string"], None, None),
        ({"type": "array", "items": "string"}, [], []),
        ({"type": "map", "values": "int"}, {"a": 1}, [("a", 1)]),
        ("bytes", "ÿ", b"\xff"),
        (record(x="int"), {"x": 3}, {"x": 3}),
    ],
)
@pytest.mark.parametrize("count", [1, 40])
def test_a_field_that_the_writer_lacks_takes_its_default(
    kind: Any, default: Any, expected: Any, count: int
) -> None:
    decoder = Decoder(newer(kind, default), known_writers=[TWO])
    values = [encoded(TWO, {"text": f"t{i}", "number": i}, single_object_prefix(TWO)) for i in range(count)]
    assert decoder._alike(values) is not None
    found = decoder.decode(values)
    assert found.claims.column("added").to_pylist() == [expected] * count
    assert found.claims.schema == decoder.arrow_schema
    decoder._by_fingerprint[single_object_prefix(TWO)]._fast = None
    assert decoder.decode(values).claims == found.claims


def test_fields_are_dropped_and_widened_in_columns() -> None:
    reader = {"type": "record", "name": "Two", "fields": [{"name": "number", "type": "long"}]}
    decoder = Decoder(reader, known_writers=[older()])
    values = [encoded(older(), {"gone": "x", "number": i}, single_object_prefix(older())) for i in range(40)]
    assert decoder._alike(values) is not None
    assert decoder.decode(values).claims.column(0) == pa.array(range(40), pa.int64())


def test_what_only_resolution_can_do_is_left_to_the_reference() -> None:
    reader = {
        "type": "record",
        "name": "Two",
        "fields": [{"name": "count", "aliases": ["number"], "type": ["null", "double"]}],
    }
    values = [encoded(older(), {"gone": "x", "number": i}, single_object_prefix(older())) for i in range(3)]
    found = Decoder(reader, known_writers=[older()]).decode(values)
    assert found.claims.column(0).to_pylist() == [0.0, 1.0, 2.0]


def test_a_writer_without_a_needed_field_fails_its_records() -> None:
    value = encoded(older(), {"gone": "x", "number": 1}, single_object_prefix(older()))
    assert "reader schema" in failure(Decoder(TWO, known_writers=[older()]), value)


def test_units_are_not_confused() -> None:
    millis, micros = ({"type": "long", "logicalType": f"timestamp-{unit}"} for unit in ("millis", "micros"))
    with pytest.raises(UsageError, match="timestamp-millis"):
        Decoder(record(at=micros), known_writers=[record(at=["null", millis])])


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "array", "items": "null"}, "takes no bytes"),
        (["string", "int", "null"], "union of several"),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, "local-timestamp-millis"),
        ("Nothing", "unknown type 'Nothing'"),
        ({"type": "array"}, "lacks 'items'"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 60}, "at most 38"),
    ],
)
def test_a_schema_without_columns_is_a_usage_error(schema: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Decoder(record(field=schema))


def test_the_walk_ends_where_the_record_does() -> None:
    walker = Walker(parse(TWO))
    walker.check(b"..\x02a\x02", 2)
    with pytest.raises(DecodeError, match="at byte 5"):
        walker.check(b"..\x02a\x02\x00", 2)


def test_encoded_claims_decode() -> None:
    batch = Decoder(CLAIM).decode(claims(50)).claims
    assert Encoder(CLAIM).encode(batch) == claims(50)
    assert Encoder(CLAIM).encode(batch.slice(7, 20)) == claims(50)[7:27]
    assert Encoder(CLAIM).encode(batch.slice(0, 0)) == []
    framed = Encoder(CLAIM, Framing.CONFLUENT, 7).encode(batch)
    assert [value[:5] for value in framed] == [confluent_prefix(7)] * 50


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        ("string", None, "f has 1 nulls"),
        (record(g="string"), {"g": None}, "f.g has 1 nulls"),
        ({"type": "array", "items": "string"}, ["a", None], r"f\[\] has 1 nulls"),
        ({"type": "array", "items": ["null", record(g="int")]}, [None, {"g": None}], r"f\[\].g has 1 nulls"),
    ],
)
def test_a_null_where_there_is_none_is_not_written(kind: Any, value: Any, place: str) -> None:
    schema = {"type": "record", "name": "Outer", "fields": [{"name": "f", "type": kind}]}
    encoder = Encoder(schema)
    column = pa.array([value], encoder.arrow_schema.field(0).type)
    with pytest.raises(ValueError, match=place):
        encoder.encode(pa.RecordBatch.from_arrays([column], schema=encoder.arrow_schema))


def test_other_columns_and_schemas_are_refused() -> None:
    with pytest.raises(ValueError, match="are not those of the schema"):
        Encoder(TWO).encode(pa.RecordBatch.from_pydict({"text": ["a"], "number": [1]}))
    with pytest.raises(UsageError, match="cannot be written"):
        Encoder(record(field="bytes"))
    with pytest.raises(UsageError, match="schema's id"):
        Encoder(TWO, Framing.CONFLUENT)


def test_a_framed_value_that_could_be_bare_is_read_as_framed() -> None:
    """The same bytes are a bare record of three numbers and a framed one of a text."""
    bare = record(**dict.fromkeys("abcdefg", "int"), text=["null", "string"])
    framed = {**bare, "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "int"}]}
    value = confluent_prefix(0) + b"\x02\x02\x00"
    assert not Decoder(bare, bare_schema=bare).decode([value] * 20).failures
    registry = learned(Known({0: framed}))
    found = Decoder({**framed, "fields": framed["fields"][:1]}, bare_schema=bare, registry=registry)
    assert read(found, [value[:-1]] * 20).claims.column("a").to_pylist() == [1] * 20
    assert read(found, [value] * 20).claims.column("a").to_pylist() == [0] * 20


@pytest.mark.parametrize("count", [2, 40])
def test_writers_of_one_layout_are_told_apart_in_one_poll(count: int) -> None:
    straight, swapped = record(a="int", b="int"), record(b="int", a="int")
    writers = [straight, swapped]
    values = [encoded(w, {"a": 1, "b": 2}, single_object_prefix(w)) for w in writers * (count // 2)]
    found = Decoder(straight, known_writers=[swapped]).decode(values)
    assert found.claims.to_pylist() == [{"a": 1, "b": 2}] * count
    assert found.rows.tolist() == list(range(count))
