"""The client that asks for a topic's identity waits for a controller that may be gone."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream import topics


class Admin:
    """Answers once it has had news of the cluster."""

    def __init__(self, _: object) -> None:
        self.calls: list[str] = []
        self.code = KafkaError._TIMED_OUT
        self.heals = True

    def describe_topics(self, _: object, *, request_timeout: float) -> dict[str, Future[Any]]:
        assert request_timeout <= 1.0
        self.calls.append("describe")
        answer: Future[Any] = Future()
        if self.code:
            answer.set_exception(KafkaException(KafkaError(self.code)))
        else:
            answer.set_result(SimpleNamespace(topic_id="first"))
        return {"claims": answer}

    def list_topics(self, *, timeout: float) -> None:
        assert timeout <= 1.0
        self.calls.append("news")
        if not self.heals:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        self.code = 0


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    made = Admin({})
    monkeypatch.setattr(topics, "AdminClient", lambda _: made)
    return made


def test_a_controller_that_is_gone_is_found_anew(admin: Admin) -> None:
    assert topics.identity_of({}, "claims")(5.0) == "first"
    assert admin.calls == ["describe", "news", "describe"]


def test_a_cluster_that_is_away_is_told_in_time(admin: Admin) -> None:
    admin.heals = False
    with pytest.raises(KafkaException):
        topics.identity_of({}, "claims")(1.0)
    assert admin.calls == ["describe", "news"]


@pytest.mark.parametrize(
    ("code", "given"),
    [(KafkaError.UNKNOWN_TOPIC_OR_PART, None), (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaException)],
)
def test_an_answer_is_an_answer(admin: Admin, code: int, given: type[Exception] | None) -> None:
    admin.code = code
    ask = topics.identity_of({}, "claims")
    if given is None:
        assert ask(1.0) is None
    else:
        with pytest.raises(given):
            ask(1.0)
    assert admin.calls == ["describe"]
