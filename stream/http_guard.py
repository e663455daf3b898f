"""What one HTTP client may cost: bytes of headers and body, connections, and seconds of waiting for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

BODY_BYTES = 65_536
HEADER_BYTES = 16_384
CONNECTIONS = 64
PATIENCE_SECONDS = 10.0


class BodyTooLargeError(Exception):
    """More than BODY_BYTES."""


async def body_of(request: Request) -> bytes:
    """The body, read no further than it may be long. Raises BodyTooLargeError."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            raise BodyTooLargeError
    return bytes(body)


def limits() -> Mapping[str, Any]:
    """Options of uvicorn; past CONNECTIONS it answers 503."""
    return {
        "http": GuardedProtocol,
        "ws": "none",
        "h11_max_incomplete_event_size": HEADER_BYTES,
        "limit_concurrency": CONNECTIONS,
        "timeout_keep_alive": 5,
    }


class GuardedProtocol(H11Protocol):
    """Cuts off a client that takes longer than PATIENCE_SECONDS over its request, or over taking the answer.

    uvicorn itself has a limit only for the time between two requests.
    """

    _cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(waiting=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch(waiting=False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        self._watch(waiting=cycle is None or cycle.response_complete or cycle.more_body)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(waiting=True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch(waiting=False)

    def _watch(self, *, waiting: bool) -> None:
        """The time runs from when the waiting began, not from the last byte."""
        if not waiting and self._cut is not None:
            self._cut.cancel()
            self._cut = None
        elif waiting and self._cut is None:
            self._cut = self.loop.call_later(PATIENCE_SECONDS, self._abort)

    def _abort(self) -> None:
        log.debug("a client was cut off: it took more than %g s", PATIENCE_SECONDS)
        self._cut = None
        self.transport.abort()
