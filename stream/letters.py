"""The headers of a dead letter: what was wrong, after the record's own headers, which stay as they are.

A letter's own block starts at its last `claimstream-error-class`, so that a record which came with such headers itself
(the dead letter of another stage, say) gets its own back, byte for byte. A replayed record ends in two headers more,
the number of the attempt and the letter that it comes from.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import methodcaller
from typing import Any

from stream.records import Headers

log = logging.getLogger(__name__)

PREFIX = "claimstream-"
ATTEMPT = f"{PREFIX}attempt"
REPLAY_OF = f"{PREFIX}replay-of"
REPLAYED = f"{PREFIX}replayed"
UNREADABLE = f"{PREFIX}headers-unreadable"

# The client fails at a header whose name is no UTF-8 (SystemError), and in this way the interpreter looks whether it
# did. A plain call, once it is optimised, gives back the half of an answer that there is then, and the process ends by
# it.
ask_for_headers = methodcaller("headers")

_FIRST = f"{PREFIX}error-class"
_LONGEST_MESSAGE = 2_000
_CUT = "…"
_NUMBER = re.compile(rb"[0-9]{1,18}")
_MOST_ATTEMPTS = 1_000_000


def headers_of(messages: Sequence[Any]) -> dict[int, Headers]:
    """Headers of the messages that have any, by place; of one whose headers the client cannot read, a mark."""
    given: list[Headers | None] = []
    while len(given) < len(messages):
        try:
            given.extend(map(ask_for_headers, islice(messages, len(given), None)))
        except SystemError:
            # `given` ends before the message at fault, which is not asked again: its next answer holds a null pointer.
            bad = messages[len(given)]
            log.warning("the headers of %d@%d cannot be read", bad.partition(), bad.offset())
            given.append([(UNREADABLE, None)])
    return {row: headers for row, headers in enumerate(given) if headers} if any(given) else {}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a record is a dead letter, and where it came from. `omitted` names what was left out for its size."""

    error_class: str
    message: str
    topic: str
    partition: int
    offset: int
    model: str = ""
    version: str = ""
    attempt: int = 1
    omitted: str = ""

    def headers(self) -> Headers:
        """What follows the record's own headers."""
        values = {
            "error-class": self.error_class,
            "error-message": _shortened(self.message),
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "model": self.model,
            "model-version": self.version,
            "attempt": str(self.attempt),
        }
        if self.omitted:
            values["omitted"] = self.omitted
        return [(f"{PREFIX}{name}", _bytes(text)) for name, text in values.items()]


def read(headers: Headers | None) -> tuple[Headers, Reason] | None:
    """A letter's original headers and its reason; None where these are not the headers of a letter."""
    given = headers or []
    starts = [place for place, (name, _) in enumerate(given) if name == _FIRST]
    if not starts:
        return None
    found = dict(given[starts[-1] :])
    partition, offset = _number(found.get(f"{PREFIX}partition")), _number(found.get(f"{PREFIX}offset"))
    if partition is None or offset is None or f"{PREFIX}topic" not in found:
        return None
    texts = {name: (value or b"").decode(errors="replace") for name, value in found.items()}
    reason = Reason(
        texts[_FIRST],
        texts.get(f"{PREFIX}error-message", ""),
        texts[f"{PREFIX}topic"],
        partition,
        offset,
        texts.get(f"{PREFIX}model", ""),
        texts.get(f"{PREFIX}model-version", ""),
        _attempt(found.get(ATTEMPT)),
        texts.get(f"{PREFIX}omitted", ""),
    )
    return list(given[: starts[-1]]), reason


def attempt_of(headers: Headers) -> int:
    """The how-manieth attempt this input record is: 1, or what a replay wrote."""
    return _attempt(headers[-2][1]) if _is_replayed(headers) else 1


def replayed(original: Headers, reason: Reason, place: str) -> Headers:
    """Headers of a record that goes back to its topic; `place` is its letter, `topic[partition]@offset`."""
    own = original[:-2] if _is_replayed(original) else original
    attempt = min(reason.attempt + 1, _MOST_ATTEMPTS)
    return [*own, (ATTEMPT, str(attempt).encode()), (REPLAY_OF, place.encode())]


def marker(offset: int) -> Headers:
    """Headers of the note, in a letter's own partition, that the letter at `offset` was replayed."""
    return [(REPLAYED, str(offset).encode())]


def marked(headers: Headers | None) -> int | None:
    """The offset of the letter that this note says was replayed; None where it is no such note."""
    if headers is None or len(headers) != 1 or headers[0][0] != REPLAYED:
        return None
    return _number(headers[0][1])


def size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes of a record that carries these, the broker's own of record and batch included, rounded up."""
    own = sum(len(name.encode()) + len(text or b"") + 10 for name, text in headers)
    return len(key or b"") + len(value or b"") + own + 128


def fitted(
    key: bytes | None, value: bytes | None, headers: Headers, reason: Reason, limit: int
) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of a letter; of a record that is too large for its topic, what fits into `limit` bytes.

    The reason names what was left out then, and where the record lies. Where that is still too large its message is
    cut; what is left fits into `LEAST_LETTER` bytes.
    """
    for omitted in ("", "value", "key,value,headers"):
        if omitted:
            value, reason = None, replace(reason, omitted=omitted)
        if omitted == "key,value,headers":
            key, headers = None, []
        whole = [*headers, *reason.headers()]
        if size(key, value, whole) <= limit:
            return key, value, whole
    return None, None, _with_message_cut(reason, limit).headers()


def _with_message_cut(reason: Reason, limit: int) -> Reason:
    room = limit - size(None, None, replace(reason, message=_CUT).headers())
    start = _bytes(_shortened(reason.message))[: max(room, 0)]
    return replace(reason, message=start.decode(errors="ignore") + _CUT)


def _is_replayed(headers: Headers) -> bool:
    return [name for name, _ in headers[-2:]] == [ATTEMPT, REPLAY_OF]


def _attempt(text: Any) -> int:
    number = _number(text)
    return 1 if number is None else min(max(number, 1), _MOST_ATTEMPTS)


def _number(text: Any) -> int | None:
    return int(text) if isinstance(text, bytes) and _NUMBER.fullmatch(text) else None


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}{_CUT}"


def _bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


# Of names as long as a topic's and a folder's may be, without key, value and headers, of a message the end alone.
LEAST_LETTER = size(
    None,
    None,
    Reason(
        "e" * 32, _CUT, "t" * 249, 2**31, 2**63, "m" * 255, "v" * 255, _MOST_ATTEMPTS, "key,value,headers"
    ).headers(),
)
