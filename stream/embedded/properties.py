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

    @property
    def address(self) -> str:
        """For `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """The folder of its partitions."""
        return self.folder / "data"

    @property
    def configuration(self) -> Path:
        """Its server.properties."""
        return self.folder / "server.properties"


def server_properties(node: Node, nodes: Sequence[Node], overrides: Mapping[str, str]) -> str:
    """server.properties of `node` in a cluster of `nodes`; overrides win."""
    values = {**_place(node, nodes), **_replication(len(nodes)), **_manners(), **overrides}
    return "".join(f"{name}={_escaped(value)}\n" for name, value in values.items())


def _place(node: Node, nodes: Sequence[Node]) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.number),
        "controller.quorum.voters": ",".join(f"{n.number}@127.0.0.1:{n.controller_port}" for n in nodes),
        "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(node.data),
    }


def _replication(brokers: int) -> dict[str, str]:
    replicas, majority = str(brokers), str(brokers // 2 + 1)
    return {
        "default.replication.factor": replicas,
        "min.insync.replicas": majority,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": majority,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": majority,
    }


def _manners() -> dict[str, str]:
    """Records stay whatever their timestamps say; a group forms at once; internal topics stay small.

    A killed broker may come back only when its session is over, so that is short.
    """
    return {
        "auto.create.topics.enable": "false",
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "4000",
        "group.initial.rebalance.delay.ms": "0",
        "log.retention.ms": "-1",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "8",
        "share.coordinator.state.topic.num.partitions": "8",
    }


def _escaped(value: str) -> str:
    """By the rules of java.util.Properties, which reads Latin-1."""
    head, rest = value[: len(value) - len(value.lstrip())], value.lstrip()
    return "".join(map(_unicode_escape, head)) + "".join(
        character if " " <= character <= "~" and character != "\\" else _unicode_escape(character)
        for character in rest
    )


def _unicode_escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
