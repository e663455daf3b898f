"""A real Kafka and a real Schema Registry for the demo and the tests, started from Python."""

from stream.embedded.broker import EmbeddedKafka
from stream.embedded.registry import EmbeddedRegistry

__all__ = ["EmbeddedKafka", "EmbeddedRegistry"]
