"""A group without offsets that was told not to choose where it begins waits for a person, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stream.audit import Topics
from tests.stage import publish, stage

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("protocol", [{}, {"CLAIMSTREAM_KAFKA__CONSUMER__GROUP_PROTOCOL": "consumer"}])
def test_a_partition_without_an_offset_stops_the_stage(
    kafka: Any, topic: Callable[..., str], protocol: dict[str, str]
) -> None:
    topics = Topics(topic(), topic(), topic())
    publish(kafka.bootstrap, topics.claims, 10)
    reset = {"CLAIMSTREAM_KAFKA__CONSUMER__AUTO_OFFSET_RESET": "error"}
    with stage(kafka.bootstrap, topics, **reset, **protocol) as running:
        code, said = running.process.wait(60), running.said()
    assert (code, "Traceback" in said) == (3, False), said
    assert f"of {topics.claims!r} is not read: " in said
    assert "the stage stops: StopError" in said
