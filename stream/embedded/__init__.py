"""A real Kafka, a real Schema Registry and a real Redis for the demo and the tests, started from Python."""

from stream.embedded.broker import EmbeddedKafka
from stream.embedded.redis import EmbeddedRedis
from stream.embedded.registry import EmbeddedRegistry

__all__ = ["EmbeddedKafka", "EmbeddedRedis", "EmbeddedRegistry"]
