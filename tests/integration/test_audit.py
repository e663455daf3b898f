"""The audit finds what does not add up: each fault is planted once."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer

import schemas
from stream.audit import Finding, Topics, audit
from stream.codec.framing import single_object_prefix

KEYS = (b"a", b"b", None)


def encoded(name: str, record: dict[str, Any]) -> bytes:
    schema = schemas.load(name)
    sink = io.BytesIO()
    fastavro.schemaless_writer(sink, fastavro.parse_schema(schema), record)
    return single_object_prefix(schema) + sink.getvalue()


def claim(number: int) -> bytes:
    plain = {"claim_type": "t", "member_id": "m", "service_date": datetime.date(2024, 1, 1)}
    return encoded("claim_event", {"claim_id": f"c{number}", **plain})


def result(number: int, **more: Any) -> bytes:
    entry = dict.fromkeys(("model", "version", "variant", "decision", "precision", "device"), "x")
    record = {
        "claim_id": f"c{number}",
        "claim_type": "t",
        "input_topic": "in",
        "input_partition": 0,
        "input_offset": number,
        "input_timestamp": 1_700_000_000_000 + number,
        "scores": [entry | {"score": number / 10}],
        "outcome": "scored",
        "scored_at": 1_700_000_000_000,
        "queue_ms": 1.0,
        "inference_ms": 1.0,
        "deadline_missed": False,
    }
    return encoded("claim_score", record | more)


@pytest.fixture
def judge(kafka: Any, topic: Callable[..., str]) -> Callable[..., Finding]:
    """Publishes six claims and the given results (number, key, value), then audits."""

    def run(results: list[tuple[int, bytes | None, bytes]], letters: tuple[int, ...] = ()) -> Finding:
        topics = Topics(topic(), topic(), topic())
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        for number in range(6):
            stamp = 1_700_000_000_000 + number
            producer.produce(topics.claims, claim(number), key=KEYS[number % 3], timestamp=stamp, partition=0)
        for _, key, value in results:
            producer.produce(topics.scores, value, key=key, partition=0)
        for number in letters:
            headers = [("claimstream-partition", b"0"), ("claimstream-offset", str(number).encode())]
            producer.produce(topics.dead_letters, b"raw", headers=headers)
        producer.flush(10)
        return audit(
            {"bootstrap.servers": kafka.bootstrap},
            topics,
            reference=lambda c: [int(x["claim_id"][1:]) / 10 for x in c],
        )

    return run


def answers(*numbers: int) -> list[tuple[int, bytes | None, bytes]]:
    return [(number, KEYS[number % 3], result(number)) for number in numbers]


def test_a_sound_run_is_sound(judge: Callable[..., Finding]) -> None:
    assert judge(answers(0, 1, 2, 3, 4), letters=(5,)) == Finding(6, 5, 1, 0, 0, 0, 0, 0)


def test_what_is_lost_or_answered_twice_is_counted(judge: Callable[..., Finding]) -> None:
    finding = judge(answers(0, 1, 1, 2, 3), letters=(3,))
    assert (finding.lost, finding.duplicated, finding.sound) == (2, 2, False)


def test_a_different_score_is_counted(judge: Callable[..., Finding]) -> None:
    wrong = result(
        2,
        scores=[
            {
                **dict.fromkeys(("model", "version", "variant", "decision", "precision", "device"), "x"),
                "score": 0.3,
            }
        ],
    )
    finding = judge([*answers(0, 1, 3, 4, 5), (2, None, wrong)])
    assert (finding.mismatched, finding.lost) == (1, 0)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (b"z", {}),
        (KEYS[1], {"claim_id": "c0"}),
        (KEYS[1], {"input_timestamp": 5}),
        (KEYS[1], {"input_offset": 77}),
    ],
)
def test_wrong_lineage_is_counted(judge: Callable[..., Finding], key: bytes, changes: dict[str, Any]) -> None:
    finding = judge([*answers(0, 2, 3, 4, 5), (1, key, result(1, **changes))])
    assert finding.wrong_lineage == 1


def test_a_keys_results_out_of_order_are_counted_and_null_keys_exempt(judge: Callable[..., Finding]) -> None:
    assert judge(answers(0, 5, 2, 4, 1, 3)).out_of_order == 1
