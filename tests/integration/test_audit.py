"""The audit finds what does not add up: each fault is planted once."""

from __future__ import annotations

import datetime
import io
import json
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import fastavro
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import schemas
from stream.audit import Finding, Ledger, Topics, _decoded, _origin, audit
from stream.audit_topics import messages
from stream.cli.main import run
from stream.codec.framing import single_object_prefix
from tests.stage import left_open

KEYS = (b"a", b"b", None)


def encoded(name: str, record: dict[str, Any]) -> bytes:
    schema = schemas.load(name)
    sink = io.BytesIO()
    fastavro.schemaless_writer(sink, fastavro.parse_schema(schema), record)
    return single_object_prefix(schema) + sink.getvalue()


def claim(number: int, day: datetime.date | int = datetime.date(2024, 1, 1)) -> bytes:
    plain = {"claim_type": "t", "member_id": "m", "service_date": day}
    return encoded("claim_event", {"claim_id": f"c{number}", **plain})


ENTRY = dict.fromkeys(("model", "version", "variant", "decision", "precision", "device"), "x")
Answer = tuple[int, bytes | None, dict[str, Any]]


def result(topic: str, number: int, changes: dict[str, Any]) -> bytes:
    record = {
        "claim_id": f"c{number}",
        "claim_type": "t",
        "input_topic": topic,
        "input_partition": 0,
        "input_offset": number,
        "input_timestamp": 1_700_000_000_000 + number,
        "scores": [ENTRY | {"score": number / 10}],
        "outcome": "scored",
        "scored_at": 1_700_000_000_000,
        "queue_ms": 1.0,
        "inference_ms": 1.0,
        "deadline_missed": False,
    }
    return encoded("claim_score", record | changes)


def letter_headers(topic: str, number: int) -> list[tuple[str, bytes]]:
    reasons = {"error-class": "DecodeError", "topic": topic, "partition": "0", "offset": str(number)}
    return [("own", b"1"), *((f"claimstream-{name}", text.encode()) for name, text in reasons.items())]


class Bench:
    """Six claims with the header `own`, and whatever answers a test gives them."""

    def __init__(self, bootstrap: str, topic: Callable[..., str]) -> None:
        self.client = {"bootstrap.servers": bootstrap}
        self.topics = Topics(topic(), topic(), topic())
        self.producer = Producer(self.client)
        for number in range(6):
            stamp = 1_700_000_000_000 + number
            self.producer.produce(
                self.topics.claims,
                claim(number),
                key=KEYS[number % 3],
                timestamp=stamp,
                partition=0,
                headers=[("own", b"1")],
            )

    def __call__(self, results: list[Answer], letters: tuple[int, ...] = (), **more: Any) -> Finding:
        for number, key, changes in results:
            value = result(self.topics.claims, number, changes)
            self.producer.produce(self.topics.scores, value, key=key, partition=0)
        for number in letters:
            self.letter(number, claim(number), KEYS[number % 3])
        self.producer.flush(10)
        return audit(
            self.client,
            self.topics,
            reference=lambda c: [[int(x["claim_id"][1:]) / 10] for x in c],
            **more,
        )

    def commit(self, group: str, offset: int) -> None:
        member = Consumer({**self.client, "group.id": group, "enable.auto.commit": False})
        member.commit(offsets=[TopicPartition(self.topics.claims, 0, offset)], asynchronous=False)
        member.close()

    def letter(self, number: int, value: bytes, key: bytes | None) -> None:
        headers = letter_headers(self.topics.claims, number)
        self.producer.produce(self.topics.dead_letters, value, key=key, headers=headers)


@pytest.fixture
def judge(kafka: Any, topic: Callable[..., str]) -> Bench:
    return Bench(kafka.bootstrap, topic)


def answers(*numbers: int) -> list[Answer]:
    return [(number, KEYS[number % 3], {}) for number in numbers]


def test_a_sound_run_is_sound(judge: Bench) -> None:
    judge.producer.produce(judge.topics.dead_letters, None, headers=[("claimstream-replayed", b"0")])
    assert judge(answers(0, 1, 2, 3, 4), letters=(5,)) == Finding(6, 5, 1, 0, 0, 0, 0, 0)


def test_what_is_lost_or_answered_twice_is_counted_and_named(judge: Bench) -> None:
    finding = judge(answers(0, 1, 1, 2, 3), letters=(3,))
    assert (finding.lost, finding.duplicated, finding.sound) == (2, 2, False)
    assert finding.examples["lost"] == [f"{judge.topics.claims}[0]@{number}" for number in (4, 5)]


def test_results_behind_a_transaction_that_somebody_left_open_are_not_lost(judge: Bench) -> None:
    open_one = left_open(judge.client["bootstrap.servers"], judge.topics.scores)
    threading.Timer(1.0, open_one.abort_transaction).start()
    assert judge(answers(0, 1, 2, 3, 4, 5)).sound
    open_one.begin_transaction()
    open_one.produce(judge.topics.scores, None)
    assert open_one.flush(10) == 0
    with pytest.raises(
        TimeoutError, match=r"before the end of partitions 0: a transaction may be open there"
    ):
        list(messages(judge.client, judge.topics.scores, patience=1.0))
    open_one.abort_transaction()


def test_a_different_score_is_counted(judge: Bench) -> None:
    finding = judge([*answers(0, 1, 3, 4, 5), (2, None, {"scores": [ENTRY | {"score": 0.3}]})])
    assert (finding.mismatched, finding.lost) == (1, 0)


def test_a_score_too_many_or_none_at_all_differs(judge: Bench) -> None:
    twice = (2, None, {"scores": [ENTRY | {"score": 0.2}, ENTRY | {"score": 0.2}]})
    assert judge([*answers(0, 1, 3, 4), twice, (5, KEYS[2], {"scores": []})]).mismatched == 2


