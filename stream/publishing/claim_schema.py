"""Arrow's view of the shipped claim_event schema."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import pyarrow as pa
import pyruhvro


@cache
def claim_schema() -> pa.Schema:
    text = files("schemas").joinpath("claim_event.avsc").read_text(encoding="utf-8")
    schema: pa.Schema = pyruhvro.avro_to_arrow_schema(text)
    return schema
