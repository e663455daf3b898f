"""The demonstration, small, on the test broker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

KEYS = [
    "published",
    "scored",
    "dead_letters",
    "lost",
    "duplicated",
    "mismatched",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "on_time",
    "claims_per_s",
]


def demo(kafka: Any, folder: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "stream", "demo", "--bootstrap", kafka.bootstrap, "--json"]
    done = subprocess.run(
        [*command, "--picture", str(folder / "latency.png"), *options],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_generated_claims_are_scored_and_audited(kafka: Any, tmp_path: Path) -> None:
    found = demo(kafka, tmp_path, "--claims", "1500", "--rate", "500")
    assert set(KEYS) <= set(found)
    assert (found["published"], found["scored"], found["dead_letters"]) == (1_500, 1_500, 0)
    assert (found["lost"], found["duplicated"], found["mismatched"]) == (0, 0, 0)
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_real_claims_are_scored_and_audited(kafka: Any, tmp_path: Path, data_folder: Path) -> None:
    source = data_folder / "tuva" / "medical_claim_sample.csv.gz"
    found = demo(kafka, tmp_path, "--input", str(source), "--mapping", "tuva", "--rate", "1500")
    assert (found["published"], found["scored"], found["passed"]) == (3_106, 3_106, True)
