"""Columns projected from a writer's schema to the reader's are those that fastavro resolves record by record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream.codec import Decoder
from stream.codec.fast import FEW
from stream.codec.framing import single_object_prefix
from tests.property.test_codec import FAST, LOGICAL, QUICK, encoded, same, schemas, text, values

WIDER = {"int": ["long", "float", "double"], "long": ["float", "double"], "float": ["double"]}
ADDED: list[tuple[Any, Any]] = [
    ("string", "é"),
    ("double", 1.5),
    (["null", "long"], None),
    ({"type": "array", "items": "string"}, ["a"]),
    ({"type": "map", "values": "int"}, {"k": 7}),
    ({"type": "int", "logicalType": "date"}, 3),
]


@st.composite
def evolved(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], list[bytes]]:
    """A writer's schema, a reader's that dropped, widened, added and reordered fields, and encoded records."""
    writer = draw(schemas(FAST + LOGICAL))
    kept = [draw(changed(field)) for field in writer["fields"] if draw(st.integers(0, 3))]
    fields = kept + [
        {"name": f"added{place}", "type": kind, "default": default}
        for place, (kind, default) in enumerate(draw(st.lists(st.sampled_from(ADDED), max_size=2)))
    ]
    fields = fields or [{"name": "only", "type": "string", "default": ""}]
    reader = {**writer, "fields": draw(st.permutations(fields))}
    few = draw(st.lists(values(writer), min_size=1, max_size=4))
    repeats = draw(st.sampled_from([1, 2 * FEW]))
    return writer, reader, [encoded(writer, record) for record in few] * repeats


@st.composite
def changed(draw: st.DrawFn, field: dict[str, Any]) -> dict[str, Any]:
    kind = field["type"]
    choices = [kind, *(WIDER.get(kind, []) if isinstance(kind, str) else [])]
    if not isinstance(kind, list):
        choices.append(["null", kind])
    return {**field, "type": draw(st.sampled_from(choices))}


@QUICK
@given(evolved())
def test_projection_is_what_the_reference_resolves(
    case: tuple[dict[str, Any], dict[str, Any], list[bytes]],
) -> None:
    writer, reader, given_values = case
    prefix = single_object_prefix(writer)
    projecting, resolving = (Decoder(reader, known_writers=[writer]) for _ in range(2))
    resolving._by_fingerprint[prefix]._fast = None
    found = projecting.decode(given_values)
    assert not found.failures
    assert found.claims.schema == projecting.arrow_schema
    same(found, resolving.decode(given_values))


@QUICK
@given(evolved())
def test_what_the_reader_keeps_unchanged_is_unchanged(
    case: tuple[dict[str, Any], dict[str, Any], list[bytes]],
) -> None:
    writer, reader, given_values = case
    kept = [field["name"] for field in reader["fields"] if field in writer["fields"]]
    read = Decoder(reader, known_writers=[writer]).decode(given_values)
    written = Decoder(writer).decode(given_values)
    assert text(replace(read, claims=read.claims.select(kept))) == text(
        replace(written, claims=written.claims.select(kept))
    )
