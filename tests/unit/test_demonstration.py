"""What a demonstration says of its run."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import schemas
from config import Settings, load_settings
from models.aliases import Aliases, promoted, write_aliases
from stream.audit import Finding
from stream.cli import demo
from stream.cli.demo import _draw, _print
from stream.cli.main import run
from stream.demonstration import offline, picture
from stream.demonstration.offline import OfflineRoutes, offline_routes
from stream.demonstration.report import Report, summarize
from stream.errors import UsageError
from tests.repositories import empty, pushed

WRONG = ("lost", "duplicated", "mismatched", "wrong_lineage", "out_of_order", "altered", "unjudged")
CACHE = {"tiers": [], "hit_rate_l1": None}


def report(latencies_ms: list[float], acknowledged: int | None = None, **wrong: int) -> Report:
    sent = np.arange(len(latencies_ms), dtype=float)
    times = np.column_stack((sent, sent + np.array(latencies_ms) / 1_000))
    scored = len(latencies_ms)
    published = scored + wrong.get("lost", 0) + wrong.get("dead_letters", 0)
    counts = {**dict.fromkeys(("dead_letters", *WRONG), 0), **wrong}
    finding = Finding(published, scored, **counts)
    return summarize(finding, published if acknowledged is None else acknowledged, times, 0.2, CACHE)


def test_scores_that_were_late_are_told_beside_what_passed_means(capsys: pytest.CaptureFixture[str]) -> None:
    late = report([50.0, 199.0, 201.0, 900.0])
    assert (late.on_time, late.passed, late.as_json()["on_time"]) == (0.5, True, 0.5)
    _print(late)
    printed = capsys.readouterr().out.splitlines()
    assert "on time: 50.0 % of the scores (budget 200 ms)" in printed
    assert printed[-1].startswith("PASSED: each claim has exactly one score")
    assert printed[-1].endswith("being on time is measured, not judged")


@pytest.mark.parametrize("kind", [*WRONG, "dead_letters"])
def test_a_run_with_anything_wrong_failed_and_says_with_what(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report([50.0], **{kind: 3})
    assert not found.passed
    _print(found)
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED: 3 ")


def test_a_run_whose_topic_has_not_what_the_broker_took_failed(capsys: pytest.CaptureFixture[str]) -> None:
    found = report([50.0, 60.0], acknowledged=3)
    assert (found.passed, found.as_json()["passed"]) == (False, False)
    _print(found)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "FAILED: 2 claims in the topic, where the broker took 3"


def test_where_no_score_came_none_was_on_time(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = summarize(Finding(0, 0, 0, 0, 0, 0, 0, 0), 0, np.empty((0, 2)), 0.2, CACHE)
    assert (nothing.p50_ms, nothing.p99_ms) == (None, None)
    _print(nothing)
    printed = capsys.readouterr().out
    assert "on time: no score came (budget 200 ms)" in printed
    assert "P50" not in printed


def test_a_place_where_no_picture_can_be_written_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder can be made below a file")
    for place, said in (
        ("file/plot.png", "no picture can be written to"),
        ("plot.txt", "end its name in .png"),
    ):
        assert run(["demo", "--picture", str(tmp_path / place)]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--mapping", "tuva"), "--mapping is for the columns of --input"),
        (("--input", "x.csv", "--mapping", "tuva", "--claims", "5"), "--claims belongs to generated claims"),
        (("--rate", "inf"), "--rate inf is no number of claims a second"),
        (("--rate", "nan"), "--rate nan is no number of claims a second"),
        (("--seed", "-1"), "'--seed'"),
    ],
)
def test_what_has_no_effect_or_no_sense_is_told_before_anything_starts(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["demo", "--bootstrap", "127.0.0.1:1", "--picture", str(tmp_path / "plot.png")]
    assert run([*shared, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_columns_and_rows_that_are_in_no_claim_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shown:
        def __init__(self, _settings: Settings, supply: Any, *_: object) -> None:
            self._supply = supply

        def run(self) -> Report:
            assert sum(batch.num_rows for batch in self._supply.batches()) == 1
            return report([])

    monkeypatch.setattr(demo, "Show", Shown)
    file = tmp_path / "claims.csv"
    file.write_text(
        "claim_id,claim_type,member_id,service_date,charges\nA,dental,M,2026-01-02,7\nB,dental,M,never,7\n"
    )
    shared = ["demo", "--bootstrap", "127.0.0.1:1", "--picture", str(tmp_path / "plot.png")]
    arguments = [*shared, "--input", str(file), "--mapping", "plain"]
    assert run(arguments) == 0
    told = capsys.readouterr()
    assert "rejected 1 of 2 rows" in told.out.splitlines()
    assert "left out, as no part of a claim: charges" in told.err.splitlines()
    assert "rejected row 3: claim.service_date: 'never' is not a date" in told.err
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ignored"], found["rejected"]) == (["charges"], 1)


def test_a_picture_is_drawn_where_scores_came_and_a_full_disk_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = tmp_path / "plot.png"
    _draw(report([]), plot, as_json=False)
    assert not plot.exists()
    _draw(report([50.0, 60.0]), plot, as_json=False)
    assert plot.read_bytes().startswith(b"\x89PNG")

    def full(_place: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(picture.durable, "write", full)
    _draw(report([50.0]), plot, as_json=False)
    told = capsys.readouterr()
    assert told.out == f"latency plot: {plot}\n"
    assert told.err == f"claimstream: the latency plot {plot} was not written: No space left on device\n"


def settings(**overrides: Any) -> Settings:
    return load_settings(None, {}, overrides)


def test_each_claim_is_compared_by_the_route_of_its_type() -> None:
    passes: Any = {
        name: lambda claims, add=add: [c["n"] + add for c in claims] for name, add in (("a", 10), ("b", 20))
    }
    routes = OfflineRoutes({"inpatient": ["a", "b"], "*": ["b"]}, "claim_type", passes)
    claims = [{"claim_type": kind, "n": n} for n, kind in enumerate(("inpatient", "pharmacy", "inpatient"))]
    assert routes(claims) == [[10, 20], [21], [12, 22]]
    assert OfflineRoutes({"inpatient": ["a"]}, "claim_type", passes)(claims) == [[10], [], [12]]


def test_the_models_of_all_routes_come_from_the_repository_of_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_model(name: str, *, repository: Path | None) -> Any:
        opened.append((name, repository))
        return SimpleNamespace(features=SimpleNamespace(encode=lambda batch: batch), score=len)

    monkeypatch.setattr(offline, "open_model", open_model)
    repository = pushed(empty(tmp_path), "3.0.0")
    offline_routes(
        settings(
            **{
                "cache.repository": str(repository.root),
                "routes": {"a": ["null"], "*": ["claims_filter:3.0.0"]},
            }
        )
    )
    assert opened == [("claims_filter:3.0.0", repository.root), ("null", repository.root)]


def test_what_a_plain_pass_is_no_measure_of_is_refused(tmp_path: Path) -> None:
    repository = pushed(empty(tmp_path), "3.0.0", "3.1.0")
    aliases = promoted(
        promoted(Aliases(), "production", "3.0.0", 100, "now"), "production", "3.1.0", 10, "now"
    )
    assert repository.root is not None
    write_aliases(repository.root / "claims_filter", aliases)
    divided = {"cache.repository": str(repository.root), "routes": {"*": ["claims_filter:production"]}}
    with pytest.raises(UsageError, match=r"divides its claims between the versions 3\.0\.0, 3\.1\.0"):
        offline_routes(settings(**divided))
    own = schemas.load("claim_event")
    own["fields"] = own["fields"][:5]
    (tmp_path / "own.avsc").write_text(json.dumps(own))
    with pytest.raises(UsageError, match="the demo publishes claims of claim_event"):
        offline_routes(settings(**{"schemas.input": str(tmp_path / "own.avsc")}))