def test_wrong_lineage_is_counted_whatever_is_wrong_with_it(judge: Bench) -> None:
    wrong = [
        (0, b"z", {}),
        (1, KEYS[1], {"claim_id": "c0"}),
        (2, KEYS[2], {"input_timestamp": 5}),
        (3, KEYS[0], {"input_topic": "another"}),
        (4, KEYS[1], {"scores": [ENTRY | {"score": 0.4, "model": ""}]}),
        (5, KEYS[2], {"scores": [ENTRY | {"score": 0.5, "version": ""}]}),
    ]
    finding = judge([*answers(0, 1, 2, 4, 5), *wrong])
    assert (finding.wrong_lineage, finding.lost) == (6, 1)
    assert finding.examples["wrong_lineage"][0].endswith("another key")


def test_an_answer_to_a_record_that_never_was_is_of_wrong_lineage(judge: Bench) -> None:
    assert judge([*answers(0, 2, 3, 4, 5), (1, KEYS[1], {"input_offset": 77})]).wrong_lineage == 1


def test_a_keys_results_out_of_order_are_counted_and_null_keys_exempt(judge: Bench) -> None:
    assert judge(answers(0, 5, 2, 4, 1, 3)).out_of_order == 1


def test_an_answer_that_is_repeated_is_no_matter_of_order(judge: Bench) -> None:
    finding = judge(answers(0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5))
    assert (finding.out_of_order, finding.duplicated) == (0, 6)


def test_a_dead_letter_that_is_not_its_record_is_counted(judge: Bench) -> None:
    judge.letter(4, claim(4) + b" ", KEYS[1])
    finding = judge(answers(0, 1, 2, 3), letters=(5,))
    assert (finding.altered, finding.dead_letters, finding.lost, finding.sound) == (1, 2, 0, False)


def test_a_letter_of_another_topic_answers_nothing(judge: Bench) -> None:
    judge.producer.produce(judge.topics.dead_letters, claim(4), headers=letter_headers("other", 4))
    finding = judge(answers(0, 1, 2, 3, 5))
    assert (finding.lost, finding.wrong_lineage) == (1, 1)


def test_what_the_group_of_a_running_stage_did_not_commit_is_waiting_not_lost(judge: Bench) -> None:
    group = f"group-{judge.topics.claims}"
    judge.commit(group, 4)
    finding = judge(answers(0, 1, 2), group=group)
    assert (finding.lost, finding.waiting) == (1, 2)


def test_answers_to_records_that_are_gone_are_not_judged(judge: Bench) -> None:
    judge(answers(0, 1, 2, 3, 4, 5))
    place = TopicPartition(judge.topics.claims, 0, 3)
    admin = AdminClient(judge.client)
    admin.delete_records([place])[place].result(10)
    finding = judge([])
    assert (finding.published, finding.unjudged, finding.sound) == (3, 3, True)


class Read:
    """A record as the client gives it."""

    def __init__(self, offset: int, key: bytes | None, value: bytes | None, stamp: int = 0) -> None:
        self._of = {"topic": "in", "partition": 0, "offset": offset, "key": key, "value": value}
        self._of |= {"headers": None, "timestamp": (1, stamp)}

    def __getattr__(self, name: str) -> Any:
        return lambda: self._of[name]


@pytest.mark.parametrize(
    ("value", "stamp", "wrong"),
    [
        (b"\x00\x00\x00\x00\x07other framing", 1_700_000_000_003, 0),
        (claim(3)[:-4], 1_700_000_000_003, 1),
        (claim(3, 2**31 - 1), 2**62, 0),
        (claim(4, 2**31 - 1), 2**62, 1),
    ],
)
def test_claims_of_other_schemas_are_told_apart_from_broken_ones(
    value: bytes, stamp: int, wrong: int
) -> None:
    origin = _origin(Read(3, None, value, stamp), keep=False)
    ledger = Ledger(Topics("in", "out", "dead"), {(0, 3): origin}, {0: (0, 4)}, None)
    answer = Read(0, None, result("in", 3, {"input_timestamp": stamp}))
    assert ledger.compare([(answer, _decoded(answer, "claim_score"))], [], None).wrong_lineage == wrong


def test_a_record_that_is_no_score_is_said_to_be_none() -> None:
    for value in (claim(3), result("in", 3, {})[:-4], b"", None):
        with pytest.raises(ValueError, match=r"in\[0\]@3 is no .*claim_score"):
            _decoded(Read(3, None, value), "claim_score")


def test_the_command_says_it_by_its_exit_code(judge: Bench) -> None:
    judge(answers(0, 1, 2, 3, 4))
    names = [judge.topics.claims, judge.topics.scores, "--dead-letters", judge.topics.dead_letters]
    command = ["audit", *names, "--bootstrap", judge.client["bootstrap.servers"]]
    group = f"group-{judge.topics.claims}"
    judge.commit(group, 0)
    for more, lost in (([], 1), (["--group", group, "--json"], 0)):
        out = io.StringIO()
        with redirect_stdout(out):
            assert run([*command, *more]) == lost
        if "--json" in more:
            assert json.loads(out.getvalue())["lost"] == lost
        else:
            assert f"lost: {judge.topics.claims}[0]@5" in out.getvalue()
    err = io.StringIO()
    with redirect_stderr(err):
        assert run([*command, "--group", "nobody"]) == 2
    assert f"the group 'nobody' committed nothing of '{judge.topics.claims}'" in err.getvalue()
    assert run(["audit", "absent", "absent", *command[5:]]) == 2
