"""Whatever becomes of models and in whatever order the steps run: every claim is scored once, no lease stays."""

from __future__ import annotations

from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st

import schemas
from models import VersionKey, open_model
from stream.codec import Decoder
from tests.scripted_stage import Stage
from tests.unit.test_pipeline_models import Renamed

VERSIONS = [VersionKey("null", "1.0.0", "first"), *(VersionKey("null", f"{n}.0.0", "later") for n in (2, 3))]

version = st.sampled_from(VERSIONS)
actions = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 20)),
    st.tuples(st.just("step"), st.sampled_from(["intake", "loading", "scoring", "output"])),
    st.tuples(st.just("advance"), st.sampled_from([0.01, 0.3, 2.5, 40.0])),
    st.tuples(st.sampled_from(["leave", "land", "break", "promote", "share", "room"]), version),
)


class Story:
    """A stage, what was published to it, and what happens to its models."""

    def __init__(self) -> None:
        self.stage = Stage()
        for number, key in enumerate(VERSIONS[1:]):
            self.stage.models.versions[key] = Renamed(open_model("null"), key.version, f"spec-{number}")
        self.published = 0

    def play(self, action: str, value: object) -> None:
        if action == "publish":
            assert isinstance(value, int)
            self.stage.publish(value, start=self.published)
            self.published += value
        elif action == "step":
            self.stage.step(str(value))
            self.stage.producer.acknowledge(len(self.stage.producer))
        elif action == "advance":
            assert isinstance(value, float)
            self.stage.clock.advance(value)
        else:
            assert isinstance(value, VersionKey)
            self._change(action, value)

    def _change(self, action: str, key: VersionKey) -> None:
        scripted = self.stage.models
        match action:
            case "leave":
                scripted.on_device.discard(key)
                scripted.landed.discard(key)
            case "land":
                scripted.broken.discard(key)
                scripted.landed.add(key)
            case "break":
                scripted.on_device.discard(key)
                scripted.landed.discard(key)
                scripted.broken.add(key)
            case "promote":
                scripted.meaning = ((key, 1),)
            case "share":
                scripted.meaning = ((VERSIONS[0], 1), (key, 2)) if key != VERSIONS[0] else ((key, 1),)
            case "room":
                scripted.roomy = not scripted.roomy

    def end_well(self) -> None:
        """What serves can be loaded again; loads of what does not serve come to their time-out."""
        models = self.stage.models
        serving = {key for key, _ in models.meaning}
        models.landed |= serving
        models.broken = set(VERSIONS) - models.landed
        for _ in range(25):
            self.stage.clock.advance(2.0)
            self.stage.run(3)


@settings(max_examples=60)
@given(st.lists(actions, max_size=60))
@example([("publish", 4), ("step", "intake"), ("leave", VERSIONS[0]), ("promote", VERSIONS[1])])
def test_every_claim_is_scored_once_and_no_lease_stays(script: list[tuple[str, object]]) -> None:
    story = Story()
    for action, value in script:
        story.play(action, value)
    story.end_well()
    stage = story.stage
    values = [value for _, _, value in stage.producer.sent]
    offsets = Counter(
        Decoder(schemas.load("claim_score")).decode(values).claims.column("input_offset").to_pylist()
        if values
        else []
    )
    assert offsets == Counter(range(story.published))
    assert stage.ledger.pending() == 0
    assert stage.arena.in_flight == 0
    assert +stage.models.leases == Counter()
