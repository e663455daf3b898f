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

MODES = ["at_least_once", "exactly_once"]
CLAIMS = 30_000


def make_anew(bootstrap: str, name: str, gap: float) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([name])[name].result(10.0)
    time.sleep(gap)
    await_that(lambda: admin.create_topics([NewTopic(name, 1, 1)])[name].exception(10.0) is None, 20)


@pytest.mark.parametrize("gap", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("mode", MODES)
def test_claims_of_a_topic_made_anew_are_all_answered(
    kafka: Any, topic: Callable[..., str], mode: str, gap: float
) -> None:
    topics = Topics(topic(), topic(), topic())
    publish(kafka.bootstrap, topics.claims, 20_000)

    def answers() -> Counter[int]:
        scores = map(score_of, read(kafka, topics.scores))
        return Counter(each["input_offset"] for each in scores if each["input_timestamp"].timestamp() >= made)

    delivery = {"CLAIMSTREAM_KAFKA__DELIVERY": mode, "CLAIMSTREAM_KAFKA__INSTANCE": "here"}
    with stage(kafka.bootstrap, topics, ML_BATCH_SIZE_MAX="64", **delivery, **QUICK) as running:
        await_that(lambda: running.delivered() > 3_000)
        make_anew(kafka.bootstrap, topics.claims, gap)
        made = int(1_000 * time.time()) / 1_000
        publish(kafka.bootstrap, topics.claims, CLAIMS)
        await_that(lambda: len(answers()) == CLAIMS)
        assert running.stop() == 0
    assert mode == "at_least_once" or set(answers().values()) == {1}
