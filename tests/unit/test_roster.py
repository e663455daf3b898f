"""Lanes of versions, and which of them take a model's claims."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from models import ModelIdentity
from models.null import LineTotals
from stream.roster import LaneModel, LaneShare, Roster, _split, fractions


def planned(roster: Roster, route: tuple[int, ...], keys: list[bytes | None]) -> npt.NDArray[np.int32]:
    """Of claims without an id worth naming."""
    return roster.plan(route, keys, np.full(len(keys), "", object))


def version(number: str) -> LaneModel:
    return LaneModel(
        ModelIdentity("a", number, "default", "fp32", "cpu"), "spec", LineTotals(), ("pass", "review")
    )


@pytest.fixture
def roster() -> Roster:
    made = Roster(["a", "b"])
    for number in ("1.0.0", "2.0.0", "3.0.0"):
        made.add(version(number))
    made.serve("a", [LaneShare(0, 1)])
    made.serve("b", [LaneShare(2, 1)])
    return made


def test_a_route_becomes_the_lanes_of_its_models(roster: Roster) -> None:
    assert planned(roster, (0, 1), [b"x", None, b"y"]).tolist() == [[0, 2]] * 3


def test_tells_which_lanes_serve(roster: Roster) -> None:
    roster.serve("a", [LaneShare(1, 1)])
    assert roster.serving == {1, 2}
    roster.serve("a", [LaneShare(2, 1)])
    assert roster.serving == {2}
    roster.serve("b", [LaneShare(0, 1)])
    assert roster.serving == {0, 2}
    assert planned(roster, (0,), [b"x"]).tolist() == [[2]]


def test_a_lane_keeps_the_names_by_which_its_claims_came(roster: Roster) -> None:
    roster.serve("a", [LaneShare(2, 1)])
    assert [roster.names(lane) for lane in range(3)] == [{"a"}, frozenset(), {"a", "b"}]


def test_weights_split_the_keys(roster: Roster) -> None:
    roster.serve("a", [LaneShare(0, 90), LaneShare(1, 10)])
    keys = [b"claim-%d" % number for number in range(20_000)]
    lanes = planned(roster, (0,), keys)[:, 0]
    assert np.isin(lanes, [0, 1]).all()
    assert 0.09 < (lanes == 1).mean() < 0.11


def test_a_key_meets_the_same_version_in_every_process(roster: Roster) -> None:
    roster.serve("a", [LaneShare(0, 1), LaneShare(1, 1)])
    # Written down once: other values would mean that redelivered claims change their version.
    assert planned(roster, (0,), [b"a", b"b", b"c", b"d", None]).ravel().tolist() == [1, 1, 1, 0, 1]
    assert fractions([b"k7"], "claims_filter").tolist() == pytest.approx([0.2785531157532637])


def test_models_split_independently() -> None:
    keys = [b"claim-%d" % number for number in range(5_000)]
    one, other = fractions(keys, "a"), fractions(keys, "b")
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.05
    assert ((one >= 0) & (one < 1)).all()


def test_growing_a_share_moves_no_key_back(roster: Roster) -> None:
    keys = [b"claim-%d" % number for number in range(2_000)]
    moved = np.zeros(len(keys), bool)
    for weight in (0, 10, 50, 99):
        roster.serve("a", [LaneShare(1, weight), LaneShare(0, 100 - weight)])
        now = planned(roster, (0,), keys)[:, 0] == 1
        assert (now | ~moved).all()
        moved = now


def test_fractions_are_divided_exactly_and_a_growing_version_keeps_its_claims() -> None:
    each = np.arange(1_000) / 1_000
    ten = _split((LaneShare(0, 90), LaneShare(1, 10)), each) == 1
    half = _split((LaneShare(0, 50), LaneShare(1, 50)), each) == 1
    assert ten.sum() == 100
    assert half[ten].all()
    assert _split((LaneShare(0, 100), LaneShare(1, 0)), np.array([0.9999999999999999])).tolist() == [0]
