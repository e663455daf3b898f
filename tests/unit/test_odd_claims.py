"""Claims that are sound Avro and unlike any that Python's own types could hold."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

import schemas
from models import open_model
from stream.audit import _decoded as audited
from stream.cli.dlq.showing import decoded
from stream.cli.score_filter import ScoreFilter
from stream.cli.tail import as_line
from stream.cli.tail import decoded as tailed
from stream.codec import Decoder, Encoder, plain_rows
from stream.demonstration.offline import OfflineScores
from stream.publishing import generate, open_claims
from tests.claim_files import write_parquet
from tests.scripted_stage import Record, Stage

FAR = 2**31 - 1


def odd(count: int = 1) -> pa.RecordBatch:
    """Claims from the year 5,881,580."""
    (batch,) = generate(count, 3)
    days = pa.array([FAR] * count, pa.int32()).view(pa.date32())
    return batch.set_column(batch.schema.get_field_index("service_date"), "service_date", days)


def encoded(name: str, batch: pa.RecordBatch) -> list[bytes]:
    return Encoder(schemas.load(name)).encode(batch)


@pytest.mark.parametrize("count", [1, 60])
def test_a_claim_with_a_date_that_python_has_not_is_scored_like_any(count: int) -> None:
    stage = Stage(model="claims_filter_v2.1")
    now = int(stage.clock.wall() * 1_000)
    values = encoded("claim_event", odd(count))
    stage.consumer.records += [Record(0, at, value, b"k", now) for at, value in enumerate(values)]
    stage.run()
    assert (len(stage.producer.sent), stage.ledger.pending()) == (count, 0)
    results = Decoder(schemas.load("claim_score")).decode([value for _, _, value in stage.producer.sent])
    (first, *_) = results.claims.column("scores").to_pylist()
    schema = Decoder(schemas.load("claim_event")).arrow_schema
    message = SimpleNamespace(value=lambda: values[0])
    expected = OfflineScores(open_model("claims_filter_v2.1"), schema)([audited(message, "claim_event")])  # type: ignore[arg-type]
    assert first[0]["score"] == pytest.approx(expected[0], abs=1e-5)


def test_a_dead_letter_with_such_a_date_is_shown() -> None:
    (value,) = encoded("claim_event", odd())
    claim, why = decoded(value, Decoder(schemas.load("claim_event")))
    assert claim is not None
    assert (claim["service_date"], why) == (FAR, "")
    assert isinstance(claim["lines"][0]["charge"], float)


def test_a_score_with_such_a_time_is_printed() -> None:
    encoder = Encoder(schemas.load("claim_score"))
    entry = dict.fromkeys(("model", "version", "variant", "decision", "precision", "device"), "x")
    row: dict[str, Any] = dict.fromkeys(encoder.arrow_schema.names, 0)
    row |= {
        "claim_id": "c",
        "claim_type": "t",
        "input_topic": "in",
        "outcome": "scored",
        "deadline_missed": False,
    }
    row |= {"scores": [{**entry, "score": 0.5}], "input_timestamp": 2**62}
    rows = [row, row | {"scored_at": 2**62}, row | {"input_timestamp": 0}]
    values = encoder.encode(pa.RecordBatch.from_pylist(rows, schema=encoder.arrow_schema))
    messages: Any = [SimpleNamespace(value=lambda value=value: value) for value in values]
    first, second, third = tailed(Decoder(schemas.load("claim_score")), messages, ScoreFilter())
    assert [each["input_timestamp"] for each in (first, second)] == [2**62] * 2
    assert as_line(first).startswith("00:00:00.000 c ")
    assert as_line(second).startswith("46116860184… c ")
    assert third["input_timestamp"].replace(tzinfo=UTC) == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_row_of_a_file_with_such_a_date_costs_itself(tmp_path: Path) -> None:
    table = pa.Table.from_batches([odd(2)])
    # Another row's missing value is what makes the rows be read one by one.
    table = table.set_column(2, "member_id", pa.array(["M1", None]))
    (read,) = open_claims(write_parquet(tmp_path / "a.parquet", table)).batches()
    assert [(each.row, each.reason) for each in read.rejects] == [
        (1, f"service_date: '{FAR}' is not a date like 2024-01-31"),
        (2, "member_id is missing"),
    ]


def test_rows_are_plain_at_every_depth() -> None:
    days = pa.array([FAR, 0, None], pa.int32()).view(pa.date32())
    pair = pa.StructArray.from_arrays([days], names=["day"])
    listed = pa.ListArray.from_arrays(pa.array([0, 1, 1, 3]), pair)
    mapped = pa.MapArray.from_arrays(pa.array([0, 1, 1, 3]), pa.array(["a", "b", "c"]), days)
    batch = pa.RecordBatch.from_arrays([days, pair, listed, mapped], names=["day", "pair", "list", "map"])
    assert plain_rows(batch.slice(1)) == [
        {"day": date(1970, 1, 1), "pair": {"day": date(1970, 1, 1)}, "list": [], "map": []},
        {
            "day": None,
            "pair": {"day": None},
            "list": [{"day": date(1970, 1, 1)}, {"day": None}],
            "map": [("b", date(1970, 1, 1)), ("c", None)],
        },
    ]
    (first, *_) = plain_rows(batch)
    assert first == {"day": FAR, "pair": {"day": FAR}, "list": [{"day": FAR}], "map": [("a", FAR)]}
