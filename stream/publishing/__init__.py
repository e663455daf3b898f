"""Claims in: generated, or read from CSV by a mapping, and published to Kafka."""

from stream.publishing.claims_file import ClaimsFile, Counts, load_claims
from stream.publishing.generator import generate
from stream.publishing.mapping import Mapping, load_mapping, shipped_mappings
from stream.publishing.pacing import ArrivalPacer, Pacer, pacer
from stream.publishing.patterns import PATTERNS, Pattern, Poisson, parse_pattern
from stream.publishing.publisher import DeliveryError, Publisher, publish_all
from stream.publishing.recording import Recorder, read_recording, write_recording
from stream.publishing.rejects import Reject, write_rejects
from stream.publishing.repetition import repeated
from stream.publishing.supply import Supply, from_file, from_generator, nothing_made

__all__ = [
    "PATTERNS",
    "ArrivalPacer",
    "ClaimsFile",
    "Counts",
    "DeliveryError",
    "Mapping",
    "Pacer",
    "Pattern",
    "Poisson",
    "Publisher",
    "Recorder",
    "Reject",
    "Supply",
    "from_file",
    "from_generator",
    "generate",
    "load_claims",
    "load_mapping",
    "nothing_made",
    "pacer",
    "parse_pattern",
    "publish_all",
    "read_recording",
    "repeated",
    "shipped_mappings",
    "write_recording",
    "write_rejects",
]
