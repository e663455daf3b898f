"""Client options pass through; their secrets stay where they are."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream.cli.kafka_options import client_config, configured_client, refused_config
from stream.errors import UsageError


def test_options_become_librdkafkas() -> None:
    config = client_config("k:1", ("sasl.password=a=b", " linger.ms =5"))
    assert config == {"bootstrap.servers": "k:1", "sasl.password": "a=b", "linger.ms": "5"}


@pytest.mark.parametrize("option", ["hunter2", "=hunter2"])
def test_what_is_no_option_is_not_repeated(option: str) -> None:
    with pytest.raises(UsageError, match="number 2") as raised:
        client_config("k:1", ("linger.ms=5", option))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "name", ["acks", "request.required.acks", "enable.idempotence", "transactional.id", "enable.auto.commit"]
)
def test_what_a_command_sets_itself_is_refused_and_not_overwritten_in_silence(name: str) -> None:
    with pytest.raises(UsageError, match=f"--client {name} is set by claimstream itself"):
        client_config("k:1", (f" {name} =1",))


def test_where_and_how_long_may_be_chosen() -> None:
    chosen = ("group.id=g", "message.timeout.ms=5", "queue.buffering.max.messages=7")
    assert client_config("k:1", chosen)["message.timeout.ms"] == "5"


def test_a_refused_configuration_hides_secrets() -> None:
    error = KafkaException(KafkaError(KafkaError._INVALID_ARG, 'Invalid value "hunter2" for "sasl.password"'))
    refused = refused_config(error, {"sasl.password": "hunter2", "linger.ms": "5"})
    assert "hunter2" not in str(refused)
    assert "sasl.password" in str(refused)


def test_given_options_win_over_those_of_the_configuration() -> None:
    config = configured_client({"enable.idempotence": True, "linger.ms": 5}, "k:1", ("linger.ms=7",))
    assert config == {"bootstrap.servers": "k:1", "enable.idempotence": "true", "linger.ms": "7"}
