"""The bounded queue between scoring and output."""

from __future__ import annotations

from collections import deque

from stream.records import DeadLetter, Outcome


class Outbox:
    """Outcomes and dead letters that wait for the output. Whoever puts asks `fill` first."""

    def __init__(self, batches: int, letters: int) -> None:
        self._batch_limit = batches
        self._letter_limit = letters
        self._outcomes: deque[Outcome] = deque()
        self._letters: deque[DeadLetter] = deque()

    def __len__(self) -> int:
        return len(self._outcomes)

    @property
    def full(self) -> bool:
        """Whether scoring should wait."""
        return len(self._outcomes) >= self._batch_limit

    @property
    def fill(self) -> float:
        """How full the fuller part is, 0 to 1 and above."""
        return max(len(self._outcomes) / self._batch_limit, self.letter_fill)

    @property
    def letter_fill(self) -> float:
        """How full the dead letters' part is, 0 to 1 and above."""
        return len(self._letters) / self._letter_limit

    def put(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)

    def put_letters(self, letters: list[DeadLetter]) -> None:
        self._letters.extend(letters)

    def take(self, claims: int) -> tuple[list[Outcome], list[DeadLetter]]:
        """Outcomes, oldest first, up to about `claims` claims, and as many dead letters."""
        outcomes: list[Outcome] = []
        room = claims
        while self._outcomes and room > 0:
            outcomes.append(self._outcomes.popleft())
            room -= len(outcomes[-1].rows)
        letters = [self._letters.popleft() for _ in range(min(len(self._letters), claims))]
        return outcomes, letters
