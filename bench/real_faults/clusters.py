"""Brokers to strike: one, one behind a proxy, one that asks for permission, or three."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from bench.real_faults.proxy import KafkaProxy
from stream.embedded import EmbeddedKafka
from stream.embedded.ports import free_ports


class Kind(Enum):
    """What stands between the stage and its records."""

    ONE = "one"
    PROXIED = "proxied"
    GUARDED = "guarded"
    THREE = "three"


# Sessions and heartbeats short enough that a fault and what follows it fit into seconds.
_QUICK = {
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "300",
    "group.consumer.heartbeat.interval.ms": "300",
    # How often the broker looks for transactions that lasted too long: every 10 s unless told otherwise.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}
_GUARDED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@dataclass(slots=True)
class Cluster:
    """Running brokers, and the proxy before them."""

    kind: Kind
    kafka: EmbeddedKafka
    proxy: KafkaProxy | None = None

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap if self.proxy is None else f"127.0.0.1:{self.proxy.port}"

    @property
    def client(self) -> dict[str, Any]:
        """Options of any client of these."""
        return {"bootstrap.servers": self.bootstrap}

    @property
    def brokers(self) -> int:
        return 3 if self.kind is Kind.THREE else 1

    def stop(self) -> None:
        self.kafka.stop()
        if self.proxy is not None:
            self.proxy.stop()


class Clusters:
    """At most one cluster at a time: each needs a third of a gigabyte a broker."""

    def __init__(self) -> None:
        self._running: Cluster | None = None

    def get(self, kind: Kind) -> Cluster:
        """The cluster of this kind; another one ends."""
        if self._running is not None and self._running.kind is kind:
            return self._running
        self.close()
        self._running = _started(kind)
        return self._running

    def close(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None


def _started(kind: Kind) -> Cluster:
    if kind is not Kind.PROXIED:
        kafka = EmbeddedKafka(
            brokers=3 if kind is Kind.THREE else 1,
            overrides={**_QUICK, **(_GUARDED if kind is Kind.GUARDED else {})},
        )
        return _entered(Cluster(kind, kafka))
    # The broker names the proxy as its address, and so every client comes through it, the broker's own too.
    port, upstream = free_ports(2)
    proxy = KafkaProxy(port, upstream)
    proxy.start()
    advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}"}
    return _entered(Cluster(kind, EmbeddedKafka(port=upstream, overrides={**_QUICK, **advertised}), proxy))


def _entered(cluster: Cluster) -> Cluster:
    try:
        cluster.kafka.start()
    except BaseException:
        cluster.stop()
        raise
    return cluster
