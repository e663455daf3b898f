"""What becomes a dead letter, and what it says, from the first step of the stage to its headers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

import schemas
from config import Settings
from stream import letters
from stream.codec import Decoder, Encoder
from stream.delivery import OutputTopics
from stream.errors import StopError, UsageError
from stream.letters import LEAST_LETTER, Reason
from stream.options import TopicShape, record_limits
from stream.producer import ANY_PARTITION
from stream.publishing import generate
from stream.topics import LONGEST_TRACE
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


def test_too_many_dead_letters_stop_the_stage_before_they_go_out(sent: list[dict[str, Any]]) -> None:
    stage = Stage()
    stage.publish(400)
    stage.run()
    for start in range(400, 2_000, 200):
        stage.consumer.records += [Record(0, start + i, b"no claim", b"key", 0) for i in range(200)]
        try:
            stage.run(1)
        except StopError as error:
            assert "dead letters (DecodeError" in str(error)  # noqa: PT017 - the others go on
            break
    else:
        pytest.fail("it did not stop")
    assert len([message for message in sent if message["topic"] == "dead"]) <= 600
    assert stage.ledger.pending() >= 200


@pytest.mark.parametrize("absent", ["claim_id", "claim_type"])
def test_a_claim_that_does_not_say_who_or_what_it_is_becomes_one(
    sent: list[dict[str, Any]], absent: str
) -> None:
    schema = schemas.load("claim_event")
    for field in schema["fields"]:
        if field["name"] == absent:
            field["type"] = ["null", "string"]
    stage = Stage()
    stage.pipeline.admission._decoder = Decoder(schema)
    (batch,) = generate(3, 3)
    encoder = Encoder(schema)
    columns = [
        pa.array(["a", None, "b"]) if name == absent else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    values = encoder.encode(pa.RecordBatch.from_arrays(columns, schema=encoder.arrow_schema))
    stage.consumer.records += [Record(0, i, value, b"key", 0) for i, value in enumerate(values)]
    stage.run(10)
    read = letters.read(only_letter(sent)["headers"])
    assert read is not None
    assert (read[1].error_class, read[1].offset) == ("DecodeError", 1)
    assert read[1].message == f"the claim has no {absent}, which identifies or routes it"
    assert len([each for each in stage.producer.sent if each[0] == "scores"]) == 2


@pytest.mark.parametrize("all_large", [False, True])
def test_a_result_that_the_broker_would_refuse_becomes_one(
    sent: list[dict[str, Any]], all_large: bool
) -> None:
    stage = Stage()
    stage.pipeline.delivery._topics = OutputTopics("claims", "scores", "dead", True, result_bytes=2_000)
    stage.publish(10)
    for record in [*stage.consumer.records][:: 1 if all_large else 4]:
        record._answers["key"] = b"k" * 3_000
    stage.run()
    found = [letters.read(message["headers"]) for message in sent if message["topic"] == "dead"]
    large = range(10) if all_large else (0, 4, 8)
    assert sorted(read[1].offset for read in found if read) == [*large]
    assert {(read[1].error_class, read[1].model) for read in found if read} == {("OversizeError", "null")}
    assert len([each for each in stage.producer.sent if each[0] == "scores"]) == 10 - len(large)
    assert stage.ledger.pending() == 0


def test_results_that_are_too_large_stop_the_stage_before_they_go_out_as_well(
    sent: list[dict[str, Any]],
) -> None:
    stage = Stage()
    stage.pipeline.delivery._topics = OutputTopics("claims", "scores", "dead", True, result_bytes=700)
    stage.publish(2_000)
    with pytest.raises(StopError, match=r"dead letters \(OversizeError"):
        stage.run(100)
    assert len([message for message in sent if message["topic"] == "dead"]) < 1_000
    assert stage.ledger.pending() > 0


def test_a_topic_that_takes_no_result_at_all_is_refused() -> None:
    settings = Settings.model_validate({"kafka": {"topics": {"output": "small"}}})
    with pytest.raises(UsageError, match=r"'small' takes records of 600 bytes.* may need 704: raise its max"):
        record_limits(settings, TopicShape(1, 1, output_bytes=600))
    assert record_limits(settings, TopicShape(1, 1, output_bytes=704))[0] == 704


def test_a_topic_that_takes_no_dead_letter_is_refused_at_the_start() -> None:
    settings = Settings.model_validate({})
    with pytest.raises(UsageError, match="and the shortest dead letter may need 1,2"):
        record_limits(settings, TopicShape(1, 1, dead_letter_bytes=LEAST_LETTER - 1))
    shape = TopicShape(1, 1, dead_letter_bytes=LEAST_LETTER)
    assert record_limits(settings, shape)[1] == LEAST_LETTER


def test_a_trace_of_unreasonable_length_is_not_carried_over(sent: list[dict[str, Any]]) -> None:
    stage = Stage()
    stage.publish(2)
    for record, length in zip(stage.consumer.records, (55, 5_000), strict=True):
        record._answers["headers"] = [("traceparent", b"0" * length)]
    stage.run()
    headers = [message["headers"] for message in sent if message["topic"] == "scores"]
    assert headers == [[("traceparent", b"0" * 55)], None]


def test_of_many_traces_the_last_one_is_carried_over(sent: list[dict[str, Any]]) -> None:
    stage = Stage()
    stage.publish(2)
    trace = ("traceparent", b"1" * LONGEST_TRACE)
    many = [("traceparent", b"0" * 500)] * 4_000
    for record, last in zip(stage.consumer.records, (trace, ("traceparent", b"2" * 513)), strict=True):
        record._answers["headers"] = [*many, last, ("other", b"x")]
    stage.run()
    headers = [message["headers"] for message in sent if message["topic"] == "scores"]
    assert headers == [[trace], None]


class BadlyNamed(Record):
    """The client's answer where a header's name is no UTF-8."""

    def headers(self) -> Any:
        raise SystemError("returned a result with an exception set")


def test_headers_that_the_client_cannot_read_end_no_worker(sent: list[dict[str, Any]]) -> None:
    stage = Stage()
    stage.publish(3)
    stage.consumer.records += [BadlyNamed(0, offset, b"no claim", b"key", 0) for offset in (3, 4)]
    stage.publish(5, start=5)
    stage.consumer.records[-1]._answers["headers"] = [("traceparent", b"00-abc")]
    stage.run()
    found = [letters.read(message["headers"]) for message in sent if message["topic"] == "dead"]
    assert [(read[0], read[1].offset) for read in found if read] == [
        ([(letters.UNREADABLE, None)], 3),
        ([(letters.UNREADABLE, None)], 4),
    ]
    assert [message["headers"] for message in sent if message["topic"] == "scores"][-1] == [
        ("traceparent", b"00-abc")
    ]
    assert stage.consumer.commits[-1] == {0: 10}


def test_results_of_a_partition_that_was_added_go_by_their_keys() -> None:
    same = OutputTopics("claims", "scores", "dead", True, partitions=4)
    assert [same.result_partition(partition) for partition in (0, 3, 4)] == [0, 3, ANY_PARTITION]
    assert OutputTopics("claims", "scores", "dead", False).result_partition(0) == ANY_PARTITION
