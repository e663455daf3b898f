"""A demonstration that goes wrong says why, soon, and leaves no worker behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from config import load_settings
from stream.clock import SystemClock
from stream.demonstration import Plan, Show, show
from stream.errors import ClaimstreamError, FatalError
from stream.metrics import Snapshot
from stream.publishing.publisher import DeliveryError

REFUSED = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not allowed"))


class Scene:
    """Everything that a show works with; a test says what a part does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stopped = threading.Event()
        self.published = threading.Event()
        self.supervisor = SimpleNamespace(
            ready=True,
            alive=2,
            errors=[],
            fatal="",
            caches=list,
            snapshot=Snapshot,
            add_worker=lambda: None,
        )
        self.serve: Callable[[], object] = self.stopped.wait
        self.receive: Callable[[], object] = lambda: None
        self.flush: Callable[[], object] = lambda: None
        self.audit: Callable[[], object] = lambda: None
        service = SimpleNamespace(
            supervisor=self.supervisor, run=lambda: self.serve(), request_stop=self.stopped.set
        )
        monkeypatch.setattr(show, "Service", lambda *_: service)
        monkeypatch.setattr(show, "Receiver", self._receiver)
        monkeypatch.setattr(show, "Publisher", self._publisher)
        monkeypatch.setattr(show, "publish_all", self._publish)
        monkeypatch.setattr(show, "audit", lambda *_: self.audit())
        monkeypatch.setattr(show, "ensure_topics", lambda *_: [])
        monkeypatch.setattr(show, "offline_routes", lambda _: None)
        monkeypatch.setattr(show, "_LOOK", 0.01)

    def run(self) -> Any:
        supply: Any = SimpleNamespace(batches=list)
        settings = load_settings(None, {}, {})
        plan = Plan(claims=10, rate=1.0, seed=1, added_workers=1)
        return Show(settings, supply, plan, SystemClock(), lambda *_: None).run()

    def _receiver(self, *_: object) -> Any:
        self.receive()
        return SimpleNamespace(count=3, start=lambda: None, stop=lambda: None, times=lambda: np.empty((0, 2)))

    def _publisher(self, *_: object) -> Any:
        return SimpleNamespace(connect=lambda: None, flush=lambda: self.flush(), acknowledged=3)

    def _publish(self, *_: object, **__: object) -> Iterator[int]:
        yield 5
        self.published.set()


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


@pytest.mark.timeout(10)
def test_claims_that_could_not_be_delivered_end_the_show_with_the_publishers_words(scene: Scene) -> None:
    scene.flush = raising(DeliveryError("2 of 5 claims were not delivered"))
    with pytest.raises(DeliveryError, match="2 of 5 claims were not delivered"):
        scene.run()
    assert scene.stopped.is_set()


@pytest.mark.timeout(10)
def test_a_stage_that_ends_by_itself_ends_the_show_with_its_reason(scene: Scene) -> None:
    scene.supervisor.fatal = "too many dead letters"
    scene.serve = scene.published.wait
    with pytest.raises(FatalError, match="in the middle of the demo: too many dead letters"):
        scene.run()


@pytest.mark.timeout(10)
@pytest.mark.parametrize(("error", "told"), [(REFUSED, FatalError), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_the_stage_is_told_to_end_where_no_consumer_of_scores_could_begin(
    scene: Scene, error: BaseException, told: type[BaseException]
) -> None:
    scene.receive = raising(error)
    with pytest.raises(told):
        scene.run()
    assert scene.stopped.is_set()


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "error", [REFUSED, TimeoutError("nothing for 30 s"), ValueError("is no claim_score")]
)
def test_an_audit_that_cannot_go_on_is_a_message(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(show, "publish_all", lambda *_, **__: iter((3,)))
    scene.audit = raising(error)
    with pytest.raises(ClaimstreamError):
        scene.run()
    assert scene.stopped.is_set()
