"""server.properties of the embedded brokers."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stream.embedded.properties import Node, server_properties


def nodes(count: int, folder: Path = Path("/data")) -> list[Node]:
    return [Node(i, 20_000 + i, 30_000 + i, folder / f"broker-{i}") for i in range(1, count + 1)]


def parsed(text: str) -> dict[str, str]:
    """As java.util.Properties reads it."""
    lines = [line.split("=", 1) for line in text.encode("latin-1").decode("latin-1").splitlines()]
    return {name: unescaped(value.lstrip(" \t\f")) for name, value in lines}


def unescaped(value: str) -> str:
    units = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match.group(1), 16)), value)
    return units.encode("utf-16-be", "surrogatepass").decode("utf-16-be")


def test_one_broker_keeps_one_replica_of_everything() -> None:
    values = parsed(server_properties(nodes(1)[0], nodes(1), {}))
    assert {values[name] for name in values if "replica" in name or name.endswith("min.isr")} == {"1"}
    assert values["group.initial.rebalance.delay.ms"] == "0"


def test_three_brokers_form_one_quorum_that_survives_the_loss_of_one() -> None:
    cluster = nodes(3)
    texts = [parsed(server_properties(node, cluster, {})) for node in cluster]
    assert {t["controller.quorum.voters"] for t in texts} == {
        "1@127.0.0.1:30001,2@127.0.0.1:30002,3@127.0.0.1:30003"
    }
    assert [t["node.id"] for t in texts] == ["1", "2", "3"]
    assert all(t["offsets.topic.replication.factor"] == "3" for t in texts)
    assert all(t["share.coordinator.state.topic.replication.factor"] == "3" for t in texts)
    assert all(t["min.insync.replicas"] == t["transaction.state.log.min.isr"] == "2" for t in texts)


def test_every_listener_is_on_loopback() -> None:
    cluster = nodes(3)
    for node in cluster:
        values = parsed(server_properties(node, cluster, {}))
        for name in ("listeners", "advertised.listeners"):
            assert all("://127.0.0.1:" in each for each in values[name].split(","))


def test_records_stay_whatever_their_timestamps_say() -> None:
    assert parsed(server_properties(nodes(1)[0], nodes(1), {}))["log.retention.ms"] == "-1"


def test_overrides_win() -> None:
    values = parsed(
        server_properties(nodes(1)[0], nodes(1), {"num.io.threads": "2", "log.retention.ms": "5"})
    )
    assert values["num.io.threads"] == "2"
    assert values["log.retention.ms"] == "5"


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1))
def test_any_folder_name_reaches_kafka_unchanged(name: str) -> None:
    node = nodes(1, Path("/data") / name)[0]
    assert parsed(server_properties(node, [node], {}))["log.dirs"] == str(node.data)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_value_survives_the_file(value: str) -> None:
    assert parsed(server_properties(nodes(1)[0], nodes(1), {"x": value}))["x"] == value
