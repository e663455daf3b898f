"""Results as files: Parquet, an Avro container, or CSV, by the extension of their name."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

import schemas
from stream.codec import Encoder, Framing
from stream.errors import UsageError

Write = Callable[[pa.RecordBatch], None]

_SYNC_BYTES = 16
_NESTED = "scores"


def suffix_of(output: Path) -> str:
    """The extension that says the format. Raises UsageError for any other."""
    suffix = output.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"{output}: results are written as {', '.join(FORMATS)}; end the name in one of these"
        )
    return suffix


def opened(path: Path, suffix: str) -> AbstractContextManager[Write]:
    """A new file of results, overwritten if it is there; what is to be called with each batch of them."""
    return FORMATS[suffix](path)


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    schema = Encoder(_schema()).arrow_schema
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        yield writer.write_batch


@contextmanager
def _avro(path: Path) -> Iterator[Write]:
    """A container whose blocks come from the encoder of the stage."""
    encoder, start = Encoder(_schema(), Framing.BARE), io.BytesIO()
    fastavro.writer(start, _schema(), [])
    header = start.getvalue()
    sync = header[-_SYNC_BYTES:]
    with path.open("wb") as file:
        file.write(header)

        def write(batch: pa.RecordBatch) -> None:
            records = encoder.encode(batch)
            if records:
                content = b"".join(records)
                file.write(_long(len(records)) + _long(len(content)) + content + sync)

        yield write


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    """One line a claim and model; the fields of a score stand in the place of `scores`."""
    empty = flattened(pa.RecordBatch.from_pylist([], schema=Encoder(_schema()).arrow_schema))
    with pyarrow.csv.CSVWriter(path, empty.schema) as writer:
        yield lambda batch: writer.write_batch(flattened(batch))


FORMATS = {".parquet": _parquet, ".avro": _avro, ".csv": _csv}


def flattened(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A row for each score of each claim."""
    scores: Any = batch.column(_NESTED)
    offsets = scores.offsets.to_numpy()
    claim = pa.array(np.repeat(np.arange(batch.num_rows), np.diff(offsets)))
    columns: dict[str, Any] = {}
    for field in batch.schema:
        if field.name == _NESTED:
            entries = scores.flatten()
            columns.update(zip([each.name for each in entries.type], entries.flatten(), strict=True))
        else:
            columns[field.name] = batch.column(field.name).take(claim)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _schema() -> dict[str, Any]:
    return schemas.load("claim_score")


def _long(value: int) -> bytes:
    """Avro's form of a count."""
    rest, out = value << 1, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)
