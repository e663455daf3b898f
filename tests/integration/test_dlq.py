"""Dead letters on a real broker: listed, shown, sent back once."""

from __future__ import annotations

import io
import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

import schemas
from config import load_settings
from stream import topics
from stream.audit_topics import messages
from stream.cli.dlq import reading
from stream.cli.dlq.replaying import Replayer
from stream.cli.main import run
from stream.codec import Encoder
from stream.errors import FatalError
from stream.letters import Reason
from stream.publishing import generate
from tests.stage import left_open

OWN = [("origin", b"\xff\x00"), ("empty", None), ("claimstream-error-class", b"of another stage")]


class Desk:
    """A topic of claims with three partitions, four dead letters of it, and the command."""

    def __init__(self, bootstrap: str, topic: Callable[..., str]) -> None:
        self.bootstrap = bootstrap
        self.claims, self.letters = topic(partitions=3), topic(partitions=2)
        (batch,) = generate(1, 5)
        (self.claim,) = Encoder(schemas.load("claim_event")).encode(batch)
        self.client = {"bootstrap.servers": bootstrap}
        producer = Producer(self.client)
        now = time.time_ns() // 1_000_000
        for partition, offset, value, error, age in (
            (0, 4, self.claim, "ScoringError", 4_000),
            (2, 5, b"\xc3\x01 no claim", "DecodeError", 1_000),
            (2, 6, None, "DecodeError", 2_000),
            (7, 8, self.claim, "ScoringError", 3_000),
        ):
            model = ("claims_filter", "2.1.0") if error == "ScoringError" else ("", "")
            reason = Reason(error, f"wrong: {offset}", self.claims, partition, offset, *model)
            headers = [*OWN, *reason.headers()]
            place = {"partition": offset % 2, "timestamp": now - age}
            producer.produce(self.letters, value, b"key %d" % offset, headers=headers, **place)
        producer.produce(self.letters, b"put here by hand", partition=0)
        assert producer.flush(10) == 0

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            ended = run(["dlq", *arguments, "--bootstrap", self.bootstrap, "--topic", self.letters])
        assert ended == code, err.getvalue()
        return json.loads(out.getvalue()) if "--json" in arguments else out.getvalue() + err.getvalue()

    def sent_back(self) -> list[Any]:
        return list(messages(self.client, self.claims))


@pytest.fixture
def dlq(kafka: Any, topic: Callable[..., str]) -> Desk:
    return Desk(kafka.bootstrap, topic)


def test_lists_by_what_went_wrong_and_where(dlq: Desk) -> None:
    document = dlq("list", "--json")
    assert (document["letters"], document["matching"], document["foreign"]) == (4, 4, 1)
    assert document["errors"] == {"ScoringError": 2, "DecodeError": 2}

    def found(*filters: str) -> list[int]:
        return sorted(each["input"]["offset"] for each in dlq("list", "--json", *filters)["shown"])

    assert found("--error", "DecodeError") == [5, 6]
    assert found("--model", "claims_filter:2.1.0", "--input-partition", "0") == [4]
    assert found("--model", "claims_filter:2.2.0") == []
    assert found("--since", "1h") == [4, 5, 6, 8]
    assert found("--until", "1h") == []
    assert found("--input-topic", "another") == []
    newest = dlq("list", "--limit", "2", "--json")["shown"]
    assert [each["input"]["offset"] for each in newest] == [6, 5]
    text = dlq("list", "--limit", "1")
    assert "4 of 4 dead letters" in text
    assert "1 of them above" in text
    assert max(map(len, text.splitlines())) <= 120


def test_shows_one_with_its_claim_or_its_bytes(dlq: Desk) -> None:
    places = {each["input"]["offset"]: each["at"] for each in dlq("list", "--json")["shown"]}
    document = dlq("show", places[4], "--json")
    assert (document["claim"]["claim_type"], document["unreadable"]) != ("", None)
    assert document["headers"] == [
        ["origin", "/wA="],
        ["empty", None],
        [OWN[2][0], "b2YgYW5vdGhlciBzdGFnZQ=="],
    ]
    assert "fingerprint" in dlq("show", places[5])
    assert "tombstone" in dlq("show", places[6])
    assert "there is no dead letter at 0@99" in dlq("show", "0@99", code=1)
    assert "is no position" in dlq("show", "seventeen", code=2)
    came_from = f"{dlq.claims}[2]@5"
    assert "perhaps where the record came from" in dlq("show", came_from, code=2)
    assert "perhaps where the record came from" in dlq("replay", came_from, code=2)


