"""Which letters the commands on dead letters take for meant, and which a replay sends."""

from __future__ import annotations

from typing import Any

import pytest

from config import Settings
from stream.cli.dlq import replaying
from stream.cli.dlq.options import parse_place
from stream.cli.dlq.reading import Letter
from stream.cli.dlq.replaying import Origins, Replayer
from stream.errors import FatalError, UsageError
from stream.letters import Reason

DEAD = "claim-dead-letters"


@pytest.mark.parametrize("text", ["2@9", f"{DEAD}[2]@9"])
def test_a_place_is_one_of_the_dead_letters(text: str) -> None:
    assert parse_place(text, DEAD) == (2, 9)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "claims[2]@9",
            "'claims', perhaps where the record came from; its letter lies in 'claim-dead-letters'",
        ),
        ("claims@9", "is no position"),
        ("claims[2@9", "is no position"),
        ("2]@9", "is no position"),
        ("[2]@9", "is no position"),
    ],
)
def test_where_a_record_came_from_is_no_place_of_a_letter(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("[", r"\[")):
        parse_place(text, DEAD)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The topics that the cluster was asked about, of which the user may not write to those called locked."""
    names_asked: list[str] = []

    def not_writable(_: object, names: list[str]) -> set[str]:
        names_asked.extend(names)
        return {name for name in names if "locked" in name}

    monkeypatch.setattr(replaying, "Producer", lambda _: None)
    monkeypatch.setattr(replaying, "not_writable", not_writable)
    return names_asked


def test_letters_go_back_where_their_topic_is_there_and_may_be_written_to(asked: list[str]) -> None:
    origins = Origins({}, {"open", "locked"})
    topics = ("open", "locked", "hidden and locked", "gone", "", "locked", "open")
    reasons = [Reason("ScoringError", "", topic, 0, offset) for offset, topic in enumerate(topics)]
    outcomes = [origins.outcome(Letter(0, 0, 0, None, b"", [], reason)) for reason in reasons]
    gone = ["without_topic"] * 2
    assert outcomes == ["replayed", "forbidden", "forbidden", *gone, "forbidden", "replayed"]
    assert origins.forbidden == {"locked", "hidden and locked"}
    assert asked == ["open", "locked", "hidden and locked", "gone"]


@pytest.mark.usefixtures("asked")
def test_a_replay_that_could_not_be_noted_does_not_begin() -> None:
    with pytest.raises(FatalError, match="no right to write to 'locked letters'") as told:
        Replayer({}, "locked letters", {"locked letters": 1})
    assert "call it again" not in str(told.value)


@pytest.mark.parametrize(
    ("kafka", "client", "largest"),
    [
        ({}, {}, 8_388_608),
        ({"producer": {"message.max.bytes": 20_000_000}}, {}, 20_000_000),
        ({}, {"message.max.bytes": "30000000"}, 30_000_000),
        ({"producer": {"message.max.bytes": 1_000}}, {"message.max.bytes": "2000"}, 8_388_608),
    ],
)
def test_a_letter_that_the_stage_could_send_comes_back(
    kafka: dict[str, Any], client: dict[str, str], largest: int
) -> None:
    assert replaying._largest(client, Settings.model_validate({"kafka": kafka})) == largest


def test_a_size_that_is_no_number_is_named() -> None:
    settings = Settings.model_validate({"kafka": {"producer": {"message.max.bytes": "many"}}})
    with pytest.raises(UsageError, match=r"message\.max\.bytes is 'many'"):
        replaying._largest({}, settings)
