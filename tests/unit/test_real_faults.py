"""What serves the faults on real brokers: the proxy, the levers, the journal, the figures. No broker here."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import schemas
from bench.real_faults import ailments, soak
from bench.real_faults.figures import figures
from bench.real_faults.journal import Conditions, Journal
from bench.real_faults.levers import Lever, Levers
from bench.real_faults.proxy import Api, KafkaProxy
from bench.real_faults.questions import patiently
from bench.real_faults.soak import Held
from bench.real_faults.stage import NeverError, Stage
from bench.real_faults.strikes import records
from bench.real_faults.table import FAULTS
from bench.real_faults.trial import Trial
from models.null import LineTotals
from stream.clock import ManualClock
from stream.codec import Encoder
from stream.embedded.ports import free_ports
from stream.publishing import generate


def trial(**more: object) -> Trial:
    values: dict[str, object] = {
        "fault": "kill",
        "mode": "at_least_once",
        "seed": 1,
        "strikes": 2,
        "published": 500,
        "recovered": (1.0, 3.0),
        "lost": 0,
        "duplicated": 0,
        "repeated": 8,
        "out_of_order": 0,
        "wrong": 0,
        "complaints": (),
    }
    return Trial(**{**values, **more})  # type: ignore[arg-type]


def test_every_fault_has_a_name_of_its_own_and_strikes_in_some_mode() -> None:
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1
    assert all(fault.modes for fault in FAULTS)


SOURCES = Conditions("of today", 2, 1.0)


def test_a_journal_goes_on_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "journal.jsonl", SOURCES)
    assert journal.trials() == []
    journal.add(trial())
    with (tmp_path / "deep" / "journal.jsonl").open("a") as sink:
        sink.write('\n{"fault": "ki')
    journal.add(trial(seed=2, complaints=("late",)))
    assert journal.trials() == [trial(), trial(seed=2, complaints=("late",))]


@pytest.mark.parametrize("change", [{"program": "of yesterday"}, {"strikes": 1}, {"patience": 4.0}])
def test_trials_of_other_conditions_count_for_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "journal.jsonl"
    Journal(file, replace(SOURCES, **change)).add(trial())
    assert Journal(file, SOURCES).trials() == []
    Journal(file, SOURCES).add(trial(seed=2))
    assert Journal(file, SOURCES).trials() == [trial(seed=2)]


def test_what_was_said_before_a_strike_is_not_heard_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stage = Stage(["this"], {}, log)
    stage.wait()
    stage.listen()
    with log.open("a") as sink:
        sink.write("too large")
    assert stage.said() == "too large"
    stage.listen()
    assert stage.said() == ""


class Letter:
    """A dead letter, as far as a predicate looks at it."""

    def __init__(self, value: bytes, key: bytes = b"") -> None:
        self._value, self._key = value, key

    def value(self) -> bytes:
        return self._value

    def key(self) -> bytes:
        return self._key


def test_the_claims_that_ail_are_told_from_their_letters_as_the_model_tells_them() -> None:
    (claims,) = generate(400, seed=1)
    totals = LineTotals().encode(claims)["totals"]
    letters: list[Any] = [Letter(value) for value in Encoder(schemas.load("claim_event")).encode(claims)]
    ailing = [records.is_poisoned(letter) for letter in letters]
    assert ailing == ailments.poisoned(totals[:, 0]).tolist()
    assert 0 < sum(ailing) < 40


def test_a_letter_that_nothing_explains_is_a_complaint() -> None:
    damaged: Any = Letter(b"no claim", records.DAMAGED)
    sound: Any = Letter(b"no claim", b"member")
    letters = {fault.name: fault.letters for fault in FAULTS}
    assert letters["damaged_records"](damaged)
    assert not letters["damaged_records"](sound)
    assert not letters["kill"](damaged)


def test_figures_sum_zeros_name_what_fails_and_tell_times() -> None:
    found = {
        figure.name: figure
        for figure in figures(
            [trial(), trial(seed=2, lost=1), trial(fault="hang", mode="exactly_once", repeated=0)]
        )
    }
    assert (found["real_strikes"].value, found["real_lost"].met, found["real_duplicated"].met) == (
        6,
        False,
        True,
    )
    assert (found["real_failing"].value, found["real_failing"].note) == (1, "kill at_least_once 2")
    assert found["duplicates_per_kill"].value == 4.0
    assert found["recover_kill_at_least_once"].value == 2.0
    assert "the longest 3.0 s" in found["recover_kill_at_least_once"].note


def test_growth_is_told_from_what_was_held_after_the_warm_up() -> None:
    held = [Held(50.0, 8, 20), *[Held(100.0, 10, 30)] * 10, *[Held(130.0, 10, 31)] * 10]
    memory, threads, files = soak.grown("worker", held)
    assert (memory.value, memory.met) == (30.0, False)
    assert (threads.value, threads.met) == (0, True)
    assert (files.value, files.met) == (1, True)


def test_growth_of_which_too_little_was_seen_meets_no_goal() -> None:
    figures_of_few = soak.grown("worker", [Held(50.0, 8, 20)] * 5)
    assert [figure.met for figure in figures_of_few] == [False] * 3
    assert "5 looks are too few" in figures_of_few[1].note
    assert [figure.met for figure in soak.grown("worker", [])] == [False] * 3


def test_a_lever_is_pulled_once(tmp_path: Path) -> None:
    levers = Levers(tmp_path)
    lever = Lever("hand over", "before", "queue full")
    levers.pull(lever)
    levers.reach("hand over", "after")
    assert levers.pulled(lever)
    with pytest.raises(BufferError):
        levers.reach("hand over", "before")
    levers.reach("hand over", "before")
    assert not levers.pulled(lever)


def frame(*numbers: tuple[str, int]) -> bytes:
    body = b"".join(struct.pack(f">{kind}", number) for kind, number in numbers)
    return struct.pack(">i", len(body)) + body


def test_the_proxy_loses_the_answer_that_it_is_told_to_and_the_connection_with_it() -> None:
    port, upstream = free_ports(2)
    server = socket.create_server(("127.0.0.1", upstream))

    def answer() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as requests:
            while head := requests.read(4):
                body = requests.read(*struct.unpack(">i", head))
                connection.sendall(frame(("i", struct.unpack(">hhi", body[:8])[2])))

    threading.Thread(target=answer, daemon=True).start()
    proxy = KafkaProxy(port, upstream)
    proxy.start()
    try:
        proxy.lose_answer(Api.END_TXN)
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(frame(("h", Api.PRODUCE), ("h", 9), ("i", 1)))
            assert client.recv(100) == frame(("i", 1))
            client.sendall(frame(("h", Api.END_TXN), ("h", 3), ("i", 2)))
            assert client.recv(100) == b""
        assert proxy.lost == 1
    finally:
        proxy.stop()
        server.close()


class Asked:
    """Gives one answer after the other, the last one for ever; each takes all the time that it may."""

    def __init__(self, *answers: object) -> None:
        self.clock = ManualClock()
        self.times: list[float] = []
        self._answers = list(answers)

    def __call__(self, seconds: float) -> int | None:
        self.times.append(seconds)
        self.clock.advance(seconds)
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        assert answer is None or isinstance(answer, int)
        return answer

    def asked(self) -> int:
        return patiently(self, "who leads", 20.0, self.clock.now, self.clock.advance)


def refused(code: int) -> KafkaException:
    return KafkaException(KafkaError(code))


@pytest.mark.parametrize(
    "first", [refused(KafkaError.NOT_COORDINATOR), refused(KafkaError._TRANSPORT), TimeoutError(), None]
)
def test_a_question_is_asked_again_until_the_cluster_has_found_itself(first: object) -> None:
    assert Asked(first, first, 2).asked() == 2


@pytest.mark.parametrize("answer", [refused(KafkaError.NOT_COORDINATOR), TimeoutError(), None])
def test_a_question_that_nobody_answers_ends(answer: object) -> None:
    asked = Asked(answer)
    began = asked.clock.now()
    with pytest.raises(NeverError, match="asked for 20 s in vain who leads"):
        asked.asked()
    assert asked.clock.now() - began <= 20.5
    assert max(asked.times) <= 5.0


def test_an_error_that_stays_is_told_at_once() -> None:
    asked = Asked(refused(KafkaError.GROUP_AUTHORIZATION_FAILED), 2)
    with pytest.raises(KafkaException):
        asked.asked()
    assert len(asked.times) == 1
