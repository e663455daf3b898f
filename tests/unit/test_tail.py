"""The lines that `tail` prints, and which."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

import schemas
from stream.cli.score_filter import ScoreFilter
from stream.cli.tail import as_line, header
from stream.codec import Encoder

SCORE = {"model": "claims_filter", "version": "2.1", "score": 0.98765, "decision": "review"}
RECORD = {
    "claim_id": "G7-00000001",
    "claim_type": "professional",
    "scored_at": datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
    "scores": [SCORE],
}


def test_a_line_is_aligned_with_its_header() -> None:
    line = as_line(RECORD)
    assert line == "03:04:05.678 G7-00000001            professional  0.988 review   claims_filter…"
    assert header().index("score ") == line.index("0.988")


def test_no_line_is_wider_than_80_columns() -> None:
    wide = {
        **RECORD,
        "claim_id": "c" * 100,
        "claim_type": "t" * 100,
        "scores": [{**SCORE, "decision": "d" * 100}, {**SCORE, "model": "m" * 100}],
    }
    lines = as_line(wide).splitlines()
    assert len(lines) == 2
    assert max(len(line) for line in [header(), *lines]) <= 80


def test_a_terminal_acts_on_nothing_that_a_claim_brings() -> None:
    line = as_line({**RECORD, "claim_id": "A\n\x1b[2J\u202e"})
    assert line.split()[1] == r"A\n\x1b[2J\u202e"


def results(*claims: tuple[str, str, list[tuple[float, str]]]) -> pa.RecordBatch:
    """Claims as type, outcome and (score, decision) of each model."""
    blank = {"model": "m", "version": "1.0.0", "variant": "v", "precision": "fp32", "device": "cpu"}
    schema = Encoder(schemas.load("claim_score")).arrow_schema
    rows = [
        {
            **{field.name: 0 for field in schema},
            "deadline_missed": False,
            "claim_id": str(number),
            "claim_type": kind,
            "input_topic": "claims",
            "outcome": outcome,
            "scores": [{**blank, "score": score, "decision": word} for score, word in scores],
        }
        for number, (kind, outcome, scores) in enumerate(claims)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=schema)


CLAIMS = results(
    ("professional", "scored", [(0.9, "review")]),
    ("professional", "scored", [(0.2, "pass"), (0.95, "review")]),
    ("institutional", "scored", [(0.5, "review")]),
    ("pharmacy", "skipped", []),
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ScoreFilter(), "0123"),
        (ScoreFilter(lowest=0.9), "01"),
        (ScoreFilter(highest=0.5), "12"),
        (ScoreFilter(lowest=0.5, highest=0.9), "02"),
        (ScoreFilter(lowest=0.9, decisions=("pass",)), ""),
        (ScoreFilter(decisions=("pass",)), "1"),
        (ScoreFilter(types=("institutional", "pharmacy")), "23"),
        (ScoreFilter(types=("professional",), lowest=0.94), "1"),
        (ScoreFilter(outcomes=("skipped",)), "3"),
        (ScoreFilter(types=("dental",)), ""),
    ],
)
def test_a_filter_lets_through_what_is_asked_for(wanted: ScoreFilter, found: str) -> None:
    assert "".join(wanted.of(CLAIMS).column("claim_id").to_pylist()) == found
    # A slice of a batch has offsets of its own.
    assert "".join(wanted.of(CLAIMS.slice(1)).column("claim_id").to_pylist()) == found.replace("0", "")
