"""The input topic is deleted with claims in flight and made again, on the simulated Kafka."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest

from bench.faults.claims import Kind, pool
from bench.faults.driver import Driver
from bench.faults.models import Versions
from bench.faults.workers import Place, Stage
from config import Settings
from stream.clock import ManualClock
from stream.embedded.simulated import Faults, SimulatedKafka
from tests.stage import score_of

SPEEDS = {"slow": 0.05}
CLAIMS = 900


class Scene:
    """One worker, and a topic of one partition into which claims come at 100 a second."""

    def __init__(self, seed: int, mode: str) -> None:
        draw = random.Random(seed)
        self.clock = ManualClock()
        self.driver = Driver(draw, self.clock)
        self.kafka = SimulatedKafka(self.clock, Faults(), self.driver.run_for)
        for topic in ("claims", "scores", "dead"):
            self.kafka.create_topic(topic, 1)
        stage = Stage(self.driver, self.kafka, settings(mode), Versions(list(SPEEDS)), SPEEDS, draw)
        self.place = Place(0, stage)
        self.sound = pool()[Kind.SOUND]

    def write(self, number: int) -> None:
        self.kafka.write("claims", 0, self.sound[number % len(self.sound)].value, b"k%d" % number)

    def make_anew(self) -> None:
        self.made = int(1_000 * self.clock.wall()) / 1_000
        self.kafka.create_topic("claims", 1)
        for number in range(CLAIMS):
            self.write(number)

    def answers(self) -> Counter[int]:
        """By offset, to claims of the topic that was made anew."""
        scores = [score_of(message) for message in self.kafka.messages("scores")]
        return Counter(
            score["input_offset"] for score in scores if score["input_timestamp"].timestamp() >= self.made
        )


def settings(mode: str) -> Settings:
    kafka = {
        "bootstrap_servers": "simulated",
        "group_id": "group",
        "topics": {"input": "claims", "output": "scores", "dead_letters": "dead"},
        "consumer": {"session.timeout.ms": 3_000, "heartbeat.interval.ms": 300},
        "delivery": mode,
        "instance": "instance",
    }
    more = {"routes": {"*": ["slow"]}, "workers": {"preload_models": []}}
    return Settings.model_validate({"kafka": kafka, **more})


@pytest.mark.parametrize("gap", [0.06, 0.6])
@pytest.mark.parametrize("seed", [2, 17, 22])
@pytest.mark.parametrize("mode", ["at_least_once", "exactly_once"])
def test_claims_of_a_topic_made_anew_are_all_answered(mode: str, seed: int, gap: float) -> None:
    scene = Scene(seed, mode)
    start = scene.clock.now()
    gone = 3.5 + 0.013 * seed
    scene.driver.at(start, scene.place.start)
    for number in range(int(100 * (gone - 1.0))):
        scene.driver.at(start + 1.0 + 0.01 * number, partial(scene.write, number))
    scene.driver.at(start + gone, partial(scene.kafka.delete_topic, "claims"))
    scene.driver.at(start + gone + gap, scene.make_anew)
    scene.driver.run_for(60.0)
    answers = scene.answers()
    assert sorted(answers) == list(range(CLAIMS))
    assert mode == "at_least_once" or set(answers.values()) == {1}
    assert all(end.foreseen for end in scene.place.ends)
