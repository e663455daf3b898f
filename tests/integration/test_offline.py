"""`claimstream score` as a process that is killed, and against the stage on a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import schemas
from stream.audit import Topics
from stream.codec import Decoder
from tests.claim_files import claims, write_parquet
from tests.offline import read
from tests.stage import await_that, publish, stage
from tests.stage import read as records_of

SEED = 5
# To look for GPUs takes torch, and seconds.
ENVIRONMENT = {**os.environ, "ML_GPU_DEVICE_IDS": ""}


def command(file: Path, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "stream", "score", str(file), "--output", str(output), *more]


def durable(output: Path) -> int:
    """Portions that a run has kept so far."""
    return len(list(output.with_name(f"{output.name}.partial").glob("*.arrow")))


def run(arguments: list[str]) -> str:
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    return done.stdout


def killed_when(arguments: list[str], reached: Callable[[], bool]) -> bool:
    """Whether the process was killed, before it came to its end by itself."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    while process.poll() is None and not reached():
        time.sleep(0.001)
    process.kill()
    return process.wait() == -9


def test_a_run_that_is_killed_several_times_ends_with_the_output_of_an_unbroken_one(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "in.parquet", claims(14_000, SEED))
    # Small batches make the model slow enough to be met at its work.
    options = ("--model", "null", "--batch-size", "4")
    run(command(file, tmp_path / "whole.parquet", *options))
    output = tmp_path / "killed.parquet"
    for portions in (1, 4):
        assert killed_when(
            command(file, output, *options), lambda portions=portions: durable(output) >= portions
        )
        assert not output.exists()
    kept = durable(output)
    assert 4 <= kept < 7
    said = run(command(file, output, *options))
    assert f"{kept * 2_048:,} of them had been scored before" in said
    assert read(output) == read(tmp_path / "whole.parquet")
    assert not output.with_name("killed.parquet.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["parquet", "avro", "csv"])
def test_a_run_killed_at_thirty_moments_ends_with_the_output_of_an_unbroken_one(
    tmp_path: Path, suffix: str
) -> None:
    file = write_parquet(tmp_path / "in.parquet", claims(60_000, SEED))
    options = ("--model", "null", "--batch-size", "4")
    run(command(file, tmp_path / f"whole.{suffix}", *options))
    output, moments = tmp_path / f"killed.{suffix}", np.random.default_rng(SEED).uniform(0.0, 0.4, 30)
    for moment in moments:
        # Imports and reading take the first second; the rest of the run takes one more.
        began = time.monotonic() + 0.8 + moment
        if not killed_when(command(file, output, *options), lambda began=began: time.monotonic() > began):
            assert output.exists()
            break
    if not output.exists():
        run(command(file, output, *options))
    if suffix == "csv":
        lines = [path.read_text().splitlines() for path in (output, tmp_path / "whole.csv")]
        assert [line.split(",")[9] for line in lines[0]] == [line.split(",")[9] for line in lines[1]]
    else:
        assert read(output) == read(tmp_path / f"whole.{suffix}")


@pytest.mark.slow
def test_a_file_gets_the_scores_that_the_running_stage_gives(
    kafka: Any, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Bit for bit where both score claim by claim, within 1e-5 where the stage's batches are of other shapes."""
    count = 200
    topics = Topics(topic(partitions=2), topic(partitions=2), topic(partitions=1))
    publish(kafka.bootstrap, topics.claims, count, seed=SEED)
    file = write_parquet(tmp_path / "in.parquet", claims(count, SEED))
    alone = {"ML_BATCH_SIZE_MIN": "1", "ML_BATCH_SIZE_MAX": "1", "ML_GPU_DEVICE_IDS": ""}
    with stage(kafka.bootstrap, topics, model="claims_filter", **alone) as running:
        await_that(lambda: running.delivered() == count)
        for size in ("1", "256"):
            options = ("--model", "claims_filter", "--batch-size", size)
            run(command(file, tmp_path / f"{size}.parquet", *options))
    values = [message.value() for message in records_of(kafka, topics.scores)]
    theirs = {
        record["claim_id"]: record["scores"][0]
        for record in Decoder(schemas.load("claim_score")).decode(values).claims.to_pylist()
    }
    assert len(theirs) == count
    for record in read(tmp_path / "1.parquet"):
        assert record["scores"] == [theirs[record["claim_id"]]]
    for record in read(tmp_path / "256.parquet"):
        assert abs(record["scores"][0]["score"] - theirs[record["claim_id"]]["score"]) < 1e-5
