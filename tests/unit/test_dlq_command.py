"""Which letters the commands on dead letters take for meant, and which a replay sends."""

from __future__ import annotations

from typing import Any

import pytest

from config import Settings
from stream.cli.dlq import replaying
from stream.cli.dlq.options import parse_place
from stream.cli.dlq.reading import Letter
from stream.cli.dlq.replaying import Replayer
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


class Open:
    """A producer whose transactions all succeed."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []

    def init_transactions(self, _: float) -> None:
        """Nobody else has its name."""

    def begin_transaction(self) -> None:
        """Nothing is to be taken back."""

    def produce(self, topic: str, value: bytes | None, *_: object, **__: object) -> None:
        self.values += [value] if topic != DEAD else []

    def commit_transaction(self, _: float) -> None:
        """It is all there."""


def replayer(monkeypatch: pytest.MonkeyPatch, client: Open, locked: str) -> tuple[Replayer, list[str]]:
    """One whose user may not write to a topic, and the topics that the cluster was asked about."""
    asked: list[str] = []

    def not_writable(_: object, names: list[str]) -> set[str]:
        asked.extend(names)
        return {locked} & {*names}

    monkeypatch.setattr(replaying, "Producer", lambda _: client)
    monkeypatch.setattr(replaying, "not_writable", not_writable)
    return Replayer({}, DEAD, {DEAD: 1, "open": 1, "locked": 1}), asked


def test_letters_of_a_topic_that_may_not_be_written_to_are_refused_unsent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Open()
    sender, asked = replayer(monkeypatch, client, "locked")
    for offset, topic in enumerate(("open", "locked", "locked", "open")):
        reason = Reason("ScoringError", "", topic, 0, offset)
        sender.send(Letter(0, offset, 0, None, b"%d" % offset, [], reason))
    sender.finish()
    assert client.values == [b"0", b"3"]
    assert (sender.refused, sender.forbidden) == (["0@1", "0@2"], {"locked"})
    assert asked == [DEAD, "open", "locked"]


def test_a_replay_that_could_not_be_noted_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FatalError, match=f"no right to write to '{DEAD}'") as told:
        replayer(monkeypatch, Open(), DEAD)
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
