"""A missing topic is told with the command that creates this one."""

from __future__ import annotations

import re

import pytest

from stream.cli.topic_check import partitions_of
from stream.errors import UsageError


def test_the_command_names_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.cli.topic_check.describe", lambda _, names: dict.fromkeys(names))
    command = re.escape("create it with `claimstream topics create mine --bootstrap k:1`")
    with pytest.raises(UsageError, match=f"{command}$"):
        partitions_of({"bootstrap.servers": "k:1"}, "mine")