def test_replays_each_once_with_its_key_value_headers_and_partition(dlq: Desk) -> None:
    assert dlq("replay", "--error", "ScoringError", "--dry-run", "--json")["replayed"] == 2
    assert dlq.sent_back() == []
    assert dlq("replay", "--error", "ScoringError", "--json")["replayed"] == 2
    document = dlq("replay", "--all", "--json")
    assert (document["replayed"], document["already"]) == (2, 2)
    assert dlq("replay", "--all", "--json")["replayed"] == 0
    back = {message.key(): message for message in dlq.sent_back()}
    assert len(back) == len(dlq.sent_back()) == 4
    assert (back[b"key 4"].partition(), back[b"key 4"].value()) == (0, dlq.claim)
    assert (back[b"key 5"].partition(), back[b"key 5"].value()) == (2, b"\xc3\x01 no claim")
    assert back[b"key 6"].value() is None
    for message in back.values():
        *own, attempt, origin = message.headers()
        assert own == OWN
        assert (attempt, origin[0]) == (("claimstream-attempt", b"2"), "claimstream-replay-of")
    assert all(each["replayed"] for each in dlq("list", "--json")["shown"])
    assert dlq("list", "--json")["letters"] == 4


def test_replay_wants_to_be_told_what(dlq: Desk) -> None:
    assert "or --all" in dlq("replay", code=2)
    assert "one of the two" in dlq("replay", "--all", "--since", "1h", code=2)
    assert "no time" in dlq("replay", "--since", "yesterday", code=2)
    assert dlq("replay", "0@999", "--json", code=1)["missing"] == ["0@999"]


def test_a_replay_that_another_one_overtakes_sends_nothing_twice(dlq: Desk) -> None:
    slow = Replayer(dlq.client, dlq.letters, topics.partitions(dlq.client))
    (letter,) = [each for each in _letters(dlq) if each.reason.offset == 4]
    slow.send(letter)
    assert dlq("replay", "--all", "--json")["replayed"] == 4
    with pytest.raises(FatalError, match="the replay stopped"):
        slow.finish()
    assert len(dlq.sent_back()) == 4


def test_a_note_behind_a_transaction_that_somebody_left_open_is_seen(
    dlq: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(_letters(dlq))
    open_one = left_open(dlq.bootstrap, dlq.letters, 2)
    earlier = Replayer(dlq.client, dlq.letters, topics.partitions(dlq.client))
    for letter in found:
        earlier.send(letter)
    earlier.finish()
    with monkeypatch.context() as patch:
        patch.setattr(reading, "_QUIET_SECONDS", 1.0)
        assert "a transaction is open at 0@4, 1@1; call it again" in dlq("replay", "--all", code=1)
    threading.Timer(1.0, open_one.abort_transaction).start()
    document = dlq("replay", "--all", "--json")
    assert (document["replayed"], document["already"]) == (0, 4)
    assert len(dlq.sent_back()) == 4


def test_a_letter_whose_topic_is_gone_holds_no_other_back(dlq: Desk) -> None:
    reason = Reason("DecodeError", "wrong", "topic-that-was-deleted", 0, 9)
    producer = Producer(dlq.client)
    producer.produce(dlq.letters, b"", partition=0, timestamp=1, headers=reason.headers())
    assert producer.flush(10) == 0
    assert dlq("replay", "--all", "--dry-run", "--json", code=1)["without_topic"] == 1
    document = dlq("replay", "--all", "--json", code=1)
    assert (document["replayed"], document["without_topic"]) == (4, 1)
    assert "1 came from topics that are not there" in dlq("replay", "--all", code=1)


def test_a_letter_that_its_topic_does_not_take_holds_no_other_back(dlq: Desk) -> None:
    resource = ConfigResource(ConfigResource.Type.TOPIC, dlq.claims)
    entry = ConfigEntry("max.message.bytes", "4000", incremental_operation=AlterConfigOpType.SET)
    resource.add_incremental_config(entry)
    admin = AdminClient(dlq.client)
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(10)
    producer = Producer(dlq.client)
    headers = Reason("OversizeError", "wrong", dlq.claims, 0, 9).headers()
    producer.produce(dlq.letters, random.Random(1).randbytes(9_000), partition=0, headers=headers)
    producer.produce(dlq.letters, b"{}" * 9_000, partition=0, headers=headers)
    assert producer.flush(10) == 0
    document = dlq("replay", "--all", "--json", code=1)
    assert (document["replayed"], document["refused"]) == (5, 1)
    assert len(dlq.sent_back()) == 5
    assert "1 are larger than their topic takes" in dlq("replay", "--all", code=1)


def test_a_replay_opens_a_transaction_only_to_send(dlq: Desk) -> None:
    sender = Replayer(dlq.client, dlq.letters, topics.partitions(dlq.client))
    (letter,) = [each for each in _letters(dlq) if each.reason.offset == 4]
    sender.send(letter)
    producer = Producer(dlq.client)
    producer.produce(dlq.claims, b"new", partition=0)
    assert producer.flush(10) == 0
    assert [message.value() for message in dlq.sent_back()] == [b"new"]
    sender.finish()
    assert len(dlq.sent_back()) == 2


def _letters(dlq: Desk) -> list[Any]:
    from stream.cli.dlq.reading import LetterTopic

    return list(LetterTopic(dlq.client, dlq.letters, load_settings(None, {}, {})).letters("reading"))
