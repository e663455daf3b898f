"""Starts the stage as its users do, and looks at it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Producer

import schemas
from stream.audit import Finding, Topics, audit, messages
from stream.codec import Encoder
from stream.publishing import generate

READY_SECONDS = 60
PORT = 18_471
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


@contextmanager
def stage(
    bootstrap: str, topics: Topics, workers: int = 1, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    names = {
        "CLAIMSTREAM_KAFKA__TOPICS__INPUT": topics.claims,
        "CLAIMSTREAM_KAFKA__TOPICS__OUTPUT": topics.scores,
        "CLAIMSTREAM_KAFKA__TOPICS__DEAD_LETTERS": topics.dead_letters,
        "CLAIMSTREAM_KAFKA__GROUP_ID": f"group-{topics.claims}",
    }
    command = [sys.executable, "-m", "stream", "run", "--bootstrap", bootstrap, "--model", "null"]
    process = subprocess.Popen(
        [*command, "--workers", str(workers), "--port", str(PORT)],
        env={**os.environ, **names, **environment},
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def get(path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def await_that(condition: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def delivered() -> int:
    _, text = get("/metrics")
    numbers = [
        line.split()[-1]
        for line in text.splitlines()
        if line.startswith("claimstream_claims_delivered_total")
    ]
    return int(float(numbers[0])) if numbers else 0


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(30)


def check(kafka: Any, topics: Topics) -> Finding:
    return audit({"bootstrap.servers": kafka.bootstrap}, topics)


def read(kafka: Any, topic: str) -> list[Any]:
    return list(messages({"bootstrap.servers": kafka.bootstrap}, topic))
