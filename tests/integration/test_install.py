"""A copy of the program, as it is installed outside a clone, has all that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLAIM = '{"claim_id": "A", "claim_type": "professional", "member_id": "M", "service_date": "2026-01-02"}\n'


def run(folder: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_the_page_installs_runs_from_another_folder(tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "claims.jsonl").write_text(CLAIM)
    flags = ("--no-deps", "--no-build-isolation", "--quiet", "--target", str(installed))
    run(elsewhere, "pip", "install", *flags, str(ROOT))

    def claimstream(*arguments: str) -> str:
        return run(elsewhere, "stream", *arguments, PYTHONPATH=str(installed))

    # What is missing there would be found in the clone.
    assert all(
        (installed / package / "__init__.py").is_file()
        for package in ("stream", "models", "config", "schemas")
    )
    assert "claims_filter" in claimstream("models", "list")
    assert "publish" in claimstream("--help")
    assert "1 claims scored" in claimstream("score", "claims.jsonl", "--output", "scores.parquet")
