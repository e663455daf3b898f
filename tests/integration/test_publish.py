"""`publish` and `tail` on a real broker, their records read back by other means."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

import schemas
from stream.cli.main import main
from stream.codec import Encoder
from stream.publishing import generate, load_claims, load_mapping, read_recording
from tests import claim_files as files

HEADER_BYTES = 10


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def claimstream(*arguments: str) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert isinstance(ended.value.code, int)
    return Done(ended.value.code, out.getvalue(), err.getvalue())


def published(*arguments: str) -> dict[str, Any]:
    done = claimstream("publish", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["rows"] == summary["claims"] + summary["rejected"] + summary["merged"]
    return summary


def read_back(bootstrap: str, topic: str, count: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "check", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    found: list[Message] = []
    deadline = time.monotonic() + 20
    while len(found) < count and time.monotonic() < deadline:
        found += consumer.consume(5_000, 0.5)
    found += consumer.consume(100, 0.5)
    consumer.close()
    return found


def claims_of(messages: Sequence[Message], prefix: int = HEADER_BYTES) -> list[dict[str, Any]]:
    schema = fastavro.parse_schema(schemas.load("claim_event"))
    records = [
        fastavro.schemaless_reader(io.BytesIO(message.value()[prefix:]), schema, None) for message in messages
    ]
    assert all(isinstance(record, dict) for record in records)
    return records


def test_generated_claims_arrive_as_they_were_made(kafka: Any, topic: Any) -> None:
    name = topic(partitions=3)
    summary = published("--generate", "3000", "--seed", "5", "--topic", name, "--bootstrap", kafka.bootstrap)
    assert (summary["claims"], summary["published"]) == (3_000, 3_000)
    messages = read_back(kafka.bootstrap, name, 3_000)
    found = {claim["claim_id"]: claim for claim in claims_of(messages)}
    expected = [row for batch in generate(3_000, 5) for row in batch.to_pylist()]
    assert len(messages) == len(found) == 3_000
    for row in expected:
        assert found[row["claim_id"]] == {**row, "attributes": dict(row["attributes"])}
    partitions: dict[bytes, set[int]] = {}
    for message, claim in zip(messages, claims_of(messages), strict=True):
        assert message.key() == claim["member_id"].encode()
        partitions.setdefault(message.key(), set()).add(message.partition())
    assert all(len(places) == 1 for places in partitions.values())


def test_claims_of_the_tuva_file_arrive_whole(kafka: Any, topic: Any, data_folder: Path) -> None:
    name = topic(partitions=1)
    file = data_folder / "tuva" / "medical_claim_sample.csv.gz"
    summary = published(
        str(file), "--mapping", "tuva", "--topic", name, "--bootstrap", kafka.bootstrap, "--key", "claim_id"
    )
    assert {key: summary[key] for key in ("rows", "claims", "published", "rejected", "merged")} == {
        "rows": 6_075,
        "claims": 3_106,
        "published": 3_106,
        "rejected": 0,
        "merged": 2_969,
    }
    claims = claims_of(read_back(kafka.bootstrap, name, 3_106))
    assert len({claim["claim_id"] for claim in claims}) == len(claims) == 3_106
    assert sum(len(claim["lines"]) for claim in claims) == 6_075
    first = next(claim for claim in claims if claim["claim_id"] == "1004555")
    assert [code["code"] for code in first["codes"]] == ["Z9861", "I2510"]
    assert first["lines"][0] == {
        "procedure_code": "93797",
        "revenue_code": "0943",
        "units": 1.0,
        "charge": 65.0,
    }


def test_claims_as_they_are_arrive_from_every_kind_of_file(kafka: Any, topic: Any, tmp_path: Path) -> None:
    table = files.claims(400)
    expected = {row["claim_id"]: row for row in files.records(table)}
    written = [
        files.write_avro(tmp_path / "a.avro", list(expected.values()), codec="deflate"),
        files.write_json(tmp_path / "a.jsonl", list(expected.values())),
        files.write_parquet(tmp_path / "a.parquet", table),
    ]
    for path in written:
        name = topic(partitions=2)
        summary = published(str(path), "--topic", name, "--bootstrap", kafka.bootstrap)
        assert (summary["claims"], summary["published"], summary["rejected"]) == (400, 400, 0)
        found = {claim["claim_id"]: claim for claim in claims_of(read_back(kafka.bootstrap, name, 400))}
        assert found == expected
    name = topic(partitions=1)
    published(str(written[0]), "--repeat", "2", "--topic", name, "--bootstrap", kafka.bootstrap)
    ids = [claim["claim_id"] for claim in claims_of(read_back(kafka.bootstrap, name, 800))]
    assert set(ids) == {*expected, *(f"{each}~2" for each in expected)}


@pytest.mark.parametrize(
    ("file", "mapping", "counts"),
    [
        ("tsa/tsa_claims_2010_2013.csv.gz", "tsa", (41_598, 41_597, 1, 0)),
        ("synthea/claims.csv.gz", "synthea", (1_579, 561, 0, 1_018)),
    ],
)
def test_real_files_become_claims(
    data_folder: Path, file: str, mapping: str, counts: tuple[int, ...]
) -> None:
    found = load_claims(data_folder / file, load_mapping(mapping)).counts
    assert (found.rows, found.claims, found.rejected, found.merged) == counts


def test_rejects_are_a_file_with_line_and_reason(kafka: Any, topic: Any, tmp_path: Path) -> None:
    name = topic(partitions=1)
    path, rejects = tmp_path / "tsa 2015.csv", tmp_path / "rejected.csv"
    path.write_text(
        "claim number,DATE RECEIVED,Incident D,Claim Type\n1,1/2/15,1/1/15,Complaint\n,,,\n2,soon,1/1/15,x\n"
    )
    summary = published(
        *(str(path), "--mapping", "tsa", "--rejects", str(rejects)),
        *("--topic", name, "--bootstrap", kafka.bootstrap),
    )
    assert (summary["rows"], summary["claims"], summary["rejected"]) == (3, 1, 2)
    assert [line[:30] for line in rejects.read_text().splitlines()] == [
        "row,claim_id,reason",
        "3,,blank row",
        "4,2,claim.received_date: 'soon",
    ]
    (claim,) = claims_of(read_back(kafka.bootstrap, name, 1))
    assert (claim["claim_type"], str(claim["service_date"])) == ("complaint", "2015-01-01")


def test_rate_repeat_and_bare_framing(kafka: Any, topic: Any) -> None:
    name = topic(partitions=1)
    summary = published(
        *("--generate", "200", "--rate", "400", "--arrivals", "even", "--repeat", "2", "--framing", "bare"),
        *("--topic", name, "--bootstrap", kafka.bootstrap),
    )
    assert summary["published"] == 400
    assert 0.95 < summary["seconds"] < 5
    messages = read_back(kafka.bootstrap, name, 400)
    ids = [claim["claim_id"] for claim in claims_of(messages, prefix=0)]
    assert len(set(ids)) == 400
    assert {"G1-00000199", "G1-00000199~2"} <= set(ids)
    stamps = [message.timestamp()[1] for message in messages]
    assert stamps[-1] - stamps[0] == pytest.approx(1_000, abs=300)


def test_what_was_recorded_is_replayed_at_its_times(kafka: Any, topic: Any, tmp_path: Path) -> None:
    name = topic(partitions=1)
    place = ("--topic", name, "--bootstrap", kafka.bootstrap)
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    paced = ("--rate", "300", "--arrivals", "on-off:period=0.5,on=0.2")
    published("--generate", "300", *paced, "--record", str(first), *place)
    recorded = read_recording(first)
    assert len(recorded) == 300
    assert np.all(recorded % 0.5 < 0.25)
    published("--generate", "300", "--replay", str(first), "--record", str(second), *place)
    assert np.all(read_recording(second) >= recorded)
    assert np.median(read_recording(second) - recorded) < 0.05


def refused(code: int, *arguments: str) -> str:
    done = claimstream("publish", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def test_what_is_wrong_is_said_before_anything_is_sent(kafka: Any, topic: Any, tmp_path: Path) -> None:
    name = topic(partitions=1)
    file = tmp_path / "claims.csv"
    file.write_text("CLAIM_ID,CLAIM_TYPE\n1,professional\n")
    place = ("--topic", name, "--bootstrap", kafka.bootstrap)
    assert "no column MEMBER_ID (claim.member_id)" in refused(2, str(file), "--mapping", "tuva", *place)
    assert "Did you mean tuva" in refused(2, str(file), "--mapping", "tuba", *place)
    assert "--mapping is missing" in refused(2, str(file), *place)
    assert "one of the two" in refused(2, *place)
    assert "--registry" in refused(2, "--generate", "5", "--framing", "confluent", *place)
    cut = files.write_parquet(tmp_path / "cut.parquet", files.claims(50))
    cut.write_bytes(cut.read_bytes()[:-9])
    assert "no whole Parquet file" in refused(2, str(cut), *place)
    table = files.claims(5)
    table = table.set_column(2, table.schema.field("member_id"), pa.array([""] * 5))
    none = files.write_parquet(tmp_path / "none.parquet", table)
    answer = refused(2, str(none), *place)
    assert "all 5 are rejected, the first (row 1) because: member_id is empty" in answer
    assert "before that" not in answer
    secret = ("--client", "sasl.passwort=hunter2")
    answer = refused(2, "--generate", "5", *place, *secret)
    assert "sasl.passwort" in answer
    assert "hunter2" not in answer
    assert read_back(kafka.bootstrap, name, 0) == []


def test_a_missing_topic_is_named_with_the_command_that_creates_it(kafka: Any) -> None:
    answer = refused(2, "--generate", "5", "--topic", "no-such-topic", "--bootstrap", kafka.bootstrap)
    assert "no-such-topic" in answer
    assert f"create it with `claimstream topics create --bootstrap {kafka.bootstrap} no-such-topic`" in answer


def test_an_unreachable_broker_is_named_within_ten_seconds() -> None:
    start = time.monotonic()
    assert "127.0.0.1:1" in refused(1, "--generate", "5", "--bootstrap", "127.0.0.1:1")
    assert time.monotonic() - start < 14


def score(number: int) -> dict[str, Any]:
    now = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    model = {"model": "null", "version": "1", "variant": "", "score": 0.5, "decision": "pass"}
    return {
        "claim_id": f"C{number}",
        "claim_type": "professional",
        "input_topic": "claims",
        "input_partition": 0,
        "input_offset": number,
        "input_timestamp": now,
        "scores": [{**model, "precision": "fp32", "device": "cpu"}],
        "outcome": "scored",
        "scored_at": now,
        "queue_ms": 1.0,
        "inference_ms": 1.0,
        "deadline_missed": False,
    }


def test_tail_prints_scores_and_names_what_is_none(kafka: Any, topic: Any) -> None:
    name = topic(partitions=1)
    encoder = Encoder(schemas.load("claim_score"))
    rows = [score(number) for number in range(5)]
    rows[3] |= {"claim_type": "dental"}
    batch = pa.RecordBatch.from_pylist(rows, schema=encoder.arrow_schema)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for value in [b"garbage", *encoder.encode(batch)]:
        producer.produce(name, value)
    assert producer.flush(10) == 0
    place = ("--topic", name, "--bootstrap", kafka.bootstrap, "--from-beginning", "--timeout", "5")
    shown = claimstream("tail", *place, "--count", "5")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert len(lines) == 6
    assert lines[1].split() == ["03:04:05.678", "C0", "professional", "0.500", "pass", "null", "1"]
    assert f"not a score: {name}[0]@0" in shown.stderr
    printed = claimstream("tail", *place, "--count", "3", "--json")
    assert [json.loads(line)["claim_id"] for line in printed.stdout.splitlines()] == ["C0", "C1", "C2"]
    chosen = claimstream("tail", *place, "--count", "1", "--json", "--type", "dental", "--min-score", "0.5")
    assert json.loads(chosen.stdout)["claim_id"] == "C3"
