"""The fast path and the reference agree, on sound bytes and on damaged ones."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.codec import Decoded, Decoder, Encoder
from stream.codec.fast import FEW, is_fast
from stream.codec.framing import single_object_prefix
from stream.codec.reference import raw
from stream.codec.shapes import parse

FAST = ["boolean", "int", "long", "float", "double", "string"]
LOGICAL: list[Any] = [
    {"type": "int", "logicalType": "date"},
    {"type": "long", "logicalType": "timestamp-millis"},
]
SLOW: list[Any] = [
    "bytes",
    {"type": "int", "logicalType": "time-millis"},
    {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2},
]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1) | st.integers(-200, 200),
    "long": st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=12) | st.text("aé", min_size=60, max_size=70),
    "bytes": st.binary(max_size=6),
}


def _enum(name: str) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": ["a", "b", "c"]}


@st.composite
def schemas(draw: st.DrawFn, leaves: list[Any]) -> dict[str, Any]:
    """A record of up to four fields, three levels deep; every name is used once."""
    count = 0

    def name(kind: str) -> str:
        nonlocal count
        count += 1
        return f"{kind}{count}"

    def some(depth: int) -> Any:
        choice = draw(st.integers(0, 8 if depth else 4))
        if choice <= 3:
            leaf = draw(st.sampled_from(leaves))
            return (
                {"type": draw(st.sampled_from(["int", "long"])), "small": True} if leaf == "small" else leaf
            )
        if choice == 4:
            return _enum(name("Enum"))
        if choice == 7:
            return record(depth - 1)
        inner = some(depth - 1)
        if choice == 8:
            return inner if isinstance(inner, list) else draw(st.permutations(["null", inner]))
        return {"type": "array", "items": inner} if choice == 5 else {"type": "map", "values": inner}

    def record(depth: int) -> dict[str, Any]:
        fields = [{"name": name("f"), "type": some(depth)} for _ in range(draw(st.integers(1, 4)))]
        return {"type": "record", "name": name("Record"), "fields": fields}

    return record(3)


def values(schema: Any) -> st.SearchStrategy[Any]:
    """What fastavro writes without logical types."""
    if isinstance(schema, list):
        return st.one_of([st.none() if branch == "null" else values(branch) for branch in schema])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and schema.get("small"):
        return st.integers(-(2**27), 2**27 - 1)
    if kind == "record":
        return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in schema["fields"]})
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=3)
    if kind == "map":
        return st.dictionaries(st.text("ab€", max_size=3), values(schema["values"]), max_size=3)
    return st.sampled_from(schema["symbols"]) if kind == "enum" else VALUES[kind]


def encoded(schema: dict[str, Any], record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(raw(schema)), record)
    return single_object_prefix(schema) + out.getvalue()


def by_reference(schema: dict[str, Any], given_values: list[bytes]) -> Decoded:
    decoder = Decoder(schema)
    decoder._by_fingerprint[single_object_prefix(schema)]._fast = None
    return decoder.decode(given_values)


def same(left: Decoded, right: Decoded) -> None:
    assert left.rows.tolist() == right.rows.tolist()
    assert [(f.row, str(f.error)) for f in left.failures] == [(f.row, str(f.error)) for f in right.failures]
    assert left.claims.schema == right.claims.schema
    assert text(left) == text(right)
    left.claims.validate(full=True)


def text(decoded: Decoded) -> list[str]:
    """All values, not-a-number and dates beyond Python's included; of a map's equal keys the last counts."""
    plain = [column.cast(_plain(column.type)) for column in decoded.claims.columns]
    return [repr(column.to_pylist(maps_as_pydicts="lossy")) for column in plain]


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type with numbers in place of dates and times."""
    if pa.types.is_temporal(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, kind.item_field.with_type(_plain(kind.item_type)))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    return kind


@st.composite
def polls(draw: st.DrawFn, leaves: list[Any]) -> tuple[dict[str, Any], list[bytes]]:
    schema = draw(schemas(leaves))
    few = draw(st.lists(values(schema), min_size=1, max_size=5))
    repeats = draw(st.sampled_from([1, 2 * FEW]))
    return schema, [encoded(schema, record) for record in few] * repeats


QUICK = settings(max_examples=80, suppress_health_check=list(HealthCheck))


@QUICK
@given(polls(FAST + LOGICAL))
def test_the_fast_path_reads_what_the_reference_reads(poll: tuple[dict[str, Any], list[bytes]]) -> None:
    schema, given_values = poll
    assert is_fast(parse(schema))
    found = Decoder(schema).decode(given_values)
    assert not found.failures
    same(found, by_reference(schema, given_values))


@QUICK
@given(polls(["boolean", "float", "double", "string", "small"]))
def test_the_length_check_lets_canonical_records_through(poll: tuple[dict[str, Any], list[bytes]]) -> None:
    """Save where an integer is so large that the fast path may have cut it."""
    schema, given_values = poll
    assert Decoder(schema)._alike(given_values) is not None


@QUICK
@given(polls(FAST + LOGICAL + SLOW))
def test_schemas_beyond_the_fast_path_are_read(poll: tuple[dict[str, Any], list[bytes]]) -> None:
    schema, given_values = poll
    same(Decoder(schema).decode(given_values), by_reference(schema, given_values))


@QUICK
@given(polls(FAST + LOGICAL))
def test_encoder_and_decoder_are_inverse(poll: tuple[dict[str, Any], list[bytes]]) -> None:
    schema, given_values = poll
    claims = Decoder(schema).decode(given_values).claims
    assert Encoder(schema).encode(claims) == given_values
    assert Encoder(schema).encode(claims.slice(1)) == given_values[1:]
    assert Encoder(schema).encode(claims.slice(1, 2)) == given_values[1:3]


@settings(QUICK, max_examples=200)
@given(polls(FAST + LOGICAL), st.data())
def test_damage_costs_only_the_damaged(poll: tuple[dict[str, Any], list[bytes]], data: st.DataObject) -> None:
    schema, given_values = poll
    rows = data.draw(st.lists(st.integers(0, len(given_values) - 1), min_size=1, max_size=3, unique=True))
    for row in rows:
        given_values[row] = data.draw(damaged(given_values[row]))
    found = Decoder(schema).decode(given_values)
    same(found, by_reference(schema, given_values))
    assert set(range(len(given_values))) - set(rows) <= set(found.rows.tolist())


@st.composite
def damaged(draw: st.DrawFn, value: bytes) -> bytes:
    at, end = sorted((draw(st.integers(0, len(value))), draw(st.integers(0, len(value)))))
    huge = b"\x80\x80\x80\x80\x80\x80\x01"
    new = draw(
        st.binary(max_size=4) | st.sampled_from([huge, b"\xff" * 9 + b"\x01", b"\x80\x00", b"\xff\xfe"])
    )
    return value[:at] + new + value[draw(st.sampled_from([at, min(at + 1, len(value)), end])) :]
