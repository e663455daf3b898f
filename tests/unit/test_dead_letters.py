"""What a dead letter says, from the first step of the stage to its headers."""

from __future__ import annotations

from typing import Any

import pytest

from stream import letters
from stream.letters import Reason
from tests.scripted_stage import Record, RecordingClient, Stage


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Messages that were produced one by one, as dead letters are."""
    kept: list[dict[str, Any]] = []
    produce = RecordingClient.produce

    def keep(self: RecordingClient, topic: str, **message: Any) -> None:
        kept.append({"topic": topic, **message})
        produce(self, topic, **message)

    monkeypatch.setattr(RecordingClient, "produce", keep)
    return kept


def only_letter(sent: list[dict[str, Any]]) -> dict[str, Any]:
    (letter,) = [message for message in sent if message["topic"] == "dead"]
    return letter


def test_a_replayed_claim_that_fails_again_says_its_attempt(sent: list[dict[str, Any]]) -> None:
    stage = Stage()
    headers = letters.replayed(
        [("a", b"\xff")], Reason("DecodeError", "", "claims", 0, 3, attempt=2), "dead[0]@1"
    )
    record = Record(0, 5, b"no claim", b"key", 0)
    record._answers["headers"] = headers
    stage.consumer.records.append(record)
    stage.run(3)
    letter = only_letter(sent)
    assert (letter["key"], letter["value"]) == (b"key", b"no claim")
    read = letters.read(letter["headers"])
    assert read is not None
    assert read[0] == headers
    assert (read[1].error_class, read[1].attempt, read[1].offset, read[1].model) == ("DecodeError", 3, 5, "")


def raising(_: Any) -> Any:
    raise RuntimeError("not this one")


def test_a_claim_that_its_model_fails_on_says_model_and_version(sent: list[dict[str, Any]]) -> None:
    stage = Stage()
    stage.publish(1)
    stage.model.score = raising  # type: ignore[method-assign]
    stage.run(5)
    read = letters.read(only_letter(sent)["headers"])
    assert read is not None
    assert (read[1].error_class, read[1].model, read[1].version) == ("ScoringError", "null", "1.0.0")
    assert stage.ledger.pending() == 0
