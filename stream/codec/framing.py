"""How a record says which schema wrote it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
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


def prefix_fields(framing: Framing, taken: Sequence[str]) -> list[dict[str, str]]:
    """Avro fields that have just the bytes of a prefix: a varint and a floating-point number."""
    if framing is Framing.BARE:
        return []
    free = "_" * (1 + max(map(len, taken), default=0))
    stamp = "double" if framing is Framing.SINGLE_OBJECT else "float"
    return [{"name": f"{free}magic", "type": "long"}, {"name": f"{free}stamp", "type": stamp}]


def prefix_images(prefix: bytes) -> list[np.integer[Any]]:
    """What the fields of `prefix_fields` hold when they were read from this prefix, as memory images."""
    if not prefix:
        return []
    if prefix.startswith(SINGLE_OBJECT_MAGIC):
        return [_magic(SINGLE_OBJECT_MAGIC), np.frombuffer(prefix, np.uint64, 1, len(SINGLE_OBJECT_MAGIC))[0]]
    return [_magic(CONFLUENT_MAGIC), np.frombuffer(prefix, np.uint32, 1, len(CONFLUENT_MAGIC))[0]]


def _magic(magic: bytes) -> np.int64:
    zigzag = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(magic))
    return np.int64((zigzag >> 1) ^ -(zigzag & 1))
