"""An audit from outside: reads input, output and dead letters as any consumer would, and counts what does not add up.

Shares nothing with the stage but the schemas.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import methodcaller
from typing import Any

import fastavro
from confluent_kafka import Message
from fastavro.schema import fingerprint, to_parsing_canonical_form

import schemas
from stream.audit_topics import committed, messages, spans

SINGLE_OBJECT = b"\xc3\x01"
HEADER_BYTES = 10
TOLERANCE = 1e-5

# A plain call, once the interpreter has optimised it, does not look whether the client failed.
_ask_for_headers = methodcaller("headers")

_EXAMPLES = 5

Place = tuple[int, int]
Claim = dict[str, Any]
Reference = Callable[[Sequence[Claim]], Sequence[Sequence[float]]]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one run."""

    claims: str
    scores: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Counts of records; from `lost` to `altered` they are zero in a sound run.

    `waiting`: unanswered, but not committed either; `unjudged`: answers to records that the input topic no longer has,
    or that it got after it was read. `altered`: dead letters whose key, value or headers are not the record's.
    """

    published: int
    scored: int
    dead_letters: int
    lost: int
    duplicated: int
    mismatched: int
    wrong_lineage: int
    out_of_order: int
    altered: int = 0
    waiting: int = 0
    unjudged: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict, compare=False)

    @property
    def sound(self) -> bool:
        return not (
            self.lost
            or self.duplicated
            or self.mismatched
            or self.wrong_lineage
            or self.out_of_order
            or self.altered
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """An input record as far as it is compared.

    `readable`: it says of itself that it is a claim of the shipped schema; `claim_id` is None where it is not.
    """

    key: bytes | None
    timestamp: int
    digest: bytes
    readable: bool
    claim_id: str | None
    message: Message | None


def audit(
    client: Mapping[str, Any],
    topics: Topics,
    reference: Reference | None = None,
    group: str | None = None,
    advance: Advance = lambda _: None,
) -> Finding:
    """Compare every input record with its results.

    `reference` scores claims (decoded records) in a plain offline pass: for each its scores, model by model. A result
    is mismatched that has more or fewer, or one that differs by more than 1e-5.

    Reads each topic from its beginning to the end that it has when its turn comes. With `group`, whose stage may be
    running, a record that is not answered is lost only where that group committed past it.
    """
    done = None if group is None else committed(client, topics.claims, group)
    inputs = {
        _place(message): _origin(message, keep=reference is not None)
        for message in _counted(client, topics.claims, advance)
    }
    results = [
        (message, _decoded(message, "claim_score")) for message in _counted(client, topics.scores, advance)
    ]
    notes = [message for message in _counted(client, topics.dead_letters, advance) if _is_letter(message)]
    return Ledger(topics, inputs, spans(client, topics.claims), done).compare(results, notes, reference)


class Ledger:
    """What was read, and what is wrong with it."""

    def __init__(
        self,
        topics: Topics,
        inputs: Mapping[Place, Origin],
        spans: Mapping[int, tuple[int, int]],
        committed: Mapping[int, int] | None,
    ) -> None:
        self._topics = topics
        self._inputs = inputs
        self._spans = spans
        self._committed = committed
        self._counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def compare(
        self,
        results: Sequence[tuple[Message, Claim]],
        letters: Sequence[Message],
        reference: Reference | None,
    ) -> Finding:
        judged = [(message, score) for message, score in results if self._is_judged(_source(score))]
        answered: Counter[Place] = Counter()
        for message, score in judged:
            answered[_source(score)] += score["input_topic"] == self._topics.claims
            if reason := self._wrong_lineage(message, score):
                self._note("wrong_lineage", f"{_name(message)}: {reason}")
        for message in letters:
            if self._is_judged(place := _sender(message)):
                answered[place] += _origin_topic(message) == self._topics.claims
                self._check_letter(message, place)
        self._check_order(judged)
        self._check_answers(answered)
        if reference is not None:
            self._check_scores(judged, reference)
        names = ("lost", "duplicated", "mismatched", "wrong_lineage", "out_of_order", "altered")
        counts = {name: self._counts[name] for name in (*names, "waiting", "unjudged")}
        return Finding(len(self._inputs), len(results), len(letters), **counts, examples=dict(self._examples))

    def _check_answers(self, answered: Counter[Place]) -> None:
        for place in self._inputs:
            if answered[place]:
                continue
            late = self._committed is not None and place[1] >= self._committed.get(place[0], 0)
            self._note("waiting" if late else "lost", self._input(place))
        for place, count in answered.items():
            if count > 1:
                self._note("duplicated", f"{self._input(place)}: {count} answers", count - 1)

    def _wrong_lineage(self, result: Message, score: Claim) -> str:
        """What of a result does not fit its input record; nothing where all does."""
        if score["input_topic"] != self._topics.claims:
            return f"of topic {score['input_topic']!r}"
        if (origin := self._inputs.get(place := _source(score))) is None:
            return f"there is no {self._input(place)}"
        if origin.key != result.key():
            return "another key"
        if score["input_timestamp"] != origin.timestamp:
            return "another timestamp"
        if origin.readable and origin.claim_id != score["claim_id"]:
            return f"claim {score['claim_id']!r}, not {origin.claim_id!r}"
        if not score["scores"] or not all(map(_is_complete, score["scores"])):
            return "a score without its model or version, or none that is a number"
        return ""

    def _check_letter(self, letter: Message, place: Place) -> None:
        headers = dict(letter.headers())
        if _origin_topic(letter) != self._topics.claims:
            self._note("wrong_lineage", f"{_name(letter)}: of another topic")
        elif (origin := self._inputs.get(place)) is None:
            self._note("wrong_lineage", f"{_name(letter)}: there is no {self._input(place)}")
        elif "claimstream-omitted" not in headers:
            own = letter.headers()[: _own_headers(letter)]
            if _digest(letter.key(), letter.value(), own) != origin.digest:
                self._note("altered", f"{_name(letter)} is not {self._input(place)}")

    def _check_order(self, results: Sequence[tuple[Message, Claim]]) -> None:
        """Results of one key, input partition and route are in input order; null keys and repetitions are exempt."""
        latest: dict[tuple[Any, ...], int] = {}
        seen: set[Place] = set()
        for message, score in results:
            place = _source(score)
            if message.key() is None or place in seen:
                continue
            seen.add(place)
            stream = (message.key(), place[0], *(entry["model"] for entry in score["scores"]))
            if place[1] < latest.get(stream, -1):
                self._note(
                    "out_of_order", f"{_name(message)} is {self._input(place)}, after {latest[stream]}"
                )
            latest[stream] = max(place[1], latest.get(stream, -1))

    def _check_scores(self, results: Sequence[tuple[Message, Claim]], reference: Reference) -> None:
        known = [
            (message, score, origin.message)
            for message, score in results
            if (origin := self._inputs.get(_source(score))) is not None and origin.message is not None
        ]
        expected = reference([_decoded(origin, "claim_event") for _, _, origin in known])
        for (message, score, _), wanted in zip(known, expected, strict=True):
            found = [entry["score"] for entry in score["scores"]]
            if not _agree(found, wanted):
                self._note("mismatched", f"{_name(message)}: {found}, not {list(wanted)}")

    def _is_judged(self, place: Place) -> bool:
        """Whether the record answered was in the input topic when that was read, or never is."""
        begin, end = self._spans.get(place[0], (0, 0))
        if place not in self._inputs and (0 <= place[1] < begin or begin <= place[1] < end):
            self._counts["unjudged"] += 1
            return False
        return True

    def _note(self, kind: str, example: str, count: int = 1) -> None:
        self._counts[kind] += count
        if len(self._examples[kind]) < _EXAMPLES:
            self._examples[kind].append(example)

    def _input(self, place: Place) -> str:
        return f"{self._topics.claims}[{place[0]}]@{place[1]}"


def _origin(message: Message, *, keep: bool) -> Origin:
    value = message.value()
    readable = value is not None and value[:HEADER_BYTES] == SINGLE_OBJECT + _fingerprint("claim_event")
    return Origin(
        message.key(),
        message.timestamp()[1],
        _digest(message.key(), value, _headers(message)),
        readable,
        _claim_id(message) if readable else None,
        message if keep and readable else None,
    )


def _claim_id(message: Message) -> str | None:
    try:
        return str(_decoded(message, "claim_event")["claim_id"])
    except ValueError:
        return None


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    """None that match anything where the client cannot read them: a name that is no UTF-8."""
    try:
        return _ask_for_headers(message) or []
    except SystemError:
        return [("", None)]


def _agree(found: Sequence[float], wanted: Sequence[float]) -> bool:
    """Not where one of them is no number."""
    return len(found) == len(wanted) and all(
        abs(one - other) <= TOLERANCE for one, other in zip(found, wanted, strict=True)
    )


def _is_complete(entry: Claim) -> bool:
    return bool(entry["model"] and entry["version"]) and math.isfinite(entry["score"])


def _digest(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    return hashlib.blake2b(repr((key, value, list(headers))).encode(), digest_size=16).digest()


def _source(score: Claim) -> Place:
    return score["input_partition"], score["input_offset"]


def _place(message: Message) -> Place:
    return message.partition(), message.offset()


def _name(message: Message) -> str:
    return f"{message.topic()}[{message.partition()}]@{message.offset()}"


def _is_letter(message: Message) -> bool:
    """Notes that letters were sent back lie among them."""
    return any(name == "claimstream-offset" for name, _ in _headers(message))


def _sender(letter: Message) -> Place:
    headers = dict(letter.headers())
    return int(headers["claimstream-partition"]), int(headers["claimstream-offset"])


def _origin_topic(letter: Message) -> str:
    topic: bytes = dict(letter.headers()).get("claimstream-topic", b"")
    return topic.decode()


def _own_headers(letter: Message) -> int:
    """How many headers are the record's own: those before the last block of reasons."""
    names = [name for name, _ in letter.headers()]
    return len(names) - 1 - names[::-1].index("claimstream-error-class")


def _decoded(message: Message, schema: str) -> Claim:
    """Raises ValueError for what is none, or is cut off."""
    value = message.value()
    if value is None or value[:HEADER_BYTES] != SINGLE_OBJECT + _fingerprint(schema):
        raise ValueError(f"{_name(message)} is no {schema} in single-object Avro")
    try:
        record: Any = fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), _parsed(schema), None)
    except (LookupError, EOFError, TypeError, OverflowError) as error:
        raise ValueError(f"{_name(message)} is no whole {schema}: {error!r}") from error
    claim: Claim = record
    return claim


@cache
def _parsed(name: str) -> Any:
    """Without logical types: dates and times stay numbers, for Avro's go on where Python's end."""
    plain = json.loads(json.dumps(schemas.load(name)), object_hook=_without_logical_type)
    return fastavro.parse_schema(plain)


def _without_logical_type(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "logicalType"}


@cache
def _fingerprint(name: str) -> bytes:
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schemas.load(name)), "CRC-64-AVRO"))


def _counted(client: Mapping[str, Any], topic: str, advance: Advance) -> Iterator[Message]:
    for message in messages(client, topic):
        yield message
        advance(1)
