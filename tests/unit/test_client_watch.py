"""A client that has forgotten its cluster is told from a cluster that is away."""

from __future__ import annotations

from functools import partial

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream.client_watch import ClientWatch, cluster_answers, patience_for, reaches_cluster
from stream.clock import ManualClock
from stream.errors import FatalError
from stream.watchdog import Watchdog
from stream.worker import Progress, Worker
from tests.scripted_stage import Stage


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


def test_whoever_waits_for_the_end_of_a_step_waits_for_one_answer() -> None:
    asked: list[str] = []
    names = ["consumer", "producer", "another"]
    reach = {name: partial(_away, asked, name) for name in names}
    watch = ClientWatch(reach, partial(_away, asked, "new"), 15.0, ManualClock())
    for count in range(1, 5):
        watch.step(0.0)
        assert asked == [*names, "new"][:count]


def _away(asked: list[str], name: str) -> bool:
    asked.append(name)
    return False


class QuietLoop:
    """A loop that calls nothing, and notes that it is stopped and waited for."""

    said: list[str]

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def is_alive(self) -> bool:
        return f"stop {self.name}" not in self.said

    def stop(self) -> None:
        self.said.append(f"stop {self.name}")

    def join(self) -> None:
        self.said.append(f"join {self.name}")

    def stuck(self, now: float) -> float:
        return 0.0


def test_the_watch_is_stopped_before_the_others_drain_and_the_drain_does_not_mind() -> None:
    stage, said = Stage(), list[str]()
    stage.publish(50)
    stage.step("intake")
    moved = Delivering(stage, said)
    progress = Progress(stage.ledger, stage.clock, 5.0, moved)
    make_loop = type("Loop", (QuietLoop,), {"said": said})
    watch = ClientWatch({}, lambda: True, 15.0, stage.clock)
    pipeline, member = stage.pipeline, stage.pipeline.consumer
    stage.consumer.close = lambda: None  # type: ignore[attr-defined]
    watchdog = Watchdog(stage.clock, said.append)
    worker = Worker(
        pipeline, member, pipeline.producer, stage.ledger, progress, stage.clock, watchdog, watch, make_loop
    )
    assert worker.stop() == 0
    first, second = said.index("stop client watch"), said.index("delivered")
    assert first < second < said.index("stop intake")
    assert "join client watch" in said


class Delivering:
    """In place of an event: what is waited for happens meanwhile."""

    def __init__(self, stage: Stage, said: list[str]) -> None:
        self._stage = stage
        self._said = said

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def wait(self, timeout: float) -> None:
        self._stage.step("scoring", "output")
        self._stage.producer.acknowledge(len(self._stage.producer))
        self._said.append("delivered")
        self._stage.clock.advance(timeout)


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
