"""Cron expressions of peaks."""

from __future__ import annotations

from datetime import datetime

import pytest

from stream.peaks import peak_ahead


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("now", "peak"),
    [
        ("2026-11-23T08:44:59", None),
        ("2026-11-23T08:45:00", "2026-11-23T09:00:00"),
        ("2026-11-23T09:00:00", "2026-11-23T09:00:00"),
        ("2026-11-23T09:00:02", None),
        ("2026-11-22T08:50:00", None),
        ("2026-11-23T16:59:00", "2026-11-23T17:00:00"),
    ],
)
def test_the_peak_is_seen_fifteen_minutes_before(now: str, peak: str | None) -> None:
    expected = None if peak is None else moment(peak)
    assert peak_ahead(["0 9 * * 1-5", "0 17 * * *"], moment(now)) == expected


def test_of_several_the_first_counts() -> None:
    assert peak_ahead(["10 9 * * *", "5 9 * * *"], moment("2026-11-23T09:00:00")) == moment(
        "2026-11-23T09:05:00"
    )


def test_without_peaks_there_is_none() -> None:
    assert peak_ahead([], 0.0) is None
