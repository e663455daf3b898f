"""A model of real claims: it foretells what became of later ones as well as gradient boosting does."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.training import measure


@pytest.mark.slow
def test_claims_of_2013_after_those_of_three_years_before(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAIMSTREAM_DATA", str(data_folder))
    figures = {figure.name: figure for figure in measure(quick=False, plots=tmp_path)}
    assert figures["auc_tsa_2013"].met
    assert figures["calibration_error_tsa_2013"].value < 0.05
    assert (tmp_path / "tsa_model_card.png").exists()
