"""The files of `bench publish` hold the claims, and its ratios set what belongs together side by side."""

from __future__ import annotations

from pathlib import Path

from bench import publish
from stream.publishing import generate, open_claims
from stream.publishing.mapping import load_mapping
from tests.claim_files import claims


def test_the_files_hold_every_claim(tmp_path: Path) -> None:
    batches = list(generate(300, 3))
    publish.write_avro(tmp_path / "claims.avro", batches)
    publish.write_csv(tmp_path / "claims.csv", claims(300))
    assert open_claims(tmp_path / "claims.avro").expected == 300
    (rows,) = open_claims(tmp_path / "claims.csv", load_mapping("plain")).batches()
    assert (rows.claims.num_rows, rows.rejects) == (300, ())
    expected = claims(300).to_pylist()
    for found, claim in zip(rows.claims.to_pylist(), expected, strict=True):
        assert found["codes"] == claim["codes"][:3]
        assert found["lines"] == claim["lines"][:1]
        assert found["service_date"] == claim["service_date"]


def test_ratios_are_of_one_round() -> None:
    rounds = [
        {"csv": 60.0, "avro": 50.0, "parquet": 1.0, "producer": 100.0, "loop": 10.0},
        {"csv": 70.0, "avro": 90.0, "parquet": 1.0, "producer": 100.0, "loop": 30.0},
        {"csv": 80.0, "avro": 60.0, "parquet": 1.0, "producer": 200.0, "loop": 20.0},
    ]
    figures = {figure.name: figure for figure in publish.figures(rounds)}
    assert figures["publish_per_s"].value == 70
    assert figures["publish_vs_producer"].value == 0.5
    assert figures["publish_vs_producer"].met is False
    assert figures["publish_vs_loop"].value == 3.0
