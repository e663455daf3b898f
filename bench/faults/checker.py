"""What came of a schedule, seen from the topics alone: nothing of the stage is asked, and none of its code used."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import fastavro

import schemas
from bench.faults.claims import UNSCORED, Expected, Headers, Kind
from stream.embedded.simulated import Message, Reading
from stream.embedded.simulated.partitioner import partition_of
from stream.embedded.simulated.readings import Commit

_HEADER_BYTES = 10
# The first of the headers that the stage adds to a dead letter.
_OWN_BLOCK = "claimstream-error-class"
_TOLERANCE = 1e-6

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Published:
    """An input record. `models`: of its route, in order; `expected`: what each of them makes of it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    kind: Kind
    headers: Headers = ()
    models: tuple[str, ...] = ()
    expected: Expected = UNSCORED

    @property
    def place(self) -> Place:
        return self.partition, self.offset


@dataclass(frozen=True, slots=True)
class Terms:
    """What a stage is held to. `partitions`: how many the results' topic had, where that may differ from the input.

    `versions`: of each model, all that were ever published. `drain`: seconds within which an owner that hands a
    partition over has to be done; one that takes longer is excused.
    """

    partitions: Sequence[int] = ()
    versions: Mapping[str, Collection[str]] = field(default_factory=dict)
    drain: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Counts of records. `repeated`: answered more than once where delivery at least once allows it."""

    lost: int
    duplicated: int
    out_of_order: int
    wrong: int
    repeated: int

    @property
    def sound(self) -> bool:
        return not (self.lost or self.duplicated or self.out_of_order or self.wrong)


def check(
    published: Sequence[Published],
    scores: Sequence[Message],
    letters: Sequence[Message],
    readings: Sequence[Reading] | None,
    terms: Terms,
) -> Finding:
    """`readings`: of all members, each of which may answer a record that it was given once; None: exactly once."""
    inputs = {each.place: each for each in published}
    results = [_decoded(message.value() or b"") for message in scores]
    answers = Counter([_source(result) for result in results] + [_origin(letter) for letter in letters])
    allowed = {place: 1 if readings is None else _allowed(place, readings, terms.drain) for place in inputs}
    return Finding(
        lost=sum(place not in answers for place in inputs),
        duplicated=sum(max(count - allowed.get(place, 0), 0) for place, count in answers.items()),
        out_of_order=_out_of_order(scores, results),
        wrong=sum(
            not _answers(inputs.get(_source(result)), message, result, terms)
            for message, result in zip(scores, results, strict=True)
        )
        + sum(not _returns(inputs.get(_origin(letter)), letter) for letter in letters),
        repeated=sum(count - 1 for count in answers.values()),
    )


def _allowed(place: Place, readings: Sequence[Reading], drain: float) -> int:
    """How often a record may be answered; once in any case."""
    return max(1, sum(each.partition == place[0] and _may_answer(each, place[1], drain) for each in readings))


def _may_answer(reading: Reading, offset: int, drain: float) -> bool:
    """Whether it was given a record that it did not know to be complete.

    Who hands a partition over in order has answered no more than its last commit says.
    """
    if not reading.begin <= offset < reading.end or _is_beyond(reading.told, offset):
        return False
    if reading.handed_over is None or reading.handed_over >= drain:
        return True
    left = reading.left
    return left is not None and (offset < left[0] or _is_beyond(left, offset))


def _is_beyond(commit: Commit, offset: int) -> bool:
    """Whether a commit tells that a record is complete though it lies beyond the committed offset."""
    return any(start <= offset < stop for start, stop in _beyond(commit[0], commit[1] or ""))


@cache
def _beyond(committed: int, metadata: str) -> tuple[Place, ...]:
    """The runs that a commit's metadata tells, by their documented form."""
    if not metadata:
        return ()
    content = base64.b64decode(metadata[4:])[4:]
    return _of_bits(committed, content) if metadata.startswith("cs1b") else _of_distances(committed, content)


