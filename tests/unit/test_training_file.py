"""`models train --data`: what it writes, that the stage's code scores with it, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest

from models import open_model
from models.errors import ArtifactError
from models.measures import Interval
from stream.cli import main
from stream.cli.models.train import _doubt
from stream.publishing import load_claims, load_mapping

MAPPING = """
description: made up
format: {nulls: ["-"]}
outcomes: [Verdict, Paid]
claim:
  claim_id: Id
  claim_type: Kind
  member_id: Id
  service_date: {column: Happened, formats: ["%m/%d/%Y"]}
  received_date: Came
attributes:
  place: Place
  where: {column: Place, case: lower}
  source: {constant: test}
"""
COLUMNS = "Id,Kind,Happened,Came,Place,Paid,Verdict"
TRAIN = ["--label", "Verdict", "--positive", "deny", "--time", "Came", "--epochs", "3"]


def rows(count: int = 600) -> list[str]:
    """Claims that are denied mostly where place and kind differ, and always where they took long."""
    random, first = Random(11), date(2020, 1, 1)
    made = []
    for number in range(count):
        place, kind, lag = random.choice("AB"), random.choice("AB"), random.randrange(60)
        denied = (place != kind) != (random.random() < 0.1) or lag > 50
        happened = first + timedelta(number // 2)
        verdict = "-" if number % 20 == 7 else "Deny" if denied else random.choice(["Approve", "Settle "])
        made.append(
            f"{number},{kind},{happened:%m/%d/%Y},{happened + timedelta(lag)},{place},{0 if denied else 50},{verdict}"
        )
    return made


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "claims.csv").write_text("\n".join([COLUMNS, *rows()]) + "\n")
    (tmp_path / "mine.yaml").write_text(MAPPING)
    return tmp_path


def train(*more: str) -> int:
    return main.run(["models", "train", "--data", "claims.csv", "--mapping", "mine.yaml", *TRAIN, *more])


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_model_of_a_file_is_pushed_and_scores_with_the_stages_code(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--json", "--epochs", "20") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert 0.8 < metrics["auc_low"] < metrics["auc"] < metrics["auc_high"] <= 1
    folder = work / "out" / "mine" / "1.0.0"
    card = (folder / "model_card.md").read_text()
    assert "600 claims, 0 rejected" in card
    assert "| decided, with a day | 570 |" in card
    assert "never read: Verdict, Paid" in card
    assert "attribute where, which says the same as place" in card
    assert "claimstream models train --data claims.csv --mapping mine.yaml --label Verdict" in card
    assert (folder / "model_card.png").read_bytes().startswith(b"\x89PNG")
    assert main.run(["models", "push", str(folder), "--repository", "repository"]) == 0
    assert main.run(["models", "verify", "mine:1.0.0", "--repository", "repository"]) == 0
    model = open_model("mine", repository=work / "repository")
    claims = load_claims(work / "claims.csv", load_mapping("mine.yaml")).claims
    scores = model.score(model.features.encode(claims))
    alone = [model.score(model.features.encode(claims.slice(row, 1))) for row in range(60)]
    np.testing.assert_allclose(scores[:60], np.concatenate(alone), atol=1e-5)
    unlike = np.array([kind != place for _, kind, _, _, place, *_ in (row.split(",") for row in rows())])
    assert scores[unlike].mean() > scores[~unlike].mean() + 0.2
    assert set(model.decide(scores)) == {0, 1}


def test_the_same_seed_gives_the_same_bytes_and_nothing_is_overwritten(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--epochs", "1", "--output", "one") == 0
    assert train("--epochs", "1", "--output", "two") == 0
    assert train("--epochs", "1", "--output", "three", "--seed", "8") == 0
    one, two, three = (digests(work / name) for name in ("one", "two", "three"))
    assert one.pop("model_card.md") != two.pop("model_card.md")
    assert one == two
    assert one["model.safetensors"] != three["model.safetensors"]
    assert train("--output", "two") == 2
    assert "two is there already; nothing is overwritten: name another folder" in capsys.readouterr().err
    two.pop("model_card.md", None)
    assert two.items() <= digests(work / "two").items()


def test_weights_of_another_feature_spec_are_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--epochs", "1", "--output", "repository/mine/1.0.0") == 0
    manifest = work / "repository" / "mine" / "1.0.0" / "manifest.json"
    document = json.loads(manifest.read_text())
    document["features"]["date_tokens"] = ["service_month"]
    manifest.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="trained on another feature spec"):
        open_model("mine", repository=work / "repository")
    assert main.run(["models", "push", str(manifest.parent), "--repository", "other"]) == 2
    assert "restore both as `models train` wrote them, or train anew" in capsys.readouterr().err
    assert not list((work / "other").glob("mine/*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--label", "Verdcit"], "no column Verdcit (attributes.--label), nearest column: Verdict"),
        (["--positive", "denied"], "no claim has 'denied' in Verdict; its values are 'Deny' ("),
        (["--label", "Source"], "no column Source"),
        (["--label", "Place"], "the mapping reads attributes.place from Place, which is the label"),
        (["--time", "Place"], "Place gives no day for 570 of 570 labelled claims, the first of them '"),
        (["--undecided", "approve", "--undecided", "settle"], "has one class: all"),
        (["--test-from", "2031-01-01"], "the test part, from 2031-01-01 on, has 0 positive of 0"),
        (["--number", "age"], "--number age: the mapping has no such attribute; it has place, where, source"),
        (["--name", "My model"], "--name 'My model': it has to be lower-case letters"),
        (["--version", "1"], "--version '1': it has to be three numbers"),
        (["--claims", "1000"], "--claims belongs to generated claims"),
        (["--mapping", ""], "--data needs --mapping as well"),
        (["--data", "claim.csv"], "did you mean claims.csv?"),
    ],
)
def test_bad_input_is_named_with_its_cure(
    work: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert train(*options) == 2
    assert said in capsys.readouterr().err
    assert not (work / "out").exists()


def test_an_outcome_is_no_feature(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "mine.yaml").write_text(MAPPING + "  paid: Paid\n")
    assert train() == 2
    assert "attributes.paid is read from Paid, which is among the outcomes" in capsys.readouterr().err
    loose = MAPPING.replace("outcomes: [Verdict, Paid]", "headers: {match: loose}") + "  verdict: verdict\n"
    (work / "mine.yaml").write_text(loose)
    assert train() == 2
    assert "Take attributes.verdict out of the mapping" in capsys.readouterr().err


@pytest.mark.parametrize("data", [True, False])
def test_the_place_is_checked_before_the_training(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: bool
) -> None:
    for learning in ("models.learning.learn", "models.training.train"):
        monkeypatch.setattr(learning, lambda *_: pytest.fail("trained"))
    (work / "there").mkdir()
    (work / "there" / "manifest.json").write_text("{}")
    for place, said in (
        ("there", "is there already; nothing is overwritten"),
        ("mine.yaml/x", "cannot be written to"),
    ):
        given = ["--output", place]
        code = train(*given) if data else main.run(["models", "train", "--claims", "1000", *given])
        assert (code, said in capsys.readouterr().err) == (2, True)
    assert digests(work / "there").keys() == {"manifest.json"}


@pytest.mark.parametrize(("auc", "told"), [(0.48, True), (0.51, True), (0.62, False)])
def test_a_model_that_learned_nothing_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    auc: float,
    told: bool,
) -> None:
    made = SimpleNamespace(metrics={"auc": auc, "average_precision": 0.1})
    monkeypatch.setattr("models.training.train", lambda *_: made)
    monkeypatch.setattr("stream.cli.models.train._HELD_OUT", 1_000)
    assert main.run(["models", "train", "--claims", "1000", "--output", str(tmp_path / "new")]) == 0
    assert ("no better than chance: so few claims teach nothing" in capsys.readouterr().out) == told


def test_the_interval_of_a_file_says_whether_anything_was_learned() -> None:
    assert "no better than chance" in _doubt(Interval(0.56, 0.49, 0.63))
    assert _doubt(Interval(0.56, 0.51, 0.61)) == ""


def test_a_generated_training_takes_no_options_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["models", "train", "--label", "Verdict"]) == 2
    assert "--label needs --data" in capsys.readouterr().err
    assert main.run(["models", "train"]) == 2
    assert "Missing option '--output'" in capsys.readouterr().err
