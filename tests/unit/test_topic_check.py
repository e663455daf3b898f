"""A missing topic is told with the command that creates this one."""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import pytest

from config import Settings, load_settings
from stream.cli.kafka_options import configured_client
from stream.cli.topic_check import partitions_of
from stream.errors import UsageError
from stream.topics import _Cluster


def hint(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    topic: str,
    found: dict[str, int],
    *client_options: str,
) -> str:
    monkeypatch.setattr("stream.cli.topic_check.partitions", lambda _: found)
    monkeypatch.setattr("stream.cli.topic_check.replicas_of_new", lambda *_: 3 if found else None)
    config = configured_client(settings.kafka.client, settings.kafka.bootstrap_servers, client_options)
    with pytest.raises(UsageError) as refused:
        partitions_of(config, topic, settings)
    return str(refused.value).split("create it with ")[1]


def test_the_command_names_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(None, {}, {"kafka.bootstrap_servers": "k:1"})
    said = hint(monkeypatch, settings, "mine", {"another": 7})
    assert said == "`claimstream topics create --bootstrap k:1 --replication 3 mine`"


def test_it_has_the_file_of_the_settings_and_as_many_partitions_as_the_topics_that_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "stage.yaml"
    file.write_text(
        "kafka: {bootstrap_servers: 'k:1', client: {security.protocol: SSL}, topics: {input: c}}\n"
    )
    said = hint(monkeypatch, load_settings(file, {}, {}), "claim-scores", {"c": 12})
    assert (
        said
        == f"`claimstream topics create --bootstrap k:1 --config {file} --partitions 12 --replication 3 claim-scores`"
    )


def test_topics_and_options_that_only_the_command_line_names_are_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"kafka.bootstrap_servers": "k:1", "kafka.topics.dead_letters": "letters"}
    said = hint(monkeypatch, load_settings(None, {}, given), "letters", {}, "sasl.password=hunter2")
    assert (
        said == "`claimstream topics create --bootstrap k:1 --dead-letters letters letters`"
        " and the same --client options"
    )


def test_a_cluster_that_is_let_go_leaves_no_thread_behind() -> None:
    """Without waiting for the collector, which hardly ever comes round in a supervisor."""
    gc.collect()
    gc.disable()
    try:
        before = psutil.Process().num_threads()
        cluster = _Cluster({"bootstrap.servers": "127.0.0.1:1"})
        assert psutil.Process().num_threads() > before
        del cluster
        assert psutil.Process().num_threads() == before
    finally:
        gc.enable()
