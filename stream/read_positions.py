"""How far each owned partition was read, and how far that is from its end: pure."""

from __future__ import annotations


class ReadPositions:
    """`from_end`: where the group has committed nothing, it begins with what comes next, not with the first record."""

    def __init__(self, *, from_end: bool = False) -> None:
        self._from_end = from_end
        self._read: dict[int, int] = {}
        self._committed: dict[int, int] = {}

    def began(self, partition: int, committed: int) -> None:
        """What the group had committed when the partition was assigned; negative where nothing."""
        self._committed[partition] = committed

    def read(self, partition: int, following: int) -> None:
        """All before that offset was read."""
        self._read[partition] = following

    def read_to(self, partition: int) -> int:
        """One past the last offset that was read under this assignment, 0 where none was."""
        return self._read.get(partition, 0)

    def lag(self, partition: int, first: int, end: int) -> int | None:
        """Records still to be read, of those from the first offset of the partition to its end; None where unknown.

        Both are negative before the first fetch.
        """
        following = self._read.get(partition, self._committed.get(partition))
        if end < 0 or following is None or (following < 0 and self._from_end):
            return None
        return max(end - max(following, first), 0)

    def forget(self, partition: int) -> None:
        self._read.pop(partition, None)
        self._committed.pop(partition, None)
