"""What one HTTP client may cost: bytes of headers and body, connections, and seconds of waiting for it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from operator import attrgetter
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


def guard_options() -> Mapping[str, Any]:
    """Options of uvicorn, which answers 503 where all of CONNECTIONS are being worked for."""
    return {
        "http": GuardedProtocol,
        "ws": "none",
        "h11_max_incomplete_event_size": HEADER_BYTES,
        "limit_concurrency": CONNECTIONS,
        "timeout_keep_alive": 5,
    }


class GuardedProtocol(H11Protocol):
    """Cuts off a client that takes longer than PATIENCE_SECONDS over its request, or over taking the answer.

    uvicorn itself has a limit only for the time between two requests. Where a newcomer makes it CONNECTIONS, whoever
    has kept the server waiting longest is cut off: strangers that hold connections, and come again when they lose
    them, keep no probe out.
    """

    _cut: asyncio.TimerHandle | None = None
    gone = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._go_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        super().resume_writing()
        # What is left of the answer has its own time.
        self._go_on()
        self._look()

    def _look(self) -> None:
        if self._waits():
            self._begin_waiting()
        else:
            self._go_on()

    def _waits(self) -> bool:
        """Whether it is the client's turn: to send a request or the rest of it, or to take an answer."""
        if self.transport.is_closing() or self.flow.write_paused:
            return True
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _begin_waiting(self) -> None:
        """The time runs from when the waiting began, not from the last byte."""
        if self._cut is None:
            self._cut = self.loop.call_later(PATIENCE_SECONDS, self.cut_off)

    def _go_on(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    @property
    def runs_out(self) -> float:
        """When its client's time is over; never while it is not the client's turn."""
        return math.inf if self._cut is None else self._cut.when()

    def _make_room(self) -> None:
        others = [each for each in self.connections if isinstance(each, GuardedProtocol) and each is not self]
        held = [each for each in others if not each.gone]
        first = min(held, key=attrgetter("runs_out"), default=self)
        if len(held) + 1 >= CONNECTIONS and first.runs_out < math.inf:
            first.cut_off()

    def cut_off(self) -> None:
        """At once, whatever was not sent yet."""
        log.debug("a client was cut off: it kept the server waiting")
        self._go_on()
        self.gone = True
        self.transport.abort()
