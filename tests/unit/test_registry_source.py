"""Options of the registry's client."""

from __future__ import annotations

from typing import Any

import pytest

from stream.clock import ManualClock
from stream.codec.registry import RegistrySource
from stream.errors import UsageError


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("http://127.0.0.1:1", {"no.such.option": 1}, "no.such.option"),
        ("http://127.0.0.1:1", {"ssl.ca.location": "/no/such/file"}, "No such file"),
        ("127.0.0.1", {}, "Invalid url"),
    ],
)
def test_wrong_options_are_a_usage_error(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RegistrySource(url, options, ManualClock())


def test_authentication_reaches_the_client() -> None:
    options = {"basic.auth.user.info": "user:secret", "timeout": 2}
    source = RegistrySource("http://127.0.0.1:1", options, ManualClock())
    assert source._client._rest_client.timeout == 2
