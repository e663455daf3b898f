"""Arrow's view of the shipped claim_event schema."""

from __future__ import annotations

import json
from functools import cache

import pyarrow as pa
import pyruhvro

import schemas


@cache
def claim_schema() -> pa.Schema:
    schema: pa.Schema = pyruhvro.avro_to_arrow_schema(json.dumps(schemas.load("claim_event")))
    return schema
