"""A broker of one's own, with topics that are full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.preload import preload
from bench.windows import Route
from stream.embedded import EmbeddedKafka
from stream.topics import ensure_topics, stage_topics

PARTITIONS = 4


@contextmanager
def loaded_broker(claims: int) -> Iterator[Route]:
    """An embedded broker whose input topic holds `claims` claims on four partitions."""
    with EmbeddedKafka() as kafka:
        route = Route(kafka.bootstrap, "bench-claims", "bench-scores", "bench-dead-letters", PARTITIONS)
        client = {"bootstrap.servers": kafka.bootstrap}
        ensure_topics(client, stage_topics(route.claims, route.scores, route.dead_letters, PARTITIONS, 1))
        if claims:
            preload(kafka.bootstrap, route.claims, claims, PARTITIONS)
        yield route
