"""The probe of the client's options, before anything starts."""

from __future__ import annotations

import logging
import time
from typing import Any

import confluent_kafka
import pytest

from config.settings import Settings
from stream import client_check
from stream.client_check import check_clients
from stream.errors import UsageError


class SlowlyClosed:
    """A consumer that lives long enough to find its broker away."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._consumer = confluent_kafka.Consumer(*arguments, **named)

    def close(self) -> None:
        time.sleep(0.3)
        self._consumer.close()


def test_the_probe_says_nothing_of_a_broker_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client_check, "Consumer", SlowlyClosed)
    with caplog.at_level(logging.DEBUG):
        check_clients(Settings(kafka={"bootstrap_servers": "127.0.0.1:1"}))
    assert (caplog.text, capfd.readouterr().err) == ("", "")


def test_an_option_that_the_client_does_not_know_is_bad_usage() -> None:
    with pytest.raises(UsageError, match=r"no\.such\.option"):
        check_clients(Settings(kafka={"bootstrap_servers": "127.0.0.1:1", "consumer": {"no.such.option": 1}}))
