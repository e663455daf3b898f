"""The programs of docs/models.md, run as they stand."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch

from models import open_model
from models.manifest import read_manifest
from stream.cli import main
from stream.cli.models.options import VARIABLE
from tests.documents import commands, files, text_of
from tests.offline import read_lines

PAGE = text_of("docs/models.md")
OWN = PAGE[PAGE.index("## A network of your own") : PAGE.index("## A model of your own claims")]

Screen = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv("CLAIMSTREAM_CACHE__MEMORY_FOLDER", str(tmp_path / "pool"))
    return tmp_path


def ran(name: str) -> None:
    Path(name).write_text(files(PAGE)[name], encoding="utf-8")
    runpy.run_path(name)


def test_a_network_of_ones_own_scores_as_it_says_itself(folder: Path, capsys: Screen) -> None:
    threads = torch.get_num_threads()
    first, *others = commands(OWN)
    assert first == "python own_model.py"
    ran("own_model.py")
    own = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert len(own) == 5
    for command in others:
        assert main.run(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    assert re.search(r"own_model +1\.0\.0 .*production", capsys.readouterr().out)
    lines = {line["claim_id"]: line for line in read_lines(folder / "own_scores.csv")}
    assert len(lines) == 300
    assert {lines[claim]["model"] for claim in own} == {"own_model"}
    assert [lines[claim]["score"] for claim in own] == pytest.approx(
        [float(score) for score in own.values()], abs=1e-5
    )
    torch.set_num_threads(threads)
    model = open_model("own_model:production", repository=folder / "models")
    assert model.identity.version == "1.0.0"
    published = read_manifest(folder / "models" / "own_model" / "1.0.0")
    assert (published.type, published.architecture) == ("exported", None)


def test_the_program_with_the_cache_scores_two_claims(folder: Path, capsys: Screen) -> None:
    ran("score_claims.py")
    said = capsys.readouterr().out
    assert re.match(r"2\.1\.0 \S+ \['(pass|review)', '(pass|review)'\] \[[01]\.\d+ +[01]\.\d+\]\n", said), (
        said
    )
