"""Bytes to columns and back: Avro in three framings, whole polls at once, failure per record."""

from stream.codec.decoder import Decoded, Decoder, Failure
from stream.codec.encoder import Encoder
from stream.codec.framing import Framing
from stream.codec.plain import plain_rows
from stream.codec.samples import sample_claims, samples
from stream.codec.source import SchemaSource

__all__ = [
    "Decoded",
    "Decoder",
    "Encoder",
    "Failure",
    "Framing",
    "SchemaSource",
    "plain_rows",
    "sample_claims",
    "samples",
]
