"""One pass over a file's claims: reading, features and writing go on while a model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from stream.offline.portions import Portion, Portions
from stream.offline.scorer import Admitted, OfflineScorer, Scored
from stream.offline.store import Store

_UNWRITTEN = 4


def score_all(
    portions: Portions,
    scorer: OfflineScorer,
    store: Store,
    advance: Callable[[int], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Score and keep all portions; `advance` is told of claims that are durable.

    `check` comes after a portion was read and before it is kept, and ends the pass by raising. Raises UsageError for a
    damaged file, ClaimstreamError where the store cannot be written; what it holds stays, and the next pass goes on
    there.
    """

    def admitted() -> Admitted | None:
        portion = portions.take()
        return None if portion is None else scorer.admit(portion)

    def keep(portion: Portion, scored: Scored) -> None:
        check()
        store.keep(portion, scored)

    writes: deque[tuple[Portion, Future[None]]] = deque()
    with ThreadPoolExecutor(1, "intake") as intake, ThreadPoolExecutor(1, "output") as output:
        coming = intake.submit(admitted)
        while (ready := coming.result()) is not None:
            coming = intake.submit(admitted)
            scored = scorer.score(ready)
            writes.append((ready.portion, output.submit(keep, ready.portion, scored)))
            while len(writes) > _UNWRITTEN:
                _await(*writes.popleft(), advance)
        while writes:
            _await(*writes.popleft(), advance)


def _await(portion: Portion, write: Future[None], advance: Callable[[int], None]) -> None:
    write.result()
    advance(portion.claims.num_rows)
