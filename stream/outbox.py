"""The bounded queue between scoring and output."""

from __future__ import annotations

import threading
from collections import deque

from stream.records import DeadLetter, Outcome


class Outbox:
    """Outcomes and dead letters that wait for the output. Whoever puts asks `full` first.

    Bounded in claims: counted in batches, small batches would fill it, which presses, which makes batches smaller.
    """

    def __init__(self, claims: int, letters: int) -> None:
        self._claim_limit = claims
        self._letter_limit = letters
        self._outcomes: deque[Outcome] = deque()
        self._letters: deque[DeadLetter] = deque()
        self._claims = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Claims that wait."""
        return self._claims

    @property
    def full(self) -> bool:
        """Whether scoring should wait."""
        return self._claims >= self._claim_limit

    @property
    def fill(self) -> float:
        """How full the fuller part is, 0 to 1 and above."""
        return max(self._claims / self._claim_limit, self.letter_fill)

    @property
    def letter_fill(self) -> float:
        """How full the dead letters' part is, 0 to 1 and above."""
        return len(self._letters) / self._letter_limit

    def put(self, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes.append(outcome)
            self._claims += len(outcome.rows) + len(outcome.failures)

    def put_letters(self, letters: list[DeadLetter]) -> None:
        self._letters.extend(letters)

    def take(self, claims: int) -> tuple[list[Outcome], list[DeadLetter], bool]:
        """Outcomes, oldest first, up to about `claims` claims, as many dead letters, and whether it was full."""
        outcomes: list[Outcome] = []
        room = claims
        with self._lock:
            was_full = self.full
            while self._outcomes and room > 0:
                outcome = self._outcomes.popleft()
                outcomes.append(outcome)
                room -= len(outcome.rows) + len(outcome.failures)
            self._claims -= claims - room
        letters = [self._letters.popleft() for _ in range(min(len(self._letters), claims))]
        return outcomes, letters, was_full
