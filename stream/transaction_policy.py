"""When a transaction is committed, and what an error of one of its calls means: pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

# The first commits find caches cold and coordinators loading.
_WARM_UP = 16
_WINDOW, _WINDOWS = 64, 8
_COMMITS_A_BUDGET = 3.0
_SHARE_OF_BUDGET = 0.05
_YOUNGEST, _OLDEST = 0.005, 1.0


class Meaning(Enum):
    """What is to be done after an error.

    AGAIN: the same call. ABORT: abort, and produce the outcomes again. UNCERTAIN: whether the transaction was committed
    has to be found out, with a new producer. END: this process may not go on.
    """

    AGAIN = "again"
    ABORT = "abort"
    UNCERTAIN = "uncertain"
    END = "end"


class ClientError(Protocol):
    """What the client says of an error."""

    def fatal(self) -> bool: ...

    def retriable(self) -> bool: ...

    def txn_requires_abort(self) -> bool: ...


def meaning(error: ClientError) -> Meaning:
    """An error without any of the client's marks tells nothing of the transaction, so it is uncertain."""
    if error.fatal():
        return Meaning.END
    if error.txn_requires_abort():
        return Meaning.ABORT
    return Meaning.AGAIN if error.retriable() else Meaning.UNCERTAIN


@dataclass(frozen=True, slots=True)
class Load:
    """Messages, and the bytes of their keys and values."""

    messages: int = 0
    bytes: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.messages + other.messages, self.bytes + other.bytes)

    def __sub__(self, other: Load) -> Load:
        return Load(self.messages - other.messages, self.bytes - other.bytes)


@dataclass(frozen=True, slots=True)
class TransactionLimits:
    """A transaction is committed at `age` seconds, or with `messages` or `bytes` in it; `failures` in a row end the
    process.

    One whose claims are all past their deadline is committed at `leisure` seconds: a commit costs the broker as much
    for ten claims as for thousands, and out of a backlog more claims come the fewer commits they pay for.
    """

    age: float
    messages: int
    bytes: int
    leisure: float
    failures: int = 10

    @classmethod
    def of(cls, budget: float, messages: int, size: int) -> TransactionLimits:
        """For a latency budget, in seconds, and what may wait for the broker: the next one gathers in half of it."""
        age = min(max(_SHARE_OF_BUDGET * budget, _YOUNGEST), _OLDEST)
        return cls(age, max(messages // 2, 1), max(size // 2, 1), max(min(budget, _OLDEST), age))

    def share(self, load: Load) -> float:
        """How much of a full transaction that is, 1 and above when it is full."""
        return max(load.messages / self.messages, load.bytes / self.bytes)

    def due(self, opened: float, load: Load, now: float, *, late: bool = False) -> float:
        """The moment at which a transaction that was opened then and holds so much is to be committed.

        `late`: nothing of it can be on time, more is under way, and nobody waits for its end.
        """
        if self.share(load) >= 1.0:
            return now
        return opened + (self.leisure if late else self.age)


class CommitTimes:
    """Judges once, when enough commits were seen, whether a budget leaves room for them.

    What counts is the calmest of several windows: a backlog or a busy machine makes commits slow for a while, and that
    is no reason to end a stage that works it off.
    """

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._window: list[float] = []
        self._calmest = float("inf")
        self._seen = -_WARM_UP

    def note(self, seconds: float) -> str | None:
        """Why the budget is refused, when it is."""
        self._seen += 1
        if self._seen <= 0 or self._seen > _WINDOW * _WINDOWS:
            return None
        self._window.append(seconds)
        if len(self._window) < _WINDOW:
            return None
        self._calmest = min(self._calmest, sorted(self._window)[int(0.95 * (_WINDOW - 1))])
        self._window.clear()
        least = _COMMITS_A_BUDGET * self._calmest
        if self._seen < _WINDOW * _WINDOWS or self._budget >= least:
            return None
        return (
            f"latency.budget_ms: exactly_once needs {_COMMITS_A_BUDGET:g} times what a commit takes, which is "
            f"{1_000 * self._calmest:.0f} ms here (P95 of {_WINDOW}, the calmest of {_WINDOWS} times): at least "
            f"{1_000 * least:.0f} ms, and it is {1_000 * self._budget:g}; raise it or set kafka.delivery to "
            "at_least_once"
        )
