"""Transactions of the stage, around a scripted client: what is committed, and what an error costs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from config import Settings
from stream.codec.learning import PATIENCE
from stream.errors import FatalError, UsageError
from stream.options import sender_options
from stream.transaction_policy import CommitTimes, Load, TransactionLimits
from tests.scripted_transactions import LIMITS, TransactionalStage, abortable, fatal, retriable


def with_results(count: int = 50) -> TransactionalStage:
    """A stage whose open transaction holds the results of all its claims."""
    stage = TransactionalStage()
    stage.publish(count)
    stage.step("loading", "intake")
    while stage.arena.in_flight:
        stage.step("scoring", "output")
        stage.clock.advance(0.001)
    return stage


def finished(stage: TransactionalStage, claims: int) -> None:
    """Nothing is missing, repeated or out of order."""
    stage.run()
    assert len(stage.scores) == claims
    assert len(set(stage.scores)) == claims
    assert stage.consumer.standing[0].offset == claims
    assert stage.ledger.pending() == 0
    assert stage.consumer.commits == []


def test_results_and_offsets_are_committed_together() -> None:
    stage = TransactionalStage()
    stage.publish(300)
    stage.publish(100, partition=1, start=50)
    stage.run()
    assert len(stage.scores) == 400
    assert [stage.consumer.standing[p].offset for p in (0, 1)] == [300, 150]
    assert stage.consumer.commits == []
    assert stage.ledger.pending() == 0
    assert stage.count("transactions_total", "committed") == len(stage.log.transactions)


def test_a_transaction_ends_at_its_age() -> None:
    stage = with_results(20)
    stage.step("transactions")
    assert stage.log.transactions == []
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    assert stage.log.transactions == [20]


def test_a_transaction_ends_at_its_size_and_the_rest_gathers() -> None:
    stage = with_results(200)
    for start in (200, 400, 600):
        stage.publish(200, start=start)
        stage.step("intake")
        while stage.arena.in_flight:
            stage.step("scoring", "output")
    assert stage.pipeline.producer.fill == 272 / LIMITS.messages
    stage.step("transactions")
    assert LIMITS.messages <= stage.log.transactions[0] < 800
    finished(stage, 800)


def test_a_transaction_ends_at_its_bytes_and_the_rest_gathers_until_as_much_waits() -> None:
    stage = TransactionalStage()
    sender = stage.pipeline.producer
    sender._limits = replace(LIMITS, bytes=5_000)
    stage.publish(200)
    stage.step("loading", "intake")
    for _ in range(30):
        stage.step("scoring", "output")
    assert sender.blocked
    open_bytes = sum(len(value) for _, _, value in stage.log.clients[0].messages or ())
    assert 5_000 <= open_bytes < 20_000
    assert stage.arena.in_flight > 0
    stage.step("transactions")
    assert 0 < stage.log.transactions[0] < 200
    finished(stage, 200)
    assert sender.fill == 0.0


@given(st.integers(0, 900), st.integers(0, 20_000), st.booleans())
def test_a_transaction_that_is_full_of_either_is_due_at_once(messages: int, size: int, late: bool) -> None:
    limits = TransactionLimits(age=0.02, messages=500, bytes=10_000, leisure=0.1)
    load = Load(messages, size)
    assert (limits.share(load) >= 1.0) == (messages >= 500 or size >= 10_000)
    due = limits.due(1.0, load, 1.001, late=late)
    assert due == (1.001 if limits.share(load) >= 1.0 else 1.1 if late else 1.02)


def test_limits_come_from_what_may_be_in_flight() -> None:
    limits = TransactionLimits.of(0.2, 18_384, 256_000_000)
    assert (limits.messages, limits.bytes) == (9_192, 128_000_000)


def test_the_client_takes_a_transaction_that_is_almost_full_and_all_that_is_in_flight() -> None:
    """A shipment may be as large: what a claim of its key held back leaves at once."""
    settings = Settings.model_validate({"kafka": {"delivery": "exactly_once"}})
    room = sender_options(settings, 18_384, 0)["queue.buffering.max.messages"]
    assert room >= TransactionLimits.of(0.2, 18_384, 256_000_000).messages + 18_384


def test_what_is_late_is_kept_back_while_more_may_join_it() -> None:
    stage = with_results(20)
    stage.clock.advance(1.0)
    assert stage.pipeline.producer.step(stage.clock.now()) <= stage.clock.now()
    assert stage.log.transactions == [20]
    stage.publish(20, start=20)
    stage.clock.advance(1.0)
    stage.step("loading", "intake")
    while stage.arena.in_flight:
        stage.step("scoring", "output")
    stage.publish(5, start=40)
    stage.step("intake")
    stage.clock.advance(LIMITS.leisure - 0.001)
    stage.step("transactions")
    assert stage.log.transactions == [20]
    stage.clock.advance(0.001)
    stage.step("transactions")
    assert stage.log.transactions == [20, 20]
    assert stage.pipeline.delivery.typical == LIMITS.age
    finished(stage, 45)


def test_the_end_of_a_backlog_teaches_nothing_of_what_was_kept_back_until_then() -> None:
    stage = with_results(20)
    stage.pipeline.producer._deadline = 0.0
    stage.publish(5, start=20)
    stage.step("intake")
    stage.clock.advance(2 * LIMITS.age)
    stage.step("transactions")
    assert stage.log.transactions == []
    while stage.arena.in_flight:
        stage.step("scoring", "output")
    assert stage.ledger.pending() == 25
    stage.step("transactions")
    assert stage.log.transactions == [25]
    assert stage.pipeline.delivery.typical == LIMITS.age


def test_whoever_waits_for_an_end_is_not_kept_waiting_for_what_is_late() -> None:
    stage = with_results(20)
    stage.publish(5, start=20)
    stage.step("intake")
    stage.clock.advance(LIMITS.age)
    assert stage.ledger.pending() == 25
    stage.pipeline.producer._deadline = 0.0
    stage.step("transactions")
    assert stage.log.transactions == []
    stage.pipeline.drain()
    stage.step("transactions")
    assert stage.log.transactions == [20]


def test_results_gather_while_a_commit_waits() -> None:
    stage = with_results(50)
    stage.publish(60, start=50)
    stage.step("intake")

    def meanwhile() -> None:
        while stage.arena.in_flight:
            stage.step("scoring", "output")

    stage.log.during["commit"] = meanwhile
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    assert stage.log.transactions == [50]
    assert stage.ledger.pending() == 60
    finished(stage, 110)


@pytest.mark.parametrize("call", ["produce", "send_offsets", "commit"])
def test_what_was_aborted_is_produced_again_without_being_scored_again(call: str) -> None:
    stage = TransactionalStage()
    stage.log.failing.append((call, abortable(), False))
    stage.publish(50)
    stage.run()
    finished(stage, 50)
    assert stage.count("transactions_total", "aborted") == 1
    assert len(stage.log.clients) == 1
    assert stage.model.forwards == sum(1 for d in stage.pipeline.batcher.decided.latest())


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("error", [retriable(), KafkaError(KafkaError._TIMED_OUT)])
def test_a_commit_of_unknown_outcome_is_found_out(error: KafkaError, applied: bool) -> None:
    stage = with_results(50)
    stage.log.failing.append(("commit", error, applied))
    stage.log.failing.extend([("commit", error, False)] * 4 if error.retriable() else [])
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    assert len(stage.log.clients) == 2
    assert stage.ledger.pending() == (0 if applied else 50)
    finished(stage, 50)
    assert stage.pipeline.delivery.typical >= LIMITS.age


def test_nothing_is_produced_until_the_outcome_is_found_out() -> None:
    stage = with_results(50)
    stage.log.failing.append(("commit", KafkaError(KafkaError._TIMED_OUT), True))
    stage.consumer.silent = True
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    stage.publish(30, start=50)
    stage.run(20)
    assert stage.log.transactions == [50]
    assert stage.ledger.pending() == 80
    stage.consumer.silent = False
    finished(stage, 80)
    assert len(stage.log.clients) == 2
    stage.log.failing.append(("commit", KafkaError(KafkaError._TIMED_OUT), False))
    stage.consumer.silent = True
    stage.publish(10, start=80)
    stage.run()
    stage.clock.advance(61.0)
    with pytest.raises(FatalError, match="cannot be told what the last transaction committed"):
        stage.step("transactions")


def test_a_call_that_may_be_made_again_is() -> None:
    stage = with_results(50)
    stage.log.failing.extend([("send_offsets", retriable(), False), ("commit", retriable(), False)])
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    assert (stage.log.transactions, len(stage.log.clients)) == ([50], 1)


def test_an_abort_that_fails_is_found_out_as_well() -> None:
    stage = with_results(50)
    stage.log.failing.extend(
        [("commit", abortable(), False), ("abort", KafkaError(KafkaError._STATE), False)]
    )
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    assert len(stage.log.clients) == 2
    finished(stage, 50)


@pytest.mark.parametrize("call", ["send_offsets", "commit", "abort"])
def test_a_fenced_producer_ends_the_worker(call: str) -> None:
    stage = with_results(50)
    if call == "abort":
        stage.log.failing.append(("commit", abortable(), False))
    stage.log.failing.append((call, fatal(), False))
    stage.clock.advance(LIMITS.age)
    with pytest.raises(FatalError, match=r"another worker has its transactional\.id"):
        stage.step("transactions")
    assert stage.scores == []


def test_a_fatal_error_that_a_poll_reports_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = with_results(50)
    client = stage.pipeline.producer._client  # type: ignore[attr-defined]
    told = [fatal()]

    def poll(_: float) -> int:
        if told:
            raise KafkaException(told.pop())
        return 0

    monkeypatch.setattr(client, "poll", poll)
    stage.step("output")
    with pytest.raises(FatalError, match=r"another worker has its transactional\.id"):
        stage.step("transactions")
    assert stage.scores == []


def test_a_fenced_producer_at_the_start_ends_the_worker() -> None:
    stage = TransactionalStage()
    stage.log.failing.append(("init_transactions", fatal(), False))
    with pytest.raises(FatalError, match="transactions cannot be used: fenced"):
        stage.pipeline.producer.open()


def test_nothing_is_committed_for_a_topic_made_anew() -> None:
    stage = with_results(50)

    def made_anew() -> None:
        stage.identities = lambda: "second"

    stage.log.during["send_offsets"] = made_anew
    stage.clock.advance(LIMITS.age)
    with pytest.raises(FatalError, match="'claims' is gone or was made anew"):
        stage.step("transactions")
    assert (stage.log.transactions, stage.consumer.standing) == ([], {})


@pytest.mark.parametrize("call", ["send_offsets", "commit"])
def test_what_failed_is_not_committed_for_a_topic_made_anew(call: str) -> None:
    stage = with_results(50)
    stage.log.failing.append((call, KafkaError(KafkaError._TIMED_OUT), False))
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    stage.clock.advance(0.1)
    stage.identities = lambda: "second"
    with pytest.raises(FatalError, match="'claims' is gone or was made anew"):
        stage.run()
    assert (stage.log.transactions, stage.consumer.standing) == ([], {})


def test_a_topic_that_is_gone_ends_the_worker_at_once() -> None:
    stage = with_results(50)
    unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "unknown", False, False, True)
    stage.log.failing.append(("send_offsets", unknown, False))
    stage.identities = lambda: None
    stage.clock.advance(LIMITS.age)
    with pytest.raises(FatalError, match="'claims' is gone or was made anew"):
        stage.step("transactions")


def test_while_nobody_tells_whether_the_topic_is_the_same_nothing_is_committed() -> None:
    stage = with_results(50)
    stage.log.failing.append(("send_offsets", abortable(), False))

    def nobody() -> str:
        stage.identities = lambda: "first"
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    stage.identities = nobody
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    finished(stage, 50)
    assert stage.count("transactions_total", "uncertain") == 1


def test_failures_in_a_row_end_the_worker_after_waiting_longer_each_time() -> None:
    stage = with_results(50)
    stage.log.failing.extend([("commit", abortable(), False)] * 4)
    started = stage.clock.now()
    with pytest.raises(FatalError, match="4 transactions in a row failed, the last one: abort"):
        stage.run(100)
    assert stage.clock.now() - started > 3 * LIMITS.age + 0.02 + 0.04 + 0.08


def test_who_was_cast_out_and_not_told_yet_goes_on_in_the_name_that_is_refused() -> None:
    stage = TransactionalStage()
    stage.step("intake")
    member: Any = stage.consumer
    member.memberid, member.consumer_group_metadata = lambda: "", lambda: "nobody"
    stage.clock.advance(1.0)
    stage.step("intake")
    assert stage.pipeline.consumer.membership == "generation 1"
    member.memberid, member.consumer_group_metadata = lambda: "member 2", lambda: "generation 3"
    stage.clock.advance(1.0)
    stage.step("intake")
    assert stage.pipeline.consumer.membership == "generation 3"


def test_failures_for_an_old_membership_outlast_the_steps_of_intake_that_renew_it() -> None:
    failures = TransactionLimits.of(0.5, 1_000, 1_000).failures
    backoff = with_results(1).pipeline.producer._backoff  # type: ignore[union-attr]
    waits = [backoff.failed() for _ in range(failures)]
    assert sum(waits) > 5 * PATIENCE


@pytest.mark.parametrize("again", [False, True])
def test_a_lost_partition_aborts_the_transaction_and_the_others_are_produced_again(again: bool) -> None:
    stage = with_results(50)
    stage.publish(30, partition=1)
    stage.step("intake")
    while stage.arena.in_flight:
        stage.step("scoring", "output")
    stage.lose(1)
    if again:
        stage.assign(1)
    finished(stage, 50)
    assert 1 not in stage.consumer.standing
    assert stage.count("transactions_total", "stale") == 1
    assert stage.count("stale_results_total") == 30


def test_what_is_lost_while_the_outcome_is_found_out_is_left_to_its_new_owner() -> None:
    stage = with_results(50)
    stage.log.failing.append(("commit", KafkaError(KafkaError._TIMED_OUT), False))
    stage.log.during["commit"] = lambda: stage.lose(0)
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    stage.run()
    assert (stage.scores, stage.consumer.standing) == ([], {})


def test_a_revoke_commits_the_transaction_before_it_returns() -> None:
    stage = TransactionalStage()
    stage.publish(150)
    stage.step("intake")
    stage.revoke(0)
    assert len(stage.scores) == 150
    assert stage.consumer.standing[0].offset == 150
    assert stage.ledger.owned() == [1]


def test_what_an_earlier_owner_completed_is_covered_without_any_result() -> None:
    stage = TransactionalStage()
    zeros = np.zeros(50, np.int64)
    stage.ledger.inherit(0, np.array([[0, 50]]))
    assert not stage.ledger.take(zeros, np.arange(50), stage.ledger.epochs(zeros)).any()
    stage.run()
    assert stage.consumer.standing[0].offset == 50
    assert stage.log.transactions == [0]


def test_a_call_that_does_not_come_back_ends_the_process() -> None:
    stage = with_results(50)

    def stuck() -> None:
        stage.clock.advance(14.0)
        stage.watchdog.step(stage.clock.now())
        assert stage.ended == []
        stage.clock.advance(2.0)
        stage.watchdog.step(stage.clock.now())

    stage.log.during["commit"] = stuck
    stage.clock.advance(LIMITS.age)
    stage.step("transactions")
    stage.watchdog.step(stage.clock.now())
    assert len(stage.ended) == 1
    assert re.fullmatch(r"commit_transaction did not come back 1\.0 s after its time-out", stage.ended[0])


def test_an_open_transaction_is_aborted_at_the_end() -> None:
    stage = with_results(50)
    stage.pipeline.producer.close()
    assert stage.log.clients[0].messages is None
    assert stage.scores == []


def test_a_transaction_of_offsets_alone_is_aborted_at_the_end_too() -> None:
    stage = TransactionalStage()
    zeros = np.zeros(50, np.int64)
    stage.ledger.inherit(0, np.array([[0, 50]]))
    stage.ledger.take(zeros, np.arange(50), stage.ledger.epochs(zeros))
    stage.identities = lambda: "another"
    with pytest.raises(FatalError, match="is gone or was made anew"):
        stage.run()
    client = stage.log.clients[0]
    assert client.messages == []
    stage.pipeline.producer.close()
    assert client.messages is None
    assert stage.consumer.standing == {}


@pytest.mark.parametrize("how", ["committed", "aborted"])
def test_no_transaction_that_has_ended_is_aborted_at_the_end(how: str) -> None:
    stage = with_results(50)
    if how == "aborted":
        stage.lose(0)
    stage.run()
    stage.log.failing.append(("abort", fatal(), False))
    stage.pipeline.producer.close()
    assert len(stage.log.failing) == 1


def test_a_budget_without_room_for_commits_is_refused_with_the_number() -> None:
    times = CommitTimes(0.05)
    assert not any(times.note(0.02) for _ in range(16 + 8 * 64 - 1))
    refusal = times.note(0.02)
    assert refusal is not None
    assert "20 ms here (P95 of 64, the calmest of 8 times): at least 60 ms, and it is 50;" in refusal


def test_a_budget_is_not_refused_for_commits_that_are_slow_for_a_while() -> None:
    times = CommitTimes(0.05)
    seconds = [1.0] * (16 + 3 * 64) + [0.01] * 64 + [1.0] * 1_000
    assert not any(times.note(each) for each in seconds)


def test_a_refused_budget_ends_the_worker() -> None:
    stage = with_results(50)
    stage.pipeline.producer._times.note = lambda _: "too tight"
    stage.clock.advance(LIMITS.age)
    with pytest.raises(UsageError, match="too tight"):
        stage.step("transactions")
    assert stage.log.transactions == [50]
