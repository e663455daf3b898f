"""A real Kafka for the demo and the tests, started from Python."""

from stream.embedded.broker import EmbeddedKafka

__all__ = ["EmbeddedKafka"]
