"""Claims in: generated, or read from CSV by a mapping, and published to Kafka."""

from stream.publishing.claims_file import ClaimsFile, Counts, load_claims
from stream.publishing.generator import generate
from stream.publishing.mapping import Mapping, load_mapping, shipped_mappings
from stream.publishing.pacing import Arrivals, EvenPacer, Pacer, PoissonPacer, pacer
from stream.publishing.publisher import DeliveryError, Publisher, publish_all
from stream.publishing.rejects import Reject, write_rejects
from stream.publishing.repetition import repeated
from stream.publishing.supply import Supply, from_file, from_generator

__all__ = [
    "Arrivals",
    "ClaimsFile",
    "Counts",
    "DeliveryError",
    "EvenPacer",
    "Mapping",
    "Pacer",
    "PoissonPacer",
    "Publisher",
    "Reject",
    "Supply",
    "from_file",
    "from_generator",
    "generate",
    "load_claims",
    "load_mapping",
    "pacer",
    "publish_all",
    "repeated",
    "shipped_mappings",
    "write_rejects",
]
