"""Records that may not be taken yet: what they come to, and that all of them come out again."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from stream.held import Held


@dataclass(frozen=True)
class Record:
    """A byte of key beside its value."""

    number: int
    length: int

    def value(self) -> bytes | None:
        return b"x" * self.length if self.length else None

    def key(self) -> bytes | None:
        return b"k" if self.length else None

    def bytes(self) -> int:
        return self.length + 1 if self.length else 0


steps = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 4), st.lists(st.integers(0, 50), min_size=1, max_size=5)),
        st.sets(st.integers(0, 4)),
        st.integers(0, 4),
    ),
    max_size=30,
)


@given(steps)
def test_bytes_are_those_of_what_is_held_and_it_stays_full_until_half_of_them_are_gone(
    course: list[tuple[int, list[int]] | set[int] | int],
) -> None:
    held, model, full = Held[Record](5, 100), dict[int, list[Record]](), False
    for number, step in enumerate(course):
        if isinstance(step, tuple):
            records = [Record(100 * number + place, length) for place, length in enumerate(step[1])]
            held.add(step[0], records)
            model.setdefault(step[0], []).extend(records)
        elif isinstance(step, set):
            given_up = held.let_go(step.__contains__)
            gone = [partition for partition in model if partition in step and model[partition][0] in given_up]
            assert given_up == [record for partition in gone for record in model.pop(partition)]
        else:
            held.forget(step)
            model.pop(step, None)
        size = sum(record.bytes() for records in model.values() for record in records)
        full = size >= 50 if full else size >= 100
        assert (sorted(held.partitions), held.bytes, held.full) == (sorted(model), size, full)
