"""When so many records become dead letters that the fault is not theirs: pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LetterRules:
    """At most `share` of the last `window` finished records may be dead letters; a share of 1 allows all."""

    share: float = 0.5
    window: int = 1_000


DEFAULT_RULES = LetterRules()


class LetterLimit:
    """Remembers what became of the records that finished last, in the portions in which it was told of them."""

    def __init__(self, rules: LetterRules) -> None:
        self._rules = rules
        self._portions: deque[tuple[Counter[str], int]] = deque()
        self._errors: Counter[str] = Counter()
        self._records = 0

    def check(self, errors: Mapping[str, int], results: int) -> str | None:
        """Why the stage is to stop before this portion goes out, or None; dead letters are given by error class."""
        return self._judge(Counter(errors), sum(errors.values()) + results)

    def recount(self, errors: Mapping[str, int]) -> str | None:
        """The same, where records that it was told of as results are dead letters after all."""
        return self._judge(Counter(errors), 0)

    def _judge(self, portion: Counter[str], records: int) -> str | None:
        self._portions.append((portion, records))
        self._errors += portion
        self._records += records
        while self._records - self._portions[0][1] >= self._rules.window:
            old, count = self._portions.popleft()
            self._errors -= old
            self._records -= count
        letters = self._errors.total()
        if self._records < self._rules.window or letters <= self._rules.share * self._records:
            return None
        kinds = ", ".join(f"{name} {count:,}" for name, count in self._errors.most_common(3))
        return (
            f"{letters:,} of the last {self._records:,} records are dead letters ({kinds}), more than "
            f"limits.dead_letter_share {self._rules.share:g} allows; look at `claimstream dlq list`, mend the cause, "
            "start again, and `claimstream dlq replay` what went there"
        )
