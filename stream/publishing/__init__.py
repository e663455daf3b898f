"""Claims in: generated, or read from files, by a mapping where they are rows, and published to Kafka."""

from stream.publishing.claim_files import open_claims
from stream.publishing.claim_source import ClaimRows, ClaimSource, Counts
from stream.publishing.claims_file import ClaimsFile, load_claims
from stream.publishing.file_kinds import Kind
from stream.publishing.generator import generate
from stream.publishing.mapping import Mapping, load_mapping, shipped_mappings
from stream.publishing.pacing import ArrivalPacer, Pacer, pacer
from stream.publishing.patterns import PATTERNS, Pattern, Poisson, parse_pattern
from stream.publishing.publisher import DeliveryError, Publisher, publish_all
from stream.publishing.recording import Recorder, read_recording, write_recording
from stream.publishing.rejects import Reject, write_rejects
from stream.publishing.repetition import repeated
from stream.publishing.row_files import read_rows
from stream.publishing.supply import Supply, from_file, from_generator, nothing_made

__all__ = [
    "PATTERNS",
    "ArrivalPacer",
    "ClaimRows",
    "ClaimSource",
    "ClaimsFile",
    "Counts",
    "DeliveryError",
    "Kind",
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
    "open_claims",
    "pacer",
    "parse_pattern",
    "publish_all",
    "read_recording",
    "read_rows",
    "repeated",
    "shipped_mappings",
    "write_recording",
    "write_rejects",
]
