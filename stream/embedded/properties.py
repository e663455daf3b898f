"""The configuration file of a broker: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Node:
    """A combined broker and controller on the loopback interface."""

    number: int
    port: int
    controller_port: int
    folder: Path


def server_properties(node: Node, nodes: Sequence[Node], overrides: Mapping[str, str]) -> str:
    """server.properties of `node` in a cluster of `nodes`; overrides win."""
    replicas = str(len(nodes))
    values = {
        "process.roles": "broker,controller",
        "node.id": str(node.number),
        "controller.quorum.voters": ",".join(f"{n.number}@127.0.0.1:{n.controller_port}" for n in nodes),
        "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(node.folder / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": str(len(nodes) // 2 + 1),
        "transaction.state.log.num.partitions": "8",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": "1",
        "default.replication.factor": replicas,
        "min.insync.replicas": str(len(nodes) // 2 + 1),
        "group.initial.rebalance.delay.ms": "0",
        "log.retention.hours": "24",
    }
    return "".join(f"{name}={value}\n" for name, value in {**values, **overrides}.items())
