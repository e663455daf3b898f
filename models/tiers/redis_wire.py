"""Bytes to and from Redis: chunks pass between the socket and the memory that they are for, without a copy between.

redis-py opens the connections (addresses, TLS, passwords) and speaks for the small commands. The reply to a GET of a
chunk is read here: its length is known, so its header is, too, and whatever differs from that is an error.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis.exceptions
from redis.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.maint_notifications import MaintNotificationsConfig

from models.errors import ArtifactError, NoRoomError, UnreachableError
from models.tiers.protocol import Guard

Command = tuple[str | bytes | int | float, ...]

_INSTANT = 0.001
_LINE_END = b"\r\n"
_DONE = b"+OK\r\n"
_LONGEST_ERROR = 512
_CURE = "the cache goes on without it; start Redis there, or correct cache.redis_url"
_FULL = (
    "maxmemory is reached; raise maxmemory above cache.l2_redis_gb by what else is kept there, "
    "or lower cache.l2_redis_gb"
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long Redis is waited for: seconds to connect, seconds without a byte, bytes a second that it must bring."""

    connect: float = 0.25
    silence: float = 0.5
    rate: float = 50e6

    def transfer(self, size: int) -> float:
        """Seconds that so many bytes may take."""
        return self.silence + size / self.rate


class Pace:
    """The time that one connection has for the next bytes: it may fall silent, or behind the rate, for so long only.

    What a fast beginning gained is not given to a stall, and what is slow from the start is given up at once, not at
    the end of the time that all the bytes might have taken.
    """

    def __init__(self, patience: Patience, lanes: int, guard: Guard, now: Callable[[], float]) -> None:
        self._silence = patience.silence
        self._rate = patience.rate / lanes
        self._guard = guard
        self._now = now
        self._start = now()
        self._moved = 0

    def moved(self, size: int) -> None:
        self._moved += size

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that is spent here, beside the connection, is not counted against it."""
        since = self._now()
        try:
            yield
        finally:
            self._start += self._now() - since

    def wait(self) -> float:
        """Seconds to wait for the next bytes. Raises what `guard` raises, or TooSlowError."""
        self._guard.check()
        behind = self._start + self._silence + self._moved / self._rate - self._now()
        if behind <= 0:
            raise TooSlowError(
                f"after {self._moved} bytes it was slower than the {self._rate / 1e6:.0f} MB/s that a connection "
                "must bring"
            )
        return max(min(self._silence, behind, self._guard.remaining()), _INSTANT)

    def silent(self) -> TooSlowError:
        """What it means that nothing came for as long as `wait` said. Raises what `guard` raises."""
        self._guard.check()
        return TooSlowError(f"no bytes for {self._silence:g} s, or too few, after {self._moved}")


class TooSlowError(TimeoutError):
    """Bytes that did not come in time."""


class _Streams(AbstractConnection):
    """What is added to each kind of connection of redis-py: the socket, for the bytes that bypass its parser."""

    @property
    def stream(self) -> socket.socket:
        if (opened := self._get_socket()) is None:
            raise ConnectionError("the connection is closed")
        return opened


class _Plain(_Streams, Connection):
    """Over TCP."""


class _Secure(_Streams, SSLConnection):
    """Over TLS."""


class _Local(_Streams, UnixDomainSocketConnection):
    """Over a Unix socket."""


_KINDS: dict[type, type] = {Connection: _Plain, SSLConnection: _Secure, UnixDomainSocketConnection: _Local}


class Session:
    """One connection for as long as it is held. Errors come as OSError or RedisError; see `Wire.session`."""

    def __init__(self, connection: Any, silence: float) -> None:
        self._connection = connection
        self._silence = silence
        self._stream: socket.socket = connection.stream
        self._owed = 0

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """One round trip; the replies in order. Raises the first error among them, after all were read."""
        self._connection.send_packed_command(self._connection.pack_commands(commands))
        replies = [self._reply() for _ in commands]
        for reply in replies:
            if isinstance(reply, redis.exceptions.ResponseError):
                raise reply
        return replies

    def ask(self, key: str) -> None:
        """Send a GET; `receive` takes the reply."""
        self._connection.send_packed_command(self._connection.pack_commands([("GET", key)]))

    def receive(self, key: str, into: memoryview, pace: Pace) -> bool:
        """The reply to `ask`, of exactly this length; False when Redis does not have the key.

        Raises ArtifactError for a value of another length or kind.
        """
        expected = b"$%d\r\n" % len(into)
        header = self._header(len(expected), pace)
        if header == b"$-1\r\n":
            return False
        if header != expected:
            raise _unlike(key, self._line(header, pace), len(into))
        self._fill(into, pace)
        end = bytearray(len(_LINE_END))
        self._fill(memoryview(end), pace)
        if end != _LINE_END:
            raise ArtifactError(f"{key}: the value goes on after its {len(into)} bytes")
        return True

    def give(self, key: str, chunk: memoryview, milliseconds: int, pace: Pace) -> None:
        """Send a SET with a time to live; `given` takes the reply."""
        name = key.encode()
        head = b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(name), name, len(chunk))
        ttl = b"%d" % milliseconds
        self._send(memoryview(head), pace)
        self._send(chunk, pace)
        self._send(memoryview(b"\r\n$2\r\nPX\r\n$%d\r\n%b\r\n" % (len(ttl), ttl)), pace)
        self._owed += 1

    def given(self, pace: Pace) -> None:
        """The reply to a `give`. Raises OutOfMemoryError among others."""
        self._owed -= 1
        if (reply := self._header(len(_DONE), pace)) != _DONE:
            raise _error(self._line(reply, pace))

    def settle(self) -> None:
        """Wait until what was given is dealt with, lest a chunk come after the removal of its version."""
        self.rest()
        with contextlib.suppress(OSError, redis.exceptions.RedisError):
            while self._owed:
                self._owed -= 1
                self._reply()

    def rest(self) -> None:
        """The transfer is over: back to the time-out of small commands."""
        self._stream.settimeout(self._silence)

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.exceptions.ResponseError as error:
            return error

    def _header(self, size: int, pace: Pace) -> bytes:
        """The first `size` bytes of a reply, or all of its first line where that is shorter."""
        header = bytearray(size)
        got = 0
        while got < size and _LINE_END not in header:
            got += self._some(memoryview(header)[got:], pace)
        line, end, _ = bytes(header[:got]).partition(_LINE_END)
        return line + end

    def _line(self, begun: bytes, pace: Pace) -> str:
        """The whole of a reply of one line, without its end."""
        one = bytearray(1)
        while not begun.endswith(_LINE_END) and len(begun) < _LONGEST_ERROR:
            self._some(memoryview(one), pace)
            begun += one
        return begun.decode(errors="replace").strip()

    def _fill(self, view: memoryview, pace: Pace) -> None:
        while view:
            view = view[self._some(view, pace) :]

    def _some(self, view: memoryview, pace: Pace) -> int:
        self._stream.settimeout(pace.wait())
        try:
            got = self._stream.recv_into(view)
        except TimeoutError:
            raise pace.silent() from None
        if got == 0:
            raise ConnectionError("it closed the connection")
        pace.moved(got)
        return got

    def _send(self, view: memoryview, pace: Pace) -> None:
        while view:
            self._stream.settimeout(pace.wait())
            try:
                sent = self._stream.send(view)
            except TimeoutError:
                raise pace.silent() from None
            pace.moved(sent)
            view = view[sent:]


def _unlike(key: str, line: str, size: int) -> Exception:
    """What a reply means that is not a value of that size."""
    if line.startswith("$"):
        return ArtifactError(f"{key} has {line[1:]} bytes, the manifest says {size}")
    if line.startswith("-WRONGTYPE"):
        return ArtifactError(f"{key} holds another kind of value than bytes")
    return _error(line)


def _error(line: str) -> Exception:
    text = line.removeprefix("-")
    if text.startswith("OOM"):
        return redis.exceptions.OutOfMemoryError(text)
    return redis.exceptions.ResponseError(text)


class Wire:
    """Connections to one Redis, kept for the next use. Raises ValueError for a `url` that is none."""

    def __init__(self, url: str, patience: Patience) -> None:
        options = cast("dict[str, Any]", parse_url(url))  # type: ignore[no-untyped-call]
        kind = _KINDS[options.pop("connection_class", Connection)]
        self.place: str = (
            options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        )
        self.patience = patience
        options |= {
            "socket_connect_timeout": patience.connect,
            "socket_timeout": patience.silence,
            "protocol": 2,
            "decode_responses": False,
            # Each greeting that is left out is a round trip less before the first byte.
            "driver_info": None,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        try:
            kind(**options)
        except TypeError as error:
            raise ValueError(f"an option that there is not: {error}") from error
        self._pool = ConnectionPool(kind, **options)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection of one's own; after an error it is closed, so that no late reply is taken for another's.

        Raises NoRoomError when Redis is full, UnreachableError for all else that it answers or does not.
        """
        with self._translated():
            connection: Any = self._pool.get_connection()
            try:
                session = Session(connection, self.patience.silence)
                yield session
                session.rest()
            except BaseException:
                connection.disconnect()
                raise
            finally:
                self._pool.release(connection)

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """One round trip on any connection. Raises as `session` does."""
        with self.session() as session:
            return session.exchange(commands)

    def close(self) -> None:
        self._pool.disconnect()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.exceptions.OutOfMemoryError as error:
            raise NoRoomError(f"Redis at {self.place} is full: {_FULL}") from error
        except redis.exceptions.TimeoutError as error:
            raise UnreachableError(
                f"Redis at {self.place} did not answer in time: {error}; {_CURE}"
            ) from error
        except (redis.exceptions.ConnectionError, OSError) as error:
            raise UnreachableError(f"Redis at {self.place}: {error}; {_CURE}") from error
        except redis.exceptions.RedisError as error:
            raise UnreachableError(
                f"Redis at {self.place} refuses: {error}; {_refusal(str(error))}"
            ) from error


def _refusal(text: str) -> str:
    """What to do when Redis answers with an error."""
    if "wrong kind of value" in text:
        return "somebody else wrote to claimstream:models:*; delete these keys"
    return (
        "cache.redis_url must name a primary that is no cluster, and its user may run GET SET UNLINK EXISTS PEXPIRE "
        "PEXPIREAT HGETALL HSET HDEL MEMORY TIME WATCH UNWATCH MULTI EXEC on claimstream:models:*"
    )
