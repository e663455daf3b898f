"""A record whose header has a name that is no UTF-8, as a client in another language can write it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from stream import letters
from stream.audit import Topics
from tests.stage import await_that, check, publish, read, stage

pytestmark = pytest.mark.slow

_TOPIC, _VALUE, _HEADERS, _END = 1, 4, 10, 0


def produce_badly_named(bootstrap: str, topic: str, values: list[bytes]) -> None:
    """Through librdkafka itself: the Python client would refuse the name."""
    (library,) = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka-*")
    kafka, pointer = ctypes.CDLL(str(library)), ctypes.c_void_p
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(kafka, name).restype = pointer
    trouble = ctypes.create_string_buffer(512)
    client = pointer(kafka.rd_kafka_new(0, pointer(kafka.rd_kafka_conf_new()), trouble, ctypes.c_size_t(512)))
    kafka.rd_kafka_brokers_add(client, bootstrap.encode())
    for value in values:
        headers = pointer(kafka.rd_kafka_headers_new(ctypes.c_size_t(1)))
        kafka.rd_kafka_header_add(headers, b"\xff\xfe", ctypes.c_ssize_t(2), b"v", ctypes.c_ssize_t(1))
        message = (_VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value)), _HEADERS, headers, _END)
        assert kafka.rd_kafka_producev(client, _TOPIC, ctypes.c_char_p(topic.encode()), *message) == 0
        assert kafka.rd_kafka_flush(client, 10_000) == 0
    kafka.rd_kafka_destroy(client)


def test_it_is_answered_like_every_other(kafka: Any, topic: Callable[..., str]) -> None:
    topics = Topics(topic(), topic(), topic())
    publish(kafka.bootstrap, topics.claims, 20)
    (claim, *_) = [message.value() for message in read(kafka, topics.claims)]
    produce_badly_named(kafka.bootstrap, topics.claims, [claim, b"no claim"])
    publish(kafka.bootstrap, topics.claims, 20, seed=6)
    with stage(kafka.bootstrap, topics) as running:
        await_that(lambda: running.delivered() == 41)
        assert running.stop() == 0
        assert running.said().count("cannot be read") == 2
    finding = check(kafka, topics)
    assert (finding.scored, finding.dead_letters, finding.lost, finding.duplicated) == (41, 1, 0, 0)
    assert (finding.wrong_lineage, finding.altered) == (0, 1)
    (letter,) = read(kafka, topics.dead_letters)
    own, reason = letters.read(letter.headers()) or pytest.fail("no letter")
    assert (own, reason.error_class) == ([(letters.UNREADABLE, None)], "DecodeError")
