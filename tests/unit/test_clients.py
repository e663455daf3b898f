"""What the clients are told."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import Consumer

from config.kafka_settings import DECIDED_ELSEWHERE
from stream.clients import begins_at_end, consumer_options, producer_options


def test_the_users_options_pass_through_and_the_required_ones_stay() -> None:
    shared = {"security.protocol": "SASL_SSL", "client.id": "a"}
    options = consumer_options("k:1", "g", shared, {"fetch.min.bytes": 5, "enable.auto.commit": True})
    assert options["security.protocol"] == "SASL_SSL"
    assert options["fetch.min.bytes"] == 5
    assert options["enable.auto.commit"] is False
    assert options["bootstrap.servers"] == "k:1"
    assert producer_options("k:1", 7, shared, {"linger.ms": 50, "acks": 1}) | {
        "linger.ms": 50,
        "acks": "all",
        "enable.gapless.guarantee": True,
        "queue.buffering.max.messages": 7,
    } == producer_options("k:1", 7, shared, {"linger.ms": 50, "acks": 1})


@pytest.mark.parametrize("protocol", ["consumer", "Consumer"])
def test_the_new_group_protocol_gets_no_option_that_it_refuses(protocol: str) -> None:
    options = consumer_options("k:1", "g", {"group.protocol": protocol}, {})
    assert options.keys() & DECIDED_ELSEWHERE.keys() == set()
    Consumer(options, logger=logging.Logger("probe", level=logging.CRITICAL + 1)).close()


def test_a_group_without_commits_begins_with_the_first_record_unless_told_otherwise() -> None:
    told = [{}, {"auto.offset.reset": "latest"}, {"auto.offset.reset": "smallest"}]
    assert [begins_at_end(consumer_options("k:1", "g", {}, own)) for own in told] == [False, True, False]
