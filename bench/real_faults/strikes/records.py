"""Claims that cannot be read, scored or answered, and claims that come all at once or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from confluent_kafka import Message

from bench.real_faults import ailments
from bench.real_faults.flow import decoded
from bench.real_faults.scene import Scene
from bench.real_faults.stage import await_that

_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda value: value[: len(value) // 2],
    "bit-flipped": lambda value: value[:12] + bytes([value[12] ^ 0xFF]) + value[13:],
    "huge length": lambda value: value[:10] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + value[11:],
    "wrong schema": lambda value: b"\xc3\x01wrongone" + value[10:],
    "empty": lambda _: b"",
}
_DAMAGED_SECONDS, _AILING_SECONDS = 15.0, 3.0


DAMAGED, _LONG = b"damaged", b"k" * 30_000


def is_damaged(letter: Message) -> bool:
    """Whether a dead letter is of a record that was damaged on purpose."""
    return bool(letter.key() == DAMAGED)


def is_oversized(letter: Message) -> bool:
    """Whether it is of a claim whose result is too large."""
    return bool(letter.key() == _LONG)


def is_poisoned(letter: Message) -> bool:
    """Whether it is of a claim that ails."""
    lines = decoded(letter.value() or b"", "claim_event")["lines"]
    charge = np.array([sum(line["charge"] for line in lines)], np.float32)
    return bool(ailments.poisoned(charge)[0])


def damaged(scene: Scene) -> None:
    """Five records that are no claims, among some hundred that are; each becomes a dead letter."""
    before = scene.stage.metric("dead_letters_total")
    (value, *_) = scene.flow.samples(1)
    for change in _DAMAGES.values():
        scene.flow.put(change(value), DAMAGED)
        time.sleep(0.2)
    await_that(
        lambda: scene.stage.metric("dead_letters_total") == before + len(_DAMAGES),
        "five dead letters",
        _DAMAGED_SECONDS,
    )


def not_finite(scene: Scene) -> None:
    """Some claims get a score that is no number."""
    _ailing(scene, ailments.NOT_FINITE)


def raises(scene: Scene) -> None:
    """A forward raises whenever certain claims are in it; they alone become dead letters."""
    _ailing(scene, ailments.RAISES)


def _ailing(scene: Scene, ailment: str) -> None:
    before = scene.stage.metric("dead_letters_total")
    scene.levers.ail(ailment)
    time.sleep(_AILING_SECONDS)
    await_that(lambda: scene.stage.metric("dead_letters_total") > before, "a dead letter", 20.0)
    scene.levers.cure(ailment)


def out_of_memory(scene: Scene) -> None:
    """Batches above a size do not fit: they are halved, nothing becomes a dead letter."""
    before = scene.stage.metric("dead_letters_total")
    scene.levers.ail(ailments.MEMORY)
    scene.flow.burst(100)
    time.sleep(_AILING_SECONDS)
    scene.levers.cure(ailments.MEMORY)
    scene.expect(scene.stage.metric("dead_letters_total") == before, "a batch out of memory cost claims")


def oversized(scene: Scene) -> None:
    """A claim whose result is larger than its topic takes becomes a dead letter; the others go on."""
    before = scene.stage.metric("dead_letters_total")
    (value, *_) = scene.flow.samples(1)
    scene.flow.put(value, _LONG)
    await_that(
        lambda: scene.stage.metric("dead_letters_total") == before + 1, "one dead letter", _DAMAGED_SECONDS
    )


def burst_then_silence(scene: Scene) -> None:
    """Ten times as many for a second, then none: the last batch goes out although nothing follows."""
    scene.flow.burst(int(10 * scene.flow.rate))
    time.sleep(0.1)
    scene.flow.hold()
    scene.await_answers(20.0)
    time.sleep(scene.random.uniform(0.5, 2.0))
    scene.flow.go_on()


def clock_jumps(scene: Scene) -> None:
    """The workers' wall clock is an hour ahead, then an hour behind, then right again."""
    for ailment in (ailments.CLOCK_AHEAD, ailments.CLOCK_BEHIND):
        scene.levers.ail(ailment)
        time.sleep(scene.random.uniform(1.0, 2.0))
        scene.levers.cure(ailment)
    time.sleep(0.5)
