"""The chunks of a version, to and from Redis over several connections at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from models.digests import spans
from models.errors import AbsentError
from models.release import Content, Release
from models.tiers.protocol import Guard
from models.tiers.redis_index import chunk_key
from models.tiers.redis_wire import Pace, Session, Wire
from models.tiers.sink import Sink

# One chunk on its way while the next is asked for. Redis copies every reply that waits to be sent, so more would cost
# it memory, not time.
_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk: its key in Redis, its place in the version."""

    key: str
    file: str
    index: int
    start: int
    end: int


def pieces(release: Release) -> list[Piece]:
    """The chunks of all files; every instance numbers them alike."""
    places = [
        (name, index, start, end)
        for name, file in sorted(release.manifest.files.items())
        for index, (start, end) in enumerate(spans(file.bytes))
    ]
    return [Piece(chunk_key(release.key, number), *place) for number, place in enumerate(places)]


class Transfer:
    """Moves pieces over up to `connections` connections; the first error ends all of them, and is raised."""

    def __init__(self, wire: Wire, connections: int, now: Callable[[], float]) -> None:
        self._wire = wire
        self._connections = connections
        self._now = now

    def fetch(self, wanted: Sequence[Piece], sink: Sink, guard: Guard) -> None:
        """Raises AbsentError or ArtifactError with the chunk; UnreachableError; what `guard` and `sink` raise."""
        self._run(wanted, guard, partial(_fetch, sink=sink))

    def send(self, given: Sequence[Piece], content: Content, milliseconds: int, guard: Guard) -> None:
        """Chunks with a time to live. Raises NoRoomError when Redis is full; UnreachableError; what `guard` raises."""
        self._run(given, guard, partial(_send, content=content, milliseconds=milliseconds))

    def _run(
        self, todo: Sequence[Piece], guard: Guard, lane: Callable[[Session, Pace, _Shared], None]
    ) -> None:
        shared = _Shared(todo)
        lanes = min(self._connections, len(todo))

        def run() -> None:
            try:
                with self._wire.session() as session:
                    lane(session, Pace(self._wire.patience, lanes, guard, self._now), shared)
            except BaseException as error:
                shared.end(error)
                raise

        # Nobody touches the sink or the content any more when this is left, whatever happened.
        with ThreadPoolExecutor(max(lanes, 1), thread_name_prefix="redis") as pool:
            for _ in range(lanes):
                pool.submit(run)
        if shared.error is not None:
            raise shared.error


class _Shared:
    """Pieces for whichever connection is free next."""

    def __init__(self, todo: Sequence[Piece]) -> None:
        self._todo = deque(todo)
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def take(self) -> Piece | None:
        """The next piece; None when there is none, or after an error."""
        with self._lock:
            return self._todo.popleft() if self._todo and self.error is None else None

    def end(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error


def _fetch(session: Session, pace: Pace, shared: _Shared, sink: Sink) -> None:
    waiting: deque[Piece] = deque()
    while True:
        while len(waiting) < _DEPTH and (piece := shared.take()) is not None:
            session.ask(piece.key)
            waiting.append(piece)
        if not waiting:
            return
        piece = waiting.popleft()
        with pace.paused():
            chunk = sink.buffer(piece.file, piece.index)
        if not session.receive(piece.key, chunk, pace):
            raise AbsentError(f"{piece.key} is gone")
        with pace.paused():
            sink.put(piece.file, piece.index, chunk)


def _send(session: Session, pace: Pace, shared: _Shared, content: Content, milliseconds: int) -> None:
    try:
        _give(session, pace, shared, content, milliseconds)
    except OSError:
        raise
    except BaseException:
        session.settle()
        raise


def _give(session: Session, pace: Pace, shared: _Shared, content: Content, milliseconds: int) -> None:
    waiting = 0
    while True:
        while waiting < _DEPTH and (piece := shared.take()) is not None:
            session.give(piece.key, content[piece.file][piece.start : piece.end], milliseconds, pace)
            waiting += 1
        if not waiting:
            return
        session.given(pace)
        waiting -= 1
