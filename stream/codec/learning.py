"""Writer schemas of a source that takes its time: asked for several at once, and never waited for long."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from stream.clock import Clock
from stream.codec.source import SchemaSource
from stream.errors import DecodeError, RetryError, UnfinishedError

# The consumer is not polled meanwhile.
PATIENCE = 1.0
_AT_ONCE = 8
_REMEMBER_REFUSED = 30.0
_REFUSED_KEPT = 10_000

Start = Callable[[Callable[[], None]], object]


def in_thread(work: Callable[[], None]) -> None:
    """Begin it; a request that hangs must not keep the process, so nobody waits for its thread."""
    threading.Thread(target=work, name="schemas", daemon=True).start()


class LearnedSchemas:
    """What a source says of schema ids. `learn` asks, for `patience` seconds at most; `schema` only tells.

    A refusal is remembered for half a minute, and at least until all ids are known that it was found out with. `start`
    begins to ask beside the caller: `at_once` requests are under way at most, and one that outlives the patience leaves
    its answer for the next `learn`.
    """

    def __init__(
        self,
        source: SchemaSource,
        clock: Clock,
        *,
        start: Start = in_thread,
        patience: float = PATIENCE,
        at_once: int = _AT_ONCE,
    ) -> None:
        self._source = source
        self._clock = clock
        self._start = start
        self._patience = patience
        self._at_once = at_once
        self._schemas: dict[int, dict[str, Any]] = {}
        self._refused: dict[int, tuple[float, str]] = {}
        self._changed = threading.Condition()
        self._wanted: deque[int] = deque()
        self._asked: set[int] = set()
        self._running = 0
        self._until = float("-inf")
        self._error: Exception | None = None
        # Since the last time that nothing was missing.
        self._learning = False
        self._answers = self._answers_before = 0

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Raises DecodeError for one that the source refused, RetryError for one that was not learned."""
        with self._changed:
            if (found := self._schemas.get(schema_id)) is not None:
                return found
            if (refusal := self._refused.get(schema_id)) is not None:
                raise DecodeError(refusal[1])
        raise RetryError(f"the schema of id {schema_id} was not asked for yet")

    def learn(self, ids: Collection[int]) -> None:
        """Ask for those that are not known, until all are.

        Raises UnfinishedError where the time was over first and some answers came, or the source failed after some,
        and RetryError where it failed or none came.
        """
        with self._changed:
            if not self._learning:
                self._forget_refused(ids)
            if not (missing := self._missing(ids)):
                self._conclude(0)
                return
            self._learning, self._error = True, None
            self._until = self._clock.now() + self._patience
            self._wanted = deque(missing - self._asked)
            more = min(self._at_once - self._running, len(self._wanted))
            self._running += more
        for _ in range(more):
            self._start(self._ask)
        with self._changed:
            left = max(self._until - self._clock.now(), 0.0)
            self._changed.wait_for(lambda: self._error is not None or not self._missing(ids), left)
            self._wanted.clear()
            self._conclude(len(self._missing(ids)))

    def _conclude(self, missing: int) -> None:
        came, self._answers_before = self._answers > self._answers_before, self._answers
        self._learning = missing > 0
        if not missing:
            return
        if self._error is not None and not isinstance(self._error, RetryError):
            raise self._error
        if came:
            raise UnfinishedError(f"{missing} schema ids are not known yet") from self._error
        if self._error is not None:
            raise self._error
        raise RetryError(f"the schema registry gave no answer within {self._patience:g} s")

    def _missing(self, ids: Collection[int]) -> set[int]:
        return set(ids) - self._schemas.keys() - self._refused.keys()

    def _forget_refused(self, ids: Collection[int]) -> None:
        """What was refused long ago; and where still too much is kept, all that nobody asks for now."""
        since = self._clock.now() - _REMEMBER_REFUSED
        kept = {schema_id: refusal for schema_id, refusal in self._refused.items() if refusal[0] > since}
        if len(kept) > _REFUSED_KEPT:
            kept = {schema_id: kept[schema_id] for schema_id in kept.keys() & set(ids)}
        self._refused = kept

    def _ask(self) -> None:
        """Ask for one after the other while there is time."""
        while (schema_id := self._next()) is not None:
            try:
                self._note(schema_id, self._source.schema(schema_id))
            except DecodeError as error:
                self._note(schema_id, (self._clock.now(), str(error)))
            except Exception as error:  # noqa: BLE001 - raised by `learn`
                self._note(schema_id, error)

    def _next(self) -> int | None:
        with self._changed:
            if not self._wanted or self._error is not None or self._clock.now() >= self._until:
                self._running -= 1
                return None
            schema_id = self._wanted.popleft()
            self._asked.add(schema_id)
            return schema_id

    def _note(self, schema_id: int, answer: dict[str, Any] | tuple[float, str] | Exception) -> None:
        with self._changed:
            self._asked.discard(schema_id)
            if isinstance(answer, Exception):
                self._error = answer
            else:
                self._answers += 1
                if isinstance(answer, tuple):
                    self._refused[schema_id] = answer
                else:
                    self._schemas[schema_id] = answer
            self._changed.notify_all()
