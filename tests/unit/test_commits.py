"""At least once: offsets go to the topic that they were read of, or to none."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream.errors import FatalError
from tests.scripted_stage import Stage


def nobody() -> str:
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def answered(stage: Stage, offset: int) -> None:
    """The answer to a commit of partition 0 comes."""
    stage.offset_commits.note(None, [TopicPartition("claims", 0, offset)])


def delivered(stage: Stage, count: int, start: int = 0) -> None:
    """Claims of partition 0 that are answered, and not committed yet."""
    stage.publish(count, start=start)
    stage.step()
    stage.step("scoring", "output")
    stage.producer.acknowledge(len(stage.producer))
    stage.step("output")
    stage.clock.advance(0.2)


def test_nothing_is_committed_for_a_topic_made_anew() -> None:
    stage = Stage()
    delivered(stage, 50)
    stage.identities = lambda: "second"
    with pytest.raises(FatalError, match="'claims' is gone or was made anew"):
        stage.run()
    stage.revoke(0, 1)
    assert stage.consumer.commits == []


def test_nothing_is_committed_at_a_revoke_for_a_topic_made_anew() -> None:
    stage = Stage()
    delivered(stage, 50)
    stage.identities = lambda: "second"
    stage.revoke(0)
    assert stage.consumer.commits == []
    with pytest.raises(FatalError, match="'claims' is gone or was made anew"):
        stage.step("intake")


def test_where_nobody_answers_a_commit_is_put_off_and_polls_go_on() -> None:
    stage = Stage()
    delivered(stage, 50)
    asked, stage.identities = len(stage.patiences), nobody
    for _ in range(10):
        stage.run(1)
        stage.clock.advance(0.5)
    assert stage.consumer.commits == []
    assert stage.patiences[asked:] == [1.0] * 3
    assert stage.count("commits_total", "put off") == 3
    stage.identities = lambda: "first"
    delivered(stage, 10, start=50)
    stage.clock.advance(2.0)
    stage.run()
    assert stage.consumer.commits == [{0: 60}]


def test_where_nobody_answers_at_a_revoke_what_is_not_committed_is_left_to_the_next_owner() -> None:
    stage = Stage()
    delivered(stage, 50)
    asked, stage.identities = len(stage.patiences), nobody
    stage.revoke(0, 1)
    assert stage.consumer.commits == []
    assert stage.patiences[asked:] == [2.0]


def test_nobody_is_asked_while_there_is_nothing_to_commit() -> None:
    stage = Stage()
    stage.publish(50)
    stage.run()
    asked = len(stage.patiences)
    for _ in range(10):
        stage.run()
    assert len(stage.patiences) == asked
    answered(stage, 50)
    stage.revoke(0, 1)
    assert len(stage.patiences) == asked


def test_a_commit_that_is_under_way_at_a_revoke_is_made_again_and_waited_for() -> None:
    """Should it fail, nobody would be left to make it good."""
    stage = Stage()
    stage.publish(50)
    stage.run()
    answered(stage, 50)
    delivered(stage, 10, start=50)
    stage.run()
    assert stage.consumer.commits == [{0: 50}, {0: 60}]
    stage.revoke(0)
    assert stage.consumer.commits == [{0: 50}, {0: 60}, {0: 60}]
    answered(stage, 60)
    stage.assign(0)
    stage.revoke(0)
    assert len(stage.consumer.commits) == 3


@pytest.mark.parametrize("silent", [True, False])
def test_nothing_is_read_until_it_is_known_of_which_topic(silent: bool) -> None:
    stage = Stage()
    stage.revoke(0, 1)
    stage.identity._known = None
    stage.identities = nobody if silent else lambda: None
    stage.assign(0, 1)
    stage.publish(50)
    stage.run()
    assert stage.ledger.pending() == 0
    assert stage.producer.sent == []
    stage.identities = lambda: "first"
    stage.run()
    assert stage.consumer.commits[-1] == {0: 50}


@pytest.mark.parametrize(("code", "reached"), [(KafkaError._TRANSPORT, False), (KafkaError._TIMED_OUT, True)])
def test_whoever_asks_for_the_topic_is_lost_where_it_knows_no_broker(code: int, reached: bool) -> None:
    stage = Stage()

    def unanswered() -> str:
        raise KafkaException(KafkaError(code))

    assert stage.identity.reaches_cluster()
    stage.identities = unanswered
    assert stage.identity.reaches_cluster() == reached
