"""`bench score`: its contestants do the same work, and its figures say what they compare."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import score, windows
from stream.publishing import generate
from tests.offline import NULL, fleet_of, read


def test_contestants_score_the_same_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "_ROUTES", NULL)
    with fleet_of(tmp_path, NULL) as fleet:
        contestants = score._contestants(tmp_path, list(generate(3_000, 1)), fleet)
        speeds = [windows.one_round(contestants, 3_000, number) for number in range(2)]
        batches = contestants["loop"](), contestants["forward"]()
    assert [set(each) for each in speeds] == [{"score", "loop", "forward"}] * 2
    found = [record["scores"][0]["score"] for record in read(tmp_path / "scores.parquet")]
    for scores in batches:
        assert isinstance(scores, list)
        assert [value for batch in scores for value in batch.tolist()] == found


def test_ratios_are_taken_within_a_round() -> None:
    results = [
        {"score": 95.0, "loop": 100.0, "forward": 110.0},
        {"score": 20.0, "loop": 10.0, "forward": 20.0},
    ]
    figures = {figure.name: figure for figure in score._figures(results)}
    assert figures["score_vs_model"].value == pytest.approx(1.48, abs=0.01)
    assert figures["score_vs_model"].goal == "≥ 0.95"
    assert figures["score_vs_forward"].value == pytest.approx(0.93, abs=0.01)
    assert figures["score_per_s"].value == 57.5
