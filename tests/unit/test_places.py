"""`publish` and `score` write over nothing that they read, and not two things into one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stream.cli import main

MAPPING = """
tables: {visits: {file: visits, key: Id, matches: VISIT}}
claim: {claim_id: ID, claim_type: visits.KIND, member_id: MEMBER, service_date: DAY}
"""
NO_BROKER = ("--bootstrap", "127.0.0.1:1")
WITH_MAPPING = ("--mapping", "mine.yaml")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {
        "claims.csv": "ID,VISIT,MEMBER,DAY\nA,V,M,2026-01-02\n",
        "visits.csv": "Id,KIND\nV,professional\n",
        "mine.yaml": MAPPING,
        "times.parquet": "PAR1",
        "stream.yaml": "routes: {'*': ['null']}\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "linked.csv").hardlink_to(tmp_path / "claims.csv")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("publish", "--rejects", "./sub/../claims.csv"), r"--rejects names \S+claims.csv, which is FILE as"),
        (("publish", "--rejects", "linked.csv"), "--rejects names linked.csv, which is FILE as"),
        (("publish", "--record", "claims.csv"), "--record names claims.csv, which is FILE as"),
        (
            ("publish", "--rejects", "visits.csv"),
            "names visits.csv, which is tables.visits of the mapping as",
        ),
        (("publish", "--record", "mine.yaml"), "--record names mine.yaml, which is --mapping as"),
        (("publish", "--replay", "times.parquet", "--record", "times.parquet"), "which is --replay as"),
        (
            ("publish", "--rejects", "new", "--record", "sub/../new"),
            "--rejects names new, which is --record as",
        ),
        (("score", "--output", "new.csv", "--rejects", "claims.csv"), "--rejects names .*, which is FILE as"),
        (
            ("score", "--output", "new.csv", "--rejects", "new.csv"),
            "--output names .*, which is --rejects as",
        ),
        (("score", "--output", "visits.csv"), "--output names visits.csv, which is tables.visits of the"),
        (
            ("score", "--output", "new.csv", "--rejects", "stream.yaml", "--config", "stream.yaml"),
            "--rejects names stream.yaml, which is --config as",
        ),
    ],
)
def test_what_is_read_is_not_written(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    command, *rest = arguments
    broker = NO_BROKER if command == "publish" else ()
    assert main.run([command, "claims.csv", *WITH_MAPPING, *rest, *broker]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_table_that_is_away_is_told_by_who_reads_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "visits.csv").unlink()
    arguments = ("publish", "claims.csv", *WITH_MAPPING, "--rejects", "new.csv", *NO_BROKER)
    assert main.run(arguments) == 2
    assert "claims.csv needs visits.csv beside it" in capsys.readouterr().err
