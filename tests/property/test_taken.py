"""Polls that wait to be admitted, some of which are given up."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.records import Polled
from stream.taken import Taken

polls = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), max_size=5)


def poll(partitions: list[int], first: int) -> Polled:
    """Each record has an offset, value and header of its own."""
    count = len(partitions)
    offsets = np.arange(first, first + count)
    return Polled(
        values=[b"%d" % offset for offset in offsets],
        keys=[None] * count,
        headers={place: [("offset", b"%d" % offset)] for place, offset in enumerate(offsets)},
        partitions=np.array(partitions, np.int64),
        offsets=offsets,
        epochs=np.ones(count, np.int64),
        timestamps=np.zeros(count, np.int64),
    )


def records(polled: Polled) -> list[tuple[int, bytes | None, bytes | None]]:
    return [
        (int(partition), value, polled.headers[place][0][1])
        for place, (partition, value) in enumerate(zip(polled.partitions, polled.values, strict=True))
    ]


@given(polls, st.none() | st.sets(st.integers(0, 3)))
def test_what_is_given_up_is_all_of_its_partitions_and_the_rest_keeps_its_order(
    read: list[list[int]], leaving: set[int] | None
) -> None:
    taken, everything = Taken(), []
    for number, partitions in enumerate(read):
        taken.add(poll(partitions, 10 * number))
        everything += records(poll(partitions, 10 * number))
    given_up = [record for polled in taken.give_up(leaving) for record in records(polled)]
    kept = []
    while (polled := taken.ready(0.0, 100)) is not None:
        kept += records(polled)
        taken.admitted()
    assert given_up == [each for each in everything if leaving is None or each[0] in leaving]
    assert kept == [each for each in everything if each not in given_up]


def test_a_poll_waits_for_its_time_and_for_room() -> None:
    taken = Taken()
    assert taken.ready(0.0, 100) is None
    taken.add(poll([0, 0, 1], 0))
    taken.not_before = 2.0
    assert taken.ready(1.9, 100) is None
    assert taken.ready(2.0, 2) is None
    assert taken.ready(2.0, 3) is not None
    assert len(taken) == 1
