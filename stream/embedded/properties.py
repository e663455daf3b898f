"""The configuration file of a broker: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MECHANISM = "SCRAM-SHA-512"
_SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True, slots=True)
class Node:
    """A combined broker and controller on the loopback interface."""

    number: int
    port: int
    controller_port: int
    folder: Path
    secure_port: int = 0

    @property
    def address(self) -> str:
        """For `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def secure_address(self) -> str:
        """The same, for clients with TLS and a password."""
        return f"127.0.0.1:{self.secure_port}"

    @property
    def data(self) -> Path:
        """The folder of its partitions."""
        return self.folder / "data"

    @property
    def configuration(self) -> Path:
        """Its server.properties."""
        return self.folder / "server.properties"


@dataclass(frozen=True, slots=True)
class Security:
    """A second listener, with TLS and SCRAM. `certificate` is a PEM file of a private key and its chain."""

    certificate: Path
    passwords: Mapping[str, str]


def server_properties(
    node: Node, nodes: Sequence[Node], overrides: Mapping[str, str], security: Security | None = None
) -> str:
    """server.properties of `node` in a cluster of `nodes`; overrides win."""
    values = {**_place(node, nodes), **_replication(len(nodes)), **_manners()}
    if security is not None:
        _secure(values, node, security)
    values |= overrides
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


def _secure(values: dict[str, str], node: Node, security: Security) -> None:
    """Clients of the first listener, the brokers among them, stay as they are."""
    for name in ("listeners", "advertised.listeners"):
        values[name] += f",SECURE://{node.secure_address}"
    values["listener.security.protocol.map"] += ",SECURE:SASL_SSL"
    of_listener = {
        "sasl.enabled.mechanisms": _MECHANISM,
        f"{_MECHANISM.lower()}.sasl.jaas.config": f"{_SCRAM_MODULE} required;",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(security.certificate),
    }
    values |= {f"listener.name.secure.{name}": value for name, value in of_listener.items()}
    values["sasl.enabled.mechanisms"] = _MECHANISM


def scram_users(security: Security) -> list[str]:
    """Options of the formatting that makes the users."""
    return [
        f"--add-scram={_MECHANISM}=[name={name},password={password}]"
        for name, password in security.passwords.items()
    ]


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
