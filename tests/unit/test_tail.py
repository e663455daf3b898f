"""The lines that `tail` prints."""

from __future__ import annotations

from datetime import UTC, datetime

from stream.cli.tail import as_line, header

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
