"""The input topic is deleted while its claims are in flight, and made again at once or a while later."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from stream.audit import Topics
from tests.stage import QUICK, await_that, publish, read, score_of, stage

pytestmark = pytest.mark.slow

EXACTLY_ONCE = {"CLAIMSTREAM_KAFKA__DELIVERY": "exactly_once", "CLAIMSTREAM_KAFKA__INSTANCE": "here"}
CLAIMS = 30_000


def make_anew(bootstrap: str, name: str, gap: float) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([name])[name].result(10.0)
    time.sleep(gap)
    await_that(lambda: admin.create_topics([NewTopic(name, 1, 1)])[name].exception(10.0) is None, 20)


@pytest.mark.parametrize("gap", [0.0, 0.7, 2.0])
def test_claims_of_a_topic_made_anew_are_all_answered_once(
    kafka: Any, topic: Callable[..., str], gap: float
) -> None:
    topics = Topics(topic(), topic(), topic())
    publish(kafka.bootstrap, topics.claims, 20_000)

    def answers() -> Counter[int]:
        scores = map(score_of, read(kafka, topics.scores))
        return Counter(each["input_offset"] for each in scores if each["input_timestamp"].timestamp() >= made)

    with stage(kafka.bootstrap, topics, ML_BATCH_SIZE_MAX="64", **EXACTLY_ONCE, **QUICK) as running:
        await_that(lambda: running.delivered() > 3_000)
        make_anew(kafka.bootstrap, topics.claims, gap)
        made = int(1_000 * time.time()) / 1_000
        publish(kafka.bootstrap, topics.claims, CLAIMS)
        await_that(lambda: len(answers()) == CLAIMS)
        assert running.stop() == 0
    assert set(answers().values()) == {1}
