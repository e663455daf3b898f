"""One pass over a file's claims: features of the next portion and writing of the last while a model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from stream.offline.scorer import OfflineScorer
from stream.offline.store import Store

_UNWRITTEN = 4


def score_all(
    claims: pa.RecordBatch, scorer: OfflineScorer, store: Store, portion: int, advance: Callable[[int], None]
) -> None:
    """Score what the store does not hold yet; `advance` is told of claims that are durable.

    Raises ClaimstreamError where the store cannot be written; what it holds stays, and the next pass goes on there.
    """
    parts = [(start, claims.slice(start, portion)) for start in range(store.done, claims.num_rows, portion)]
    writes: deque[tuple[int, Future[None]]] = deque()
    with ThreadPoolExecutor(1, "intake") as intake, ThreadPoolExecutor(1, "output") as output:
        admitted = [intake.submit(scorer.admit, part, start) for start, part in parts[:1]]
        for place, (start, part) in enumerate(parts):
            ready = admitted.pop().result()
            admitted = [
                intake.submit(scorer.admit, part, start) for start, part in parts[place + 1 : place + 2]
            ]
            end = start + part.num_rows
            writes.append((part.num_rows, output.submit(store.keep, start, end, scorer.score(ready))))
            while len(writes) > _UNWRITTEN:
                _await(*writes.popleft(), advance)
        while writes:
            _await(*writes.popleft(), advance)


def _await(count: int, write: Future[None], advance: Callable[[int], None]) -> None:
    write.result()
    advance(count)
