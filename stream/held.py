"""Records that the client gave and that may not be taken yet, by partition: pure."""

from __future__ import annotations

from collections.abc import Callable, KeysView
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What is asked of a record."""

    def key(self) -> bytes | None: ...

    def value(self) -> bytes | None: ...


Message = TypeVar("Message", bound=Sized)


class Held(Generic[Message]):
    """A partition is not read while records of it are held, so that of each there is no more than one poll brings.

    `most`: records that a poll brings. `full`: from when all together reach `most_bytes` until they are below half
    of that.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._messages: dict[int, list[Message]] = {}
        self._sizes: dict[int, int] = {}
        self.full = False

    @property
    def partitions(self) -> KeysView[int]:
        """Those of which records are held."""
        return self._messages.keys()

    @property
    def bytes(self) -> int:
        """Keys and values: headers that the client cannot read must not be asked for twice."""
        return sum(self._sizes.values())

    def add(self, partition: int, messages: list[Message]) -> None:
        self._messages.setdefault(partition, []).extend(messages)
        self._sizes[partition] = self._sizes.get(partition, 0) + sum(map(_bytes, messages))
        self._judge()

    def let_go(self, ready: Callable[[int], bool]) -> list[Message]:
        """All of one partition that is ready, and of more as long as a poll could have brought it; the rest follows."""
        given: list[Message] = []
        for partition in filter(ready, list(self._messages)):
            if not given or len(given) + len(self._messages[partition]) <= self._most:
                given += self._messages[partition]
                self.forget(partition)
        return given

    def forget(self, partition: int) -> None:
        self._messages.pop(partition, None)
        self._sizes.pop(partition, None)
        self._judge()

    def _judge(self) -> None:
        self.full = self.bytes >= (self._most_bytes / 2 if self.full else self._most_bytes)


def _bytes(message: Sized) -> int:
    return len(message.value() or b"") + len(message.key() or b"")
