"""Arrow columns to Kafka values."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyruhvro

from stream.codec.framing import Framing, confluent_prefix, single_object_prefix


class Encoder:
    """Encodes whole batches. Columns have exactly the types of `arrow_schema` (field names and order included)."""

    def __init__(
        self, schema: dict[str, Any], framing: Framing = Framing.SINGLE_OBJECT, schema_id: int | None = None
    ) -> None:
        self._text = json.dumps(schema)
        self.arrow_schema: pa.Schema = pyruhvro.avro_to_arrow_schema(self._text)
        self._prefix = _prefix(schema, framing, schema_id)

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """One framed value a row. Raises ValueError for a null where the schema has none, or for other columns."""
        if batch.schema.types != self.arrow_schema.types or batch.schema.names != self.arrow_schema.names:
            raise ValueError(f"columns {batch.schema} are not those of the schema, {self.arrow_schema}")
        for field in self.arrow_schema:
            if not field.nullable and batch.column(field.name).null_count:
                raise ValueError(f"field {field.name!r} has a null, which its schema does not allow")
        if batch.num_rows == 0:
            return []
        prefix = self._prefix
        encoded = pyruhvro.serialize_record_batch(batch, self._text, 1)
        return [prefix + value for array in encoded for value in array.to_pylist()]


def _prefix(schema: dict[str, Any], framing: Framing, schema_id: int | None) -> bytes:
    if framing is Framing.BARE:
        return b""
    if framing is Framing.SINGLE_OBJECT:
        return single_object_prefix(schema)
    if schema_id is None:
        raise ValueError("the Confluent framing needs the schema's id in its registry")
    return confluent_prefix(schema_id)
