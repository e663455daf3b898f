"""What of Redis is ours: an index of versions, changed by optimistic transactions, and the commands of each change.

claimstream:models:index   name:version:digest ─▶ record (JSON)
claimstream:models:used    name:version:digest ─▶ second of the last use
claimstream:models:hits    name:version:digest ─▶ reads
claimstream:models:NAME:VERSION:DIGEST:NUMBER ─▶ one chunk
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import redis.exceptions
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import NoRoomError
from models.manifest import NAME_PATTERN, VERSION_PATTERN
from models.priority import ModelPriority
from models.release import VersionKey
from models.tiers.memory import Lifetime
from models.tiers.redis_wire import Command, Wire

log = logging.getLogger(__name__)

PREFIX = "claimstream:models:"
INDEX, USED, HITS = f"{PREFIX}index", f"{PREFIX}used", f"{PREFIX}hits"

_FIELD = re.compile(rf"(?P<name>{NAME_PATTERN}):(?P<version>{VERSION_PATTERN}):(?P<digest>[0-9a-zA-Z]+)")
_LOOK: list[Command] = [("HGETALL", INDEX), ("HGETALL", USED), ("HGETALL", HITS), ("TIME",)]
_TRIES = 16
_MOST_CHUNKS = 1 << 20


class Record(BaseModel):
    """One version. `until`: when a reservation lapses whose writer did not come back. Seconds by Redis' clock."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    bytes: int = Field(ge=0)
    chunks: int = Field(ge=0, le=_MOST_CHUNKS)
    state: Literal["writing", "ready"]
    stored: float
    until: float
    writer: str
    priority: ModelPriority
    load_seconds: float = Field(ge=0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The index at one moment of Redis' clock; `broken` are fields that nobody of us wrote."""

    now: float
    lifetime: Lifetime
    records: Mapping[VersionKey, Record]
    used: Mapping[VersionKey, float]
    hits: Mapping[VersionKey, int]
    broken: tuple[bytes, ...] = ()

    def last_use(self, key: VersionKey) -> float:
        return max(self.used.get(key, 0.0), self.records[key].stored)

    def expires(self, key: VersionKey) -> float:
        """When a complete version goes, by age or by idleness, whichever is first."""
        return min(self.records[key].stored + self.lifetime.ttl, self.last_use(key) + self.lifetime.idle)

    def stale(self, key: VersionKey) -> bool:
        record = self.records[key]
        return self.now >= (record.until if record.state == "writing" else self.expires(key))

    def ready(self, key: VersionKey) -> Record | None:
        """The record of a complete version that has not expired."""
        record = self.records.get(key)
        return record if record and record.state == "ready" and not self.stale(key) else None

    @property
    def complete(self) -> dict[VersionKey, Record]:
        return {key: record for key in self.records if (record := self.ready(key)) is not None}

    @property
    def over(self) -> dict[VersionKey, Record]:
        """Expired versions, and reservations whose writer is gone."""
        return {key: record for key, record in self.records.items() if self.stale(key)}

    @property
    def bytes(self) -> int:
        """What is held, reservations included."""
        return sum(record.bytes for key, record in self.records.items() if not self.stale(key))


Plan = Callable[[Snapshot], list[Command]]


class Index:
    """The index in one Redis; a primary, not a cluster, as its transactions span keys."""

    def __init__(self, wire: Wire, lifetime: Lifetime) -> None:
        self._wire = wire
        self._lifetime = lifetime

    def look(self) -> Snapshot:
        return _snapshot(self._wire.exchange(_LOOK), self._lifetime)

    def change(self, plan: Plan) -> list[Any]:
        """Run the commands that `plan` wants for the index as it is; it is asked anew when that changed meanwhile.

        The replies; none when `plan` wants nothing. Raises what `plan` raises, else as `Wire.session` does;
        NoRoomError when the index never stays the same for long enough.
        """
        for _ in range(_TRIES):
            with self._wire.session() as session:
                _, *seen = session.exchange([("WATCH", INDEX), *_LOOK])
                commands = plan(_snapshot(seen, self._lifetime))
                if not commands:
                    session.exchange([("UNWATCH",)])
                    return []
                *_, done = session.exchange([("MULTI",), *commands, ("EXEC",)])
                if done is not None:
                    return _checked(done)
        raise NoRoomError(
            f"the index in Redis changed {_TRIES} times while a change was decided; try again later"
        )

    def free(self, plan: Plan) -> list[Any]:
        """The same for a plan that only removes, which a full Redis does, too, though it takes no transaction.

        Without one, whoever reserved the same version in that instant loses the reservation; its commit says so.
        """
        try:
            return self.change(plan)
        except NoRoomError:
            commands = plan(self.look())
            return self._wire.exchange(commands) if commands else []


def field(key: VersionKey) -> str:
    return f"{key.name}:{key.version}:{key.digest}"


def chunk_key(key: VersionKey, number: int) -> str:
    return f"{PREFIX}{field(key)}:{number}"


def chunk_keys(key: VersionKey, record: Record) -> list[str]:
    return [chunk_key(key, number) for number in range(record.chunks)]


def removal(key: VersionKey, record: Record) -> list[Command]:
    """A version and all that is known of it go. None of these commands needs memory."""
    index: list[Command] = [("HDEL", place, field(key)) for place in (INDEX, USED, HITS)]
    return [*index, ("UNLINK", *chunk_keys(key, record))] if record.chunks else index


def sweeping(snapshot: Snapshot) -> list[Command]:
    """What is over goes, and what nobody of us wrote."""
    for name in snapshot.broken:
        log.warning("%s: the field %r is not an entry of the cache and is removed", INDEX, name)
    broken: list[Command] = [
        ("HDEL", place, name) for name in snapshot.broken for place in (INDEX, USED, HITS)
    ]
    return broken + [command for key, record in snapshot.over.items() for command in removal(key, record)]


def entering(key: VersionKey, record: Record, lifetime: Lifetime) -> list[Command]:
    """A record comes, or takes another's place. The index outlives every version that it names."""
    return [
        ("HSET", INDEX, field(key), record.model_dump_json()),
        ("PEXPIRE", INDEX, _milliseconds(lifetime.ttl + record.until - record.stored)),
    ]


def renewal(key: VersionKey, record: Record, snapshot: Snapshot) -> list[Command]:
    """All chunks of a version get the time to live of a use that is now: one reply of 0 or 1 for each, first."""
    end = _milliseconds(min(record.stored + snapshot.lifetime.ttl, snapshot.now + snapshot.lifetime.idle))
    return [("PEXPIREAT", name, end) for name in chunk_keys(key, record)]


def use(key: VersionKey, snapshot: Snapshot, hits: int) -> list[Command]:
    """Note a use. It leaves the index alone, lest every read disturb whoever decides on it.

    Of two reads in the same instant one may be counted: a number that is set heals whatever was there before.
    """
    ttl = _milliseconds(snapshot.lifetime.ttl)
    return [
        ("HSET", USED, field(key), snapshot.now),
        ("HSET", HITS, field(key), snapshot.hits.get(key, 0) + hits),
        ("PEXPIRE", USED, ttl),
        ("PEXPIRE", HITS, ttl),
    ]


def _snapshot(replies: list[Any], lifetime: Lifetime) -> Snapshot:
    index, used, hits, (seconds, microseconds) = replies
    records: dict[VersionKey, Record] = {}
    broken: list[bytes] = []
    for name, text in _pairs(index).items():
        key, record = _key(name), _record(text)
        if key is None or record is None:
            broken.append(name)
        else:
            records[key] = record
    return Snapshot(
        int(seconds) + int(microseconds) / 1e6,
        lifetime,
        records,
        {key: _number(text) for key, text in _known(used, records).items()},
        {key: int(_number(text)) for key, text in _known(hits, records).items()},
        tuple(broken),
    )


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _known(flat: list[bytes], records: Mapping[VersionKey, Record]) -> dict[VersionKey, bytes]:
    return {
        key: text for name, text in _pairs(flat).items() if (key := _key(name)) in records and key is not None
    }


def _key(name: bytes) -> VersionKey | None:
    found = _FIELD.fullmatch(name.decode(errors="replace"))
    return VersionKey(found["name"], found["version"], found["digest"]) if found else None


def _record(text: bytes) -> Record | None:
    try:
        return Record.model_validate_json(text)
    except ValidationError:
        return None


def _number(text: bytes) -> float:
    """Text that is no number counts as nothing: whoever wrote it was none of us."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1_000)


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, redis.exceptions.ResponseError):
            raise reply
    return replies
