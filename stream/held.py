"""Records that the client gave and that may not be taken yet, by partition: pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Message = TypeVar("Message")


class Held(Generic[Message]):
    """A partition is not read while it is held, so that of each there is no more than one poll brings."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._messages: dict[int, list[Message]] = {}

    def __iter__(self) -> Iterator[int]:
        """The partitions."""
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, partition: int, messages: list[Message]) -> None:
        self._messages.setdefault(partition, []).extend(messages)

    def let_go(self, ready: Callable[[int], bool]) -> list[Message]:
        """All of one partition that is ready, and of more as long as a poll could have brought it; the rest follows."""
        given: list[Message] = []
        for partition in filter(ready, list(self._messages)):
            if not given or len(given) + len(self._messages[partition]) <= self._most:
                given += self._messages.pop(partition)
        return given

    def forget(self, partition: int) -> None:
        self._messages.pop(partition, None)