def _of_bits(committed: int, content: bytes) -> tuple[Place, ...]:
    bits = "".join(f"{byte:08b}" for byte in content)
    return tuple((committed + place, committed + place + 1) for place, bit in enumerate(bits) if bit == "1")


def _of_distances(committed: int, content: bytes) -> tuple[Place, ...]:
    numbers, number, shift = [committed], 0, 0
    for byte in content:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(numbers[-1] + number)
            number, shift = 0, 0
    return tuple(zip(numbers[1::2], numbers[2::2], strict=True))


def _out_of_order(scores: Sequence[Message], results: Sequence[Mapping[str, Any]]) -> int:
    """First results of a key and route whose input offset is below that of an earlier one; null keys exempt.

    Only within one partition of the output: more partitions for a topic part what belongs to a key.
    """
    seen: set[Place] = set()
    latest: dict[tuple[bytes, int, int, tuple[str, ...]], int] = defaultdict(lambda: -1)
    wrong = 0
    for message, result in zip(scores, results, strict=True):
        key, place = message.key(), _source(result)
        if key is None or place in seen:
            continue
        seen.add(place)
        line = key, place[0], message.partition(), tuple(score["model"] for score in result["scores"])
        wrong += place[1] < latest[line]
        latest[line] = max(latest[line], place[1])
    return wrong


def _answers(origin: Published | None, message: Message, result: Mapping[str, Any], terms: Terms) -> bool:
    """Whether a result belongs to its input."""
    return bool(
        origin is not None
        and origin.kind is Kind.SOUND
        and message.key() == origin.key
        and message.partition() in _outputs(origin, terms.partitions)
        and result["claim_id"] == _claim_id(origin.value or b"")
        and result["claim_type"] == origin.expected.claim_type
        and _is_scored(origin, result["scores"], terms)
    )


def _is_scored(origin: Published, scores: Sequence[Mapping[str, Any]], terms: Terms) -> bool:
    """Whether the models of its route scored it, in any version that was published, and as they had to."""
    expected = origin.expected
    return tuple(each["model"] for each in scores) == origin.models and all(
        each["version"] in terms.versions.get(each["model"], ())
        and math.isclose(each["score"], expected.score, rel_tol=_TOLERANCE)
        and each["decision"] == expected.decision
        for each in scores
    )


def _outputs(origin: Published, partitions: Sequence[int]) -> set[int]:
    """Where its result may be: in its own partition, or where its key belongs, of so many as the topic ever had."""
    keyed = {0} if origin.key is None else {partition_of(origin.key, count) for count in partitions}
    return {origin.partition, *keyed}


def _returns(origin: Published | None, letter: Message) -> bool:
    """Whether a dead letter is its input, byte for byte, its headers before the stage's own, and had to be one."""
    return bool(
        origin is not None
        and origin.kind is not Kind.SOUND
        and letter.key() == origin.key
        and letter.value() == origin.value
        and _headers(letter) == origin.headers
    )


def _headers(letter: Message) -> Headers:
    """Those that it came with: what came from another stage's letter may have such a block as well."""
    headers = letter.headers() or []
    own = max(place for place, (name, _) in enumerate(headers) if name == _OWN_BLOCK)
    return tuple(headers[:own])


def _source(result: Mapping[str, Any]) -> Place:
    return result["input_partition"], result["input_offset"]


def _origin(letter: Message) -> Place:
    headers = dict(letter.headers() or [])
    partition, offset = headers["claimstream-partition"], headers["claimstream-offset"]
    return int(partition or b""), int(offset or b"")


@cache
def _claim_id(value: bytes) -> str:
    claim: Any = fastavro.schemaless_reader(io.BytesIO(value[_HEADER_BYTES:]), _parsed("claim_event"), None)
    name: str = claim["claim_id"]
    return name


def _decoded(value: bytes) -> Mapping[str, Any]:
    result: Any = fastavro.schemaless_reader(io.BytesIO(value[_HEADER_BYTES:]), _parsed("claim_score"), None)
    decoded: Mapping[str, Any] = result
    return decoded


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(schemas.load(name))
