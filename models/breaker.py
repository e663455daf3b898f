"""Leaves a service alone that does not answer: after failures nobody asks it for a while, then one does.

    closed ──failures──▶ open ──after a while──▶ half-open ──an answer──▶ closed
                          ▲                          └──a failure: a longer while──▶ open

Source: M. Nygard, Release It!, 2007, chapter 5.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from models.errors import ArtifactError, TierError, UnreachableError

log = logging.getLogger(__name__)


class State(StrEnum):
    """Closed: everybody may ask. Open: nobody. Half-open: one may, and its outcome decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Failures in a row that open the circuit; seconds that it stays open at first, growing up to the longest."""

    failures: int = 1
    first: float = 1.0
    growth: float = 2.0
    longest: float = 60.0

    def pause(self, openings: int) -> float:
        """Seconds after so many openings without an answer between them."""
        seconds = self.first
        for _ in range(openings - 1):
            if seconds >= self.longest:
                break
            seconds *= self.growth
        return min(seconds, self.longest)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Admission to ask once; outcomes of an earlier phase of the circuit no longer count."""

    phase: int


class Circuit:
    """The decision alone: no lock, no clock. Whoever was admitted reports `succeeded`, `failed` or `abandoned`."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._openings = 0
        self._phase = 0
        self._trial = False
        self.until = 0.0
        self.reason = ""

    def state(self, now: float) -> State:
        if self._openings == 0:
            return State.CLOSED
        return State.HALF_OPEN if self._trial or now >= self.until else State.OPEN

    def admit(self, now: float) -> Ticket | None:
        """A ticket, or None while the service is left alone or somebody else tries it."""
        if self._openings:
            if self._trial or now < self.until:
                return None
            self._trial = True
            self._phase += 1
        return Ticket(self._phase)

    def succeeded(self, ticket: Ticket) -> bool:
        """The service answered. Whether that closed the circuit."""
        if ticket.phase != self._phase:
            return False
        closed = self._openings > 0
        self._failures = self._openings = 0
        self._trial = False
        return closed

    def failed(self, ticket: Ticket, now: float, reason: str) -> bool:
        """The service did not answer. Whether that opened a circuit that was closed."""
        if ticket.phase != self._phase:
            return False
        self._failures += 1
        if not self._trial and self._failures < self._backoff.failures:
            return False
        self._openings += 1
        self._phase += 1
        self._trial = False
        self.until = now + self._backoff.pause(self._openings)
        self.reason = reason
        return self._openings == 1

    def abandoned(self, ticket: Ticket) -> None:
        """Whoever asked went away before there was an outcome; the next one may try."""
        if ticket.phase == self._phase:
            self._trial = False


class Breaker:
    """A circuit for any number of threads that says once when `service` is left alone and once when it is back."""

    def __init__(self, service: str, backoff: Backoff, now: Callable[[], float]) -> None:
        self._service = service
        self._backoff = backoff
        self._now = now
        self._circuit = Circuit(backoff)
        self._lock = threading.Lock()

    @property
    def state(self) -> State:
        with self._lock:
            return self._circuit.state(self._now())

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around one use of the service. Raises UnreachableError at once while it is left alone.

        UnreachableError from within is a failure, any other error of a tier is an answer, all else is neither.
        """
        ticket = self._admitted()
        try:
            yield
        except UnreachableError as error:
            self._failed(ticket, str(error))
            raise
        except (TierError, ArtifactError):
            self._succeeded(ticket)
            raise
        except BaseException:
            with self._lock:
                self._circuit.abandoned(ticket)
            raise
        self._succeeded(ticket)

    def _admitted(self) -> Ticket:
        with self._lock:
            ticket = self._circuit.admit(self._now())
            if ticket is None:
                seconds = max(0.0, self._circuit.until - self._now())
                raise UnreachableError(
                    f"{self._service} is left alone for another {seconds:.1f} s, since: {self._circuit.reason}"
                )
            return ticket

    def _failed(self, ticket: Ticket, reason: str) -> None:
        with self._lock:
            opened = self._circuit.failed(ticket, self._now(), reason)
        if opened:
            log.warning(
                "%s is left alone for %g s, then tried at growing intervals up to %g s: %s",
                self._service,
                self._backoff.pause(1),
                self._backoff.longest,
                reason,
            )

    def _succeeded(self, ticket: Ticket) -> None:
        with self._lock:
            closed = self._circuit.succeeded(ticket)
        if closed:
            log.warning("%s answers again and is used from now on", self._service)
