"""A dead letter gives its record back, byte for byte, whatever headers that came with."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stream import letters
from stream.letters import ATTEMPT, PREFIX, REPLAY_OF, Reason

NAMES = st.text(max_size=8) | st.sampled_from(
    [ATTEMPT, REPLAY_OF, f"{PREFIX}error-class", f"{PREFIX}offset", f"{PREFIX}topic", letters.REPLAYED]
)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=12)), max_size=6)
TEXTS = st.text(max_size=20)
REASONS = st.builds(
    Reason,
    error_class=TEXTS,
    message=TEXTS,
    topic=TEXTS,
    partition=st.integers(0, 10**6),
    offset=st.integers(0, 10**15),
    model=TEXTS,
    version=TEXTS,
    attempt=st.integers(1, 10**6),
    omitted=st.sampled_from(["", "value"]),
)


@given(original=HEADERS, reason=REASONS)
def test_reading_a_letter_is_the_inverse_of_writing_it(original: letters.Headers, reason: Reason) -> None:
    assert letters.read([*original, *reason.headers()]) == (original, reason)


@given(original=HEADERS, reason=REASONS, again=REASONS)
def test_a_letter_of_a_letter_gives_the_outer_one_back_first(
    original: letters.Headers, reason: Reason, again: Reason
) -> None:
    inner = [*original, *reason.headers()]
    assert letters.read([*inner, *again.headers()]) == (inner, again)


@given(original=HEADERS, reason=REASONS, place=TEXTS)
def test_a_replay_counts_on_and_adds_its_two_headers_once(
    original: letters.Headers, reason: Reason, place: str
) -> None:
    once = letters.replayed(original, reason, place)
    assert letters.attempt_of(once) == min(reason.attempt + 1, 10**6)
    twice = letters.replayed(once, replace(reason, attempt=letters.attempt_of(once)), place)
    assert len(twice) == len(once)
    assert letters.attempt_of(twice) == min(reason.attempt + 2, 10**6)
    assert twice[:-2] == once[:-2]


@given(headers=HEADERS)
def test_no_headers_of_others_make_it_fail(headers: letters.Headers) -> None:
    assert letters.attempt_of(headers) >= 1
    assert letters.marked(headers) is None or len(headers) == 1
    read = letters.read(headers)
    assert read is None or read[0] == headers[: len(read[0])]


@given(offset=st.integers(0, 10**15))
def test_a_note_of_a_replay_is_no_letter(offset: int) -> None:
    assert letters.marked(letters.marker(offset)) == offset
    assert letters.read(letters.marker(offset)) is None


@given(
    original=HEADERS,
    reason=REASONS,
    key=st.none() | st.binary(max_size=3_000),
    value=st.none() | st.binary(max_size=3_000),
    limit=st.integers(1_000, 8_000),
)
def test_a_letter_that_is_too_large_says_what_it_leaves_out(
    original: letters.Headers, reason: Reason, key: bytes | None, value: bytes | None, limit: int
) -> None:
    reason = replace(reason, omitted="")
    sent = letters.fitted(key, value, original, reason, limit)
    read = letters.read(sent[2])
    assert read is not None
    kept = {"": (key, value, original), "value": (key, None, original), "key,value,headers": (None, None, [])}
    assert (sent[0], sent[1], read[0]) == kept[read[1].omitted]
    assert replace(read[1], omitted="") == reason
    whole = letters.size(key, value, [*original, *reason.headers()])
    assert (read[1].omitted == "") == (whole <= limit)
    assert letters.size(*sent) <= limit


@given(
    original=HEADERS,
    reason=REASONS,
    message=st.builds(lambda text, length: (text * length)[:length], TEXTS, st.integers(500, 2_500)),
    key=st.none() | st.binary(max_size=3_000),
    limit=st.integers(letters.LEAST_LETTER, 8_000),
)
def test_what_is_left_of_the_largest_letter_fits_and_its_message_ends_where_it_was_cut(
    original: letters.Headers, reason: Reason, message: str, key: bytes | None, limit: int
) -> None:
    reason = replace(reason, message=message, omitted="")
    sent = letters.fitted(key, b"v" * 8_000, original, reason, limit)
    assert letters.size(*sent) <= limit
    _, found = letters.read(sent[2]) or ([], reason)
    assert found.omitted in ("value", "key,value,headers")
    assert replace(found, message="", omitted="") == replace(reason, message="")
    whole = dict(reason.headers())[f"{PREFIX}error-message"].decode()
    assert whole == found.message or (found.message[-1] == "…" and whole.startswith(found.message[:-1]))
