"""A schema of one's own: what it has to have, and what is said where it has not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import schemas
from config import load_settings
from config.settings import Schemas
from models import FeatureError, VersionKey, open_model
from stream.app import Rooms, _check_reads, _open, build_rooms
from stream.claim_schemas import claim_decoder
from stream.clock import ManualClock
from stream.codec import Decoder, Encoder, sample_claims, samples
from stream.codec.shapes import Shape, parse
from stream.errors import UsageError
from tests.documents import files, text_of
from tests.scripted_stage import Stage

OWN = files(text_of("docs/applications.md"))


def rooms(folder: Path, **fields: Any) -> tuple[Any, Rooms]:
    """With the reader schema of the documentation, some of its fields replaced or left out (None)."""
    reader = json.loads(OWN["reader.avsc"])
    kept = {field["name"]: field for field in reader["fields"]} | fields
    reader["fields"] = [field for field in kept.values() if field is not None]
    path = folder / "reader.avsc"
    path.write_text(json.dumps(reader), encoding="utf-8")
    settings = load_settings(None, {}, {"schemas.input": str(path), "schemas.id_field": "claimNumber"})
    return settings, build_rooms(settings, ManualClock())


def test_the_documented_schemas_fit_the_shipped_model(tmp_path: Path) -> None:
    settings, made = rooms(tmp_path)
    for name in ("null", "claims_filter_v2.1"):
        _check_reads(settings, made, open_model(name))
    own = Encoder(json.loads(OWN["claim.avsc"]))
    # An enum has no empty symbol.
    shape = parse(json.loads(OWN["claim.avsc"]))
    claims = [{**claim, "branch": "NORTH"} for claim in sample_claims(own.arrow_schema, shape, 3).to_pylist()]
    values = own.encode(pa.RecordBatch.from_pylist(claims, schema=own.arrow_schema))
    decoder = Decoder(json.loads(OWN["reader.avsc"]), known_writers=[json.loads(OWN["claim.avsc"])])
    assert decoder.decode(values).claims.num_rows == 3


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ({"lines": None}, "lines"),
        ({"service_date": {"name": "service_date", "type": "string"}}, "service_date|cannot read claims"),
        ({"codes": {"name": "codes", "type": {"type": "array", "items": "string"}}}, "cannot read claims"),
    ],
)
def test_a_model_that_cannot_read_it_is_refused_before_the_first_claim(
    tmp_path: Path, field: dict[str, Any], reason: str
) -> None:
    settings, made = rooms(tmp_path, **field)
    with pytest.raises(FeatureError, match=reason) as raised:
        _check_reads(settings, made, open_model("claims_filter_v2.1"))
    assert "claims_filter 2.1.0 cannot read claims of schemas.input" in str(raised.value)
    assert "aliases" in str(raised.value)


def test_at_the_start_it_ends_the_stage_with_exit_code_2() -> None:
    class Refused:
        def open(self) -> None:
            raise FeatureError("it reads other fields")

    with pytest.raises(UsageError, match="routes: it reads other fields") as raised:
        _open(Refused())  # type: ignore[arg-type]
    assert raised.value.exit_code == 2


def test_a_promoted_version_that_cannot_read_claims_changes_nothing() -> None:
    stage, second = Stage(), VersionKey("null", "2.0.0", "second")
    stage.models.versions[second] = Unreadable(open_model("null"))
    stage.pipeline.loader._check = refuse_second
    stage.publish(60)
    stage.run(10)
    stage.models.meaning = ((second, 1),)
    stage.models.landed.add(second)
    stage.publish(60, start=60)
    stage.run(230)
    assert len(stage.producer.sent) == 120
    assert stage.metrics.snapshot().numbers["model_load_failures_total", ("null", "2.0.0")] >= 1


class Unreadable:
    """The second version of a model."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.identity = replace(inner.identity, version="2.0.0")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def refuse_second(model: Any) -> None:
    if model.identity.version == "2.0.0":
        raise FeatureError("it reads other fields")


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (Schemas(input="no/such.avsc"), "there is no 'no/such.avsc'"),
        (Schemas(input="claim_events"), "name claim_event or the path of an .avsc file"),
        (Schemas(id_field="claimNumber"), "schemas.id_field: claim_event has no field 'claimNumber'"),
        (Schemas(type_field="service_date"), "field 'service_date' of claim_event is date32"),
    ],
)
def test_a_schema_or_field_that_is_not_there_is_named(chosen: Schemas, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        claim_decoder(chosen, 1_000, ManualClock())


def test_samples_are_claims_of_every_type() -> None:
    score = Encoder(schemas.load("claim_score"))
    made = sample_claims(score.arrow_schema, parse(schemas.load("claim_score")), 2)
    assert len(score.encode(made)) == 2
    other = pa.schema(
        [("flag", pa.bool_()), ("sum", pa.decimal128(9, 2)), ("at", pa.time32("ms")), ("x", pa.binary())]
    )
    kinds = Shape("record", tuple(map(Shape, ("boolean", "bytes", "int", "bytes"))))
    assert sample_claims(other, kinds, 1).to_pylist()[0]["flag"] is False
    assert np.array_equal(made.column("input_offset").to_numpy(), [0, 0])


def nullable(schema: Any) -> Any:
    """The same, but that null may be anywhere."""
    if isinstance(schema, list):
        return ["null", *(nullable(branch)[1] for branch in schema if branch != "null")]
    if isinstance(schema, str) or "logicalType" in schema:
        return ["null", schema]
    inner = {name: nullable(schema[name]) for name in ("items", "values") if name in schema}
    if "fields" in schema:
        inner["fields"] = [
            {"name": field["name"], "type": nullable(field["type"])} for field in schema["fields"]
        ]
    return ["null", {**schema, **inner}]


ANYTHING: dict[str, Any] = nullable(schemas.load("claim_event"))[1]


def test_samples_have_every_null_that_the_schema_allows() -> None:
    own = Encoder(ANYTHING)
    made = list(samples(own.arrow_schema, parse(ANYTHING), [1]))
    assert all(len(own.encode(batch)) == 1 for batch in made)
    full, outer, items, fields = (batch.to_pylist()[0] for batch in made)
    assert None not in full.values()
    assert set(outer.values()) == {None}
    assert (items["codes"], items["lines"], items["attributes"]) == ([None], [None], [("", None)])
    assert set(fields["lines"][0].values()) == {None}
    score = Encoder(schemas.load("claim_score"))
    assert len(list(samples(score.arrow_schema, parse(schemas.load("claim_score")), [1]))) == 1


@pytest.mark.parametrize("name", ["null", "claims_filter_v2.1"])
def test_a_reader_schema_may_have_nulls_anywhere(tmp_path: Path, name: str) -> None:
    fields = {field["name"]: field for field in ANYTHING["fields"]}
    settings, made = rooms(tmp_path, **fields)
    model, own = open_model(name), Encoder(ANYTHING)
    _check_reads(settings, made, model)
    for batch in samples(own.arrow_schema, parse(ANYTHING), [1, 60]):
        read = Decoder(ANYTHING).decode(own.encode(batch)).claims
        assert read.equals(batch)
        scores = model.score(model.features.encode(read))
        assert np.isfinite(scores).all()
        assert scores.shape == (batch.num_rows,)


def test_an_encoder_that_stumbles_over_a_null_is_refused_before_the_first_claim(tmp_path: Path) -> None:
    settings, made = rooms(tmp_path, received_date=None, lines=ANYTHING["fields"][7])
    model: Any = SimpleNamespace(features=Stumbling(), identity=open_model("null").identity)
    with pytest.raises(FeatureError, match="no lines"):
        _check_reads(settings, made, model)


class Stumbling:
    """Wants each claim to have lines."""

    def encode(self, claims: pa.RecordBatch) -> None:
        if claims.column("lines").null_count:
            raise ValueError("no lines")
