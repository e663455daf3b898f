"""How a record says which schema wrote it."""

from __future__ import annotations

import struct
from enum import Enum
from typing import Any

from fastavro.schema import fingerprint, to_parsing_canonical_form

CONFLUENT_MAGIC = b"\x00"
CONFLUENT_HEADER = 5
SINGLE_OBJECT_MAGIC = b"\xc3\x01"
SINGLE_OBJECT_HEADER = 10


class Framing(Enum):
    """Confluent: `00` and a 4-byte schema id. Single object: `C3 01` and an 8-byte fingerprint. Bare: nothing."""

    CONFLUENT = "confluent"
    SINGLE_OBJECT = "single-object"
    BARE = "bare"


def single_object_prefix(schema: dict[str, Any]) -> bytes:
    """Marker and little-endian CRC-64-AVRO fingerprint of the schema's canonical form (Avro specification)."""
    rabin = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return SINGLE_OBJECT_MAGIC + bytes.fromhex(rabin)


def confluent_prefix(schema_id: int) -> bytes:
    """Magic byte and big-endian schema id."""
    return CONFLUENT_MAGIC + struct.pack(">I", schema_id)


def confluent_schema_id(value: bytes) -> int:
    """The id in a record that has at least the header's bytes."""
    return int(struct.unpack(">I", value[1:CONFLUENT_HEADER])[0])
