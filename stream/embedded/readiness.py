"""Waiting until brokers answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream.embedded.properties import Node

_PAUSE_SECONDS = 0.05


def await_until(answers: Callable[[], bool], check: Callable[[], None], timeout: float) -> bool:
    """Ask `answers` until it says yes or `timeout` seconds are over; `check` raises when that is in vain."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        check()
        if answers():
            return True
        time.sleep(_PAUSE_SECONDS)
    return False


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def serves(node: Node, expected: Collection[int]) -> bool:
    """Whether `node` itself answers and knows the brokers `expected`, itself among them."""
    if not listens(node.port):
        return False
    admin = AdminClient({"bootstrap.servers": node.address, "log_level": 0, "reconnect.backoff.max.ms": 200})
    try:
        metadata = admin.list_topics(timeout=2.0)
    except KafkaException:
        return False
    return metadata.orig_broker_id == node.number and set(expected) <= set(metadata.brokers)
