"""What travels in a commit's metadata, against plain sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.offset_metadata import MOST_CHARACTERS, MOST_INTEGERS, MOST_OFFSETS, contains, read, written
from stream.records import Integers

committed_offsets = st.integers(0, 2**62)


@st.composite
def sets(draw: st.DrawFn) -> tuple[int, Integers]:
    """A committed offset and runs beyond it: dense, or few and far apart."""
    committed = draw(committed_offsets)
    far = draw(st.sampled_from([3, 300, 2**50]))
    distances = draw(st.lists(st.integers(1, far), max_size=200))[: 2 * 100]
    distances = distances[: len(distances) // 2 * 2]
    runs = np.cumsum(np.array(distances, np.int64)).reshape(-1, 2) + committed - draw(st.integers(0, 1))
    return committed, runs


@given(sets())
def test_round_trip(given_: tuple[int, Integers]) -> None:
    committed, runs = given_
    text = written(committed, runs)
    assert len(text) <= MOST_CHARACTERS
    assert read(committed, text).tolist() == runs.tolist()


@given(st.integers(0, 2**32), st.sampled_from([0.001, 0.1, 0.5, 0.9, 0.999]), committed_offsets)
def test_whatever_completes_of_a_full_window_fits(seed: int, share: float, committed: int) -> None:
    done = np.random.default_rng(seed).random(MOST_OFFSETS) < share
    edges = np.flatnonzero(np.diff(done.view(np.int8), prepend=0, append=0))
    runs = edges.reshape(-1, 2) + committed
    text = written(committed, runs)
    assert len(text) <= MOST_CHARACTERS
    assert read(committed, text).tolist() == runs.tolist()


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=MOST_INTEGERS // 2 * 2, unique=True))
def test_whatever_completes_of_few_records_fits_however_far_apart(numbers: list[int]) -> None:
    edges = np.array(sorted(numbers)[: len(numbers) // 2 * 2], np.int64)
    runs = edges.reshape(-1, 2)
    assert read(0, written(0, runs)).tolist() == runs.tolist()


def test_is_the_shorter_of_both_forms() -> None:
    every_second = np.array([[n, n + 1] for n in range(101, 20_101, 2)])
    assert written(100, every_second).startswith("cs1b")
    assert len(written(100, every_second)) < 3_500
    assert written(100, np.array([[101, 20_101]])) == "cs1r" + written(100, np.array([[101, 20_101]]))[4:]
    assert len(written(100, np.array([[101, 20_101]]))) < 20


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: "cs1r" + b.decode("latin-1")))
def test_what_others_wrote_is_refused(text: str) -> None:
    if not text:
        return
    with pytest.raises(ValueError, match=r"version|base64|check sum"):
        read(7, text)


def test_a_changed_bit_that_base64_does_not_read_is_refused() -> None:
    text = written(0, np.array([[1, 2], [4, 7], [10, 13], [16, 19], [22, 25]]))
    assert text.endswith("A=")
    with pytest.raises(ValueError, match="base64"):
        read(0, text[:-2] + "B=")


@given(sets(), st.data())
def test_a_text_that_was_cut_changed_or_moved_is_refused(
    given_: tuple[int, Integers], data: st.DataObject
) -> None:
    committed, runs = given_
    if not len(runs):
        return
    text = written(committed, runs)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCD").filter(lambda c: c != text[place]))
    for wrong in (text[:place], text[:place] + other + text[place + 1 :]):
        if wrong:
            with pytest.raises(ValueError, match=r"."):
                read(committed, wrong)
    with pytest.raises(ValueError, match="another offset"):
        read(committed + 1, text)


@given(sets(), st.data())
def test_contains_is_membership(given_: tuple[int, Integers], data: st.DataObject) -> None:
    _, runs = given_
    if not len(runs):
        return
    edges = [max(int(edge) + step, 0) for edge in runs.ravel() for step in (-1, 0, 1)]
    offsets = data.draw(st.lists(st.sampled_from(edges), min_size=1))
    expected = [any(start <= offset < stop for start, stop in runs.tolist()) for offset in offsets]
    assert contains(runs, np.array(offsets)).tolist() == expected
