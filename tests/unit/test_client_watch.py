"""A client that has forgotten its cluster is told from a cluster that is away."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream.client_watch import ClientWatch, cluster_answers, patience_for, reaches_cluster
from stream.clock import ManualClock
from stream.errors import FatalError


class Client:
    """Answers, or not."""

    def __init__(self) -> None:
        self.lost = self.slow = self.closed = False

    def list_topics(self, topic: str, timeout: float) -> None:
        assert (topic, timeout > 0.0) == ("claims", True)
        if self.lost:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        if self.slow:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def close(self) -> None:
        self.closed = True


class Scene:
    """Two clients and their cluster."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.consumer, self.producer, self.new = Client(), Client(), Client()
        reach = {
            "consumer": lambda: reaches_cluster(self.consumer, "claims"),
            "producer": lambda: reaches_cluster(self.producer, "claims"),
        }
        answers = lambda: cluster_answers(lambda: self.new, "claims")  # noqa: E731
        self.watch = ClientWatch(reach, answers, patience_for({}), self.clock)

    def ends_within(self, seconds: float) -> str:
        """Why the worker ends in this time; nothing where it does not."""
        until = self.clock.now() + seconds
        while self.clock.now() < until:
            try:
                due = self.watch.step(self.clock.now())
            except FatalError as error:
                return str(error)
            self.clock.advance(due - self.clock.now())
        return ""


def test_clients_that_answer_are_left_alone() -> None:
    assert not Scene().ends_within(3_600)


@pytest.mark.parametrize("name", ["consumer", "producer"])
def test_a_client_that_is_lost_while_others_are_answered_ends_the_worker(name: str) -> None:
    scene = Scene()
    getattr(scene, name).lost = True
    began = scene.clock.now()
    assert f"the {name} has lost its cluster" in scene.ends_within(3_600)
    assert 15.0 <= scene.clock.now() - began <= 25.0
    assert scene.new.closed


def test_a_client_that_is_answered_late_is_not_lost() -> None:
    scene = Scene()
    scene.consumer.slow = scene.producer.slow = True
    assert not scene.ends_within(3_600)


def test_a_cluster_that_answers_nobody_proves_nothing() -> None:
    scene = Scene()
    scene.producer.lost = scene.new.slow = True
    assert not scene.ends_within(3_600)


def test_no_client_is_lost_while_it_may_still_wait_to_connect() -> None:
    assert (patience_for({}), patience_for({"reconnect.backoff.max.ms": "60000"})) == (15.0, 90.0)


def test_a_cluster_that_is_away_is_waited_for_and_its_return_as_well() -> None:
    scene = Scene()
    scene.consumer.lost = scene.producer.lost = True
    scene.new.lost = True
    assert not scene.ends_within(3_600)
    scene.new.lost = False
    assert not scene.ends_within(10)
    scene.consumer.lost = scene.producer.lost = False
    assert not scene.ends_within(3_600)


def test_a_client_that_comes_back_begins_anew() -> None:
    scene = Scene()
    for _ in range(5):
        scene.producer.lost = True
        assert not scene.ends_within(10)
        scene.producer.lost = False
        assert not scene.ends_within(5)


def test_a_cluster_that_comes_and_goes_proves_nothing() -> None:
    scene = Scene()
    scene.producer.lost = True
    for _ in range(5):
        scene.new.lost = False
        assert not scene.ends_within(10)
        scene.new.lost = True
        assert not scene.ends_within(5)
