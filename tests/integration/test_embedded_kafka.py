"""The embedded Kafka as its users meet it: the class and `claimstream broker`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource

from stream.cli.main import main
from stream.embedded import EmbeddedKafka, downloads
from stream.embedded.ports import free_ports, is_free
from stream.errors import FatalError
from stream.topics import TopicSpec, describe, ensure_topics, replicas_of_new
from tests.conftest import Kafka, MakeTopic

COMMAND = [sys.executable, "-m", "stream"]
# Whatever asks the network goes through a proxy that is not there.
OFFLINE = {
    **os.environ,
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "NO_PROXY": "",
}


def claimstream(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def broker_command(port: int, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """`claimstream broker` in the foreground of a process of its own, ready to be used."""
    options = ["--port", str(port), "--directory", str(directory), "--json"]
    process = subprocess.Popen([*COMMAND, "broker", *options], stdout=subprocess.PIPE, text=True, env=OFFLINE)
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        assert said == {"bootstrap": f"127.0.0.1:{port}", "directory": str(directory)}
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def produced(bootstrap: str, topic: str, value: bytes, **options: Any) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "log_level": 0, **options})
    producer.produce(topic, value)
    assert producer.flush(30.0) == 0


def first_value(bootstrap: str, topic: str) -> bytes | None:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    try:
        record = consumer.poll(30.0)
        return None if record is None else record.value()
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def _jars(kafka: Kafka) -> None:
    """The class path is in the cache."""
    if not isinstance(kafka, EmbeddedKafka) and not downloads.is_fetched("kafka"):
        pytest.skip("the tests run against another Kafka and the embedded one was never downloaded")


@pytest.mark.usefixtures("_jars")
def test_broker_command_keeps_its_directory_and_ends_with_its_parent(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    bootstrap = f"127.0.0.1:{port}"
    with broker_command(port, tmp_path) as process:
        assert json.loads(
            claimstream("topics", "create", "kept", "--bootstrap", bootstrap, "--json").stdout
        ) == {
            "created": ["kept"],
            "existing": [],
        }
        produced(bootstrap, "kept", b"claim")
        refused = claimstream("broker", "--port", str(port))
        assert refused.returncode == 2
        assert f"port {port} of 127.0.0.1 is in use" in refused.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(30.0) == 0
    assert is_free(port)
    with broker_command(port, tmp_path) as process:
        assert first_value(bootstrap, "kept") == b"claim"
        family = psutil.Process(process.pid).children(recursive=True)
        assert any(member.name() == "java" for member in family)
        process.kill()
        _, alive = psutil.wait_procs(family, timeout=30.0)
        assert not alive
    assert tmp_path.is_dir()


@pytest.mark.usefixtures("_jars")
@pytest.mark.slow
def test_three_brokers_outlive_the_death_and_the_silence_of_one() -> None:
    with EmbeddedKafka(3) as cluster:
        ensure_topics({"bootstrap.servers": cluster.bootstrap}, [TopicSpec("t", 3, 3)])
        addresses = cluster.bootstrap.split(",")
        first = cluster.pid(1)
        cluster.kill(1)
        assert not psutil.pid_exists(first)
        produced(f"{addresses[0]},{addresses[2]}", "t", b"while one is dead")
        cluster.restart(1)
        assert describe({"bootstrap.servers": addresses[1]}, ["t"]) == {"t": 3}
        cluster.pause(2)
        with pytest.raises(KafkaException):
            AdminClient({"bootstrap.servers": addresses[2], "log_level": 0}).list_topics(timeout=1.0)
        cluster.resume(2)
        assert describe({"bootstrap.servers": addresses[2]}, ["t"]) == {"t": 3}
        folder = cluster.folder
    assert not folder.exists()


@pytest.mark.usefixtures("_jars")
def test_broker_that_dies_at_its_start_tells_the_end_of_its_log() -> None:
    broken = EmbeddedKafka(overrides={"metric.reporters": "no.such.Reporter"})
    with pytest.raises(FatalError, match=r"(?s)broker 0 has ended.*no\.such\.Reporter"), broken:
        pass
    assert not broken.folder.exists()


@pytest.mark.usefixtures("_jars")
def test_impossible_setting_is_named() -> None:
    with (
        pytest.raises(FatalError, match=r"(?s)could not be formatted.*num\.io\.threads"),
        EmbeddedKafka(overrides={"num.io.threads": "many"}),
    ):
        pass


def test_topics_are_created_once(kafka: Kafka, topic: MakeTopic) -> None:
    client = {"bootstrap.servers": kafka.bootstrap}
    present = topic(partitions=3)
    assert describe(client, [present, "no-such-topic"]) == {present: 3, "no-such-topic": None}
    assert replicas_of_new(client, ["no-such-topic"]) in (None, 3)
    assert describe(client, ["no-such-topic"]) == {"no-such-topic": None}
    assert ensure_topics(client, [TopicSpec(present, 5)]) == []
    said = claimstream(
        "topics", "create", present, "--bootstrap", kafka.bootstrap, "--partitions", "5"
    ).stdout
    assert said == f"{present} exists with 3 partitions, not 5; left as it is\n"


def test_stage_topics_give_dead_letters_more_room(kafka: Kafka) -> None:
    names = [f"{name}-{os.urandom(4).hex()}" for name in ("in", "out", "dead")]
    options = ["--input", names[0], "--output", names[1], "--dead-letters", names[2], "--replication", "1"]
    done = claimstream("topics", "create", "--bootstrap", kafka.bootstrap, *options)
    assert done.stdout.splitlines() == [f"created {name} with 4 partitions" for name in names]
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    answers = admin.describe_configs(resources)
    limits = [int(answers[each].result(10.0)["max.message.bytes"].value) for each in resources]
    assert limits[2] - limits[0] == limits[2] - limits[1] == 2 * 1_048_576


def test_impossible_topic_is_bad_usage(kafka: Kafka) -> None:
    done = claimstream("topics", "create", "not a topic", "--bootstrap", kafka.bootstrap)
    assert done.returncode == 2
    assert "topic 'not a topic' could not be created" in done.stderr


def test_unreachable_broker_is_clear_within_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    begin = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        main(["topics", "create", "--wait", "0", "--bootstrap", "127.0.0.1:1"])
    assert time.monotonic() - begin < 10.0
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "no Kafka broker answers at 127.0.0.1:1" in said
    assert "refused" in said
