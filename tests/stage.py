"""Starts the stage as its users do, and looks at it from outside."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import fastavro
import psutil
from confluent_kafka import Producer

import schemas
from bench.real_faults.stage import names
from bench.scrape import page
from stream.audit import HEADER_BYTES, Finding, Topics, audit
from stream.audit_topics import messages
from stream.codec import Encoder
from stream.publishing import generate

READY_SECONDS = 60
# How soon the group gives up a member that died without a word.
QUICK = {"CLAIMSTREAM_KAFKA__CONSUMER__SESSION_TIMEOUT_MS": "6000"}


def publish(bootstrap: str, topic: str, count: int, seed: int = 5, **more: Any) -> None:
    encoder = Encoder(schemas.load("claim_event"))
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for batch in generate(count, seed):
        members = batch.column("member_id").to_pylist()
        for value, member in zip(encoder.encode(batch), members, strict=True):
            producer.produce(topic, value, key=member.encode(), **more)
        producer.poll(0)
    assert producer.flush(30) == 0


class RunningStage:
    """A stage in a process of its own, and its endpoints."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self._port = port

    def get(self, path: str) -> tuple[int, str]:
        """Status and text; status 0 while nothing answers."""
        return page(self._port, path, 5.0)

    def order(self, action: str, models: Sequence[str], token: str) -> tuple[int, Any]:
        """Have the model cache load or let go; status and answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/ml/cache/{action}",
            json.dumps({"models": list(models)}).encode(),
            {"Authorization": f"Bearer {token}"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def delivered(self) -> int:
        """Results acknowledged so far, as the stage counts them."""
        _, text = self.get("/metrics")
        name = "claimstream_claims_delivered_total"
        numbers = [line.split()[-1] for line in text.splitlines() if line.startswith(name)]
        return int(float(numbers[0])) if numbers else 0

    def stop(self) -> int:
        """Ask it to drain; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def said(self) -> str:
        """Standard error of a stage that has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def workers(self) -> list[int]:
        """Process numbers of the workers."""
        command = ["pgrep", "-f", "spawn_main", "-P", str(self.process.pid)]
        # It fails where there is none.
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return [int(number) for number in found.stdout.split()]


@contextmanager
def stage(
    bootstrap: str,
    topics: Topics,
    workers: int = 1,
    model: str = "null",
    *,
    group: bool = False,
    **environment: str,
) -> Iterator[RunningStage]:
    """`group`: in a process group of its own."""
    port = free_port()
    command = [sys.executable, "-m", "stream", "run", "--bootstrap", bootstrap, "--model", model]
    process = subprocess.Popen(
        [*command, "--workers", str(workers), "--port", str(port)],
        env={**os.environ, **names(topics), **environment},
        stderr=subprocess.PIPE,
        start_new_session=group,
    )
    try:
        yield RunningStage(process, port)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def gone(pid: int) -> bool:
    """Whether a process has ended, its parent's knowledge of it aside."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_that(condition: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def check(kafka: Any, topics: Topics) -> Finding:
    return audit({"bootstrap.servers": kafka.bootstrap}, topics)


def read(kafka: Any, topic: str) -> list[Any]:
    return list(messages({"bootstrap.servers": kafka.bootstrap}, topic))


def score_of(message: Any) -> dict[str, Any]:
    """The record of a result."""
    found: Any = fastavro.schemaless_reader(
        io.BytesIO(message.value()[HEADER_BYTES:]), schemas.load("claim_score"), None
    )
    return dict(found)


def left_open(bootstrap: str, topic: str, partitions: int = 1) -> Producer:
    """A producer whose transaction wrote into every partition of a topic and is open."""
    options = {"bootstrap.servers": bootstrap, "transactional.id": f"left open in {topic}"}
    producer = Producer({**options, "linger.ms": 0})
    producer.init_transactions(10.0)
    producer.begin_transaction()
    for partition in range(partitions):
        producer.produce(topic, None, partition=partition)
    assert producer.flush(10) == 0
    return producer
