"""What `publish` carries from files, against the same producer with its records ready in memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from confluent_kafka import Producer

import schemas
from bench.broker import loaded_broker
from bench.plots import windows_plot
from bench.report import Figure, spread
from bench.windows import Route, one_round
from stream.clock import SystemClock
from stream.codec import Encoder
from stream.codec.framing import single_object_prefix
from stream.publishing import Publisher, from_file, generate, publish_all
from stream.publishing.publisher import DEFAULTS, IDENTITY_SECONDS, REQUIRED, SEND_ROWS

_SEED = 11


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """`publish_per_s` from CSV, and `publish_vs_producer` from Avro; contestants alternate in one run."""
    claims, rounds = (100_000, 2) if quick else (200_000, 5)
    with TemporaryDirectory() as name, loaded_broker(0) as route:
        contestants = _contestants(Path(name), list(generate(claims, _SEED)), route)
        # The first round is the broker's: its compiler is slow until it has seen some.
        results = [one_round(contestants, claims, number) for number in range(rounds + 1)][1:]
    windows_plot(results, plots / "publish.png")
    return figures(results)


def figures(results: list[dict[str, float]]) -> list[Figure]:
    csv = [result["csv"] for result in results]
    ratios = [result["avro"] / result["producer"] for result in results]
    loops = [result["avro"] / result["loop"] for result in results]
    found = [
        Figure("publish_per_s", statistics.median(csv), "claims/s", "≥ 50000", spread(csv)),
        Figure("publish_vs_producer", statistics.median(ratios), "x", "≥ 0.8", spread(ratios)),
        Figure("publish_vs_loop", statistics.median(loops), "x", "", spread(loops)),
    ]
    for name in ("avro", "parquet", "producer", "loop"):
        speeds = [result[name] for result in results]
        found.append(
            Figure(f"publish_{name}_per_s", statistics.median(speeds), "claims/s", "", spread(speeds))
        )
    return found


Contestant = Callable[[], None]


def _contestants(folder: Path, batches: list[pa.RecordBatch], route: Route) -> dict[str, Contestant]:
    table = pa.Table.from_batches(batches)
    rows, avro = folder / "claims.csv", folder / "claims.avro"
    parquet = folder / "claims.parquet"
    write_csv(rows, table)
    write_avro(avro, batches)
    pq.write_table(table, parquet)
    # Known to the broker before the clock runs: that takes half a second, whoever publishes.
    publisher, producer = _publisher(route), _producer(route)
    ready = [record for batch in batches for record in publisher.prepare(batch)]
    return {
        "producer": lambda: _send(publisher, ready),
        "loop": lambda: _loop(producer, route.claims, avro),
        "avro": lambda: _publish(publisher, avro),
        "csv": lambda: _publish(publisher, rows, "plain"),
        "parquet": lambda: _publish(publisher, parquet),
    }


def _publisher(route: Route) -> Publisher:
    publisher = Publisher(
        {"bootstrap.servers": route.bootstrap}, route.claims, Encoder(schemas.load("claim_event"))
    )
    publisher.connect()
    return publisher


def _send(publisher: Publisher, records: list[dict[str, Any]]) -> None:
    """The producer alone: the records are there already."""
    for start in range(0, len(records), SEND_ROWS):
        publisher.send(records[start : start + SEND_ROWS])
    publisher.flush()


def _producer(route: Route) -> Producer:
    producer = Producer({**DEFAULTS, **REQUIRED, "bootstrap.servers": route.bootstrap})
    producer.list_topics(route.claims)
    producer.poll(IDENTITY_SECONDS)
    return producer


def _loop(producer: Producer, topic: str, path: Path) -> None:
    """What one writes without claimstream: fastavro's reader and writer, and a producer with the same options."""
    schema = fastavro.parse_schema(schemas.load("claim_event"))
    prefix = single_object_prefix(schemas.load("claim_event"))
    with path.open("rb") as file:
        record: Any
        for record in fastavro.reader(file):
            sink = BytesIO()
            sink.write(prefix)
            fastavro.schemaless_writer(sink, schema, record)
            _produced(producer, topic, record["member_id"], sink.getvalue())
    producer.flush()


def _produced(producer: Any, topic: str, key: str, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.01)


def _publish(publisher: Publisher, path: Path, mapping: str | None = None) -> None:
    """As the command does it, from opening the file to the last acknowledgement."""
    for _ in publish_all(publisher, from_file(path, mapping).batches(), clock=SystemClock()):
        pass
    publisher.flush()


def write_csv(path: Path, table: pa.Table) -> None:
    """One row a claim: its first line and its first three codes."""
    names = ("claim_id", "claim_type", "member_id", "provider_id", "service_date", "received_date")
    columns: dict[str, Any] = {name: table.column(name) for name in names}
    codes = table.column("codes").to_pylist()
    for place in range(3):
        columns[f"code_{place + 1}"] = [
            claim[place]["code"] if len(claim) > place else None for claim in codes
        ]
    first = [claim[0] if claim else {} for claim in table.column("lines").to_pylist()]
    for name in ("procedure_code", "revenue_code", "units", "charge"):
        columns[name] = [line.get(name) for line in first]
    pyarrow.csv.write_csv(pa.table(columns), path)


def write_avro(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """As fastavro writes it unless told otherwise: blocks of 16 kB, not packed."""
    rows = ({**row, "attributes": dict(row["attributes"])} for batch in batches for row in batch.to_pylist())
    with path.open("wb") as file:
        fastavro.writer(file, schemas.load("claim_event"), rows)
