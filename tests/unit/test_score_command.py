"""`claimstream score`: what it reads, prints, refuses and exits with."""

from __future__ import annotations

import csv
import errno
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

import stream.offline
from models.repository import SHIPPED
from stream.cli import main
from stream.errors import UsageError
from stream.offline import Inputs, OfflineScorer, Store
from stream.publishing import load_mapping
from tests.claim_files import claims, records, write_avro, write_json, write_parquet
from tests.offline import read, read_lines
from tests.repositories import edited

Screen = pytest.CaptureFixture[str]

MAPPING = """
claim:
  claim_id: ID
  claim_type: KIND
  member_id: MEMBER
  service_date: DAY
line: {charge: CHARGE}
"""
ROWS = """ID,KIND,MEMBER,DAY,CHARGE
A,professional,M1,2026-01-02,100
B,dental,M2,2026-01-03,200
C,professional,M3,never,300
A,professional,M1,2026-01-02,50
D,professional,M4,2026-01-05,400
"""
NO_REPOSITORY = "no repository is named (cache.repository, CLAIMSTREAM_CACHE__REPOSITORY); the nearest are"


class Shell:
    """Runs the command in a folder."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        self.folder = folder
        self._screen = screen

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        code = main.run(["score", *map(str, arguments)])
        printed = self._screen.readouterr()
        return code, printed.out, printed.err

    def summary(self, *arguments: object) -> dict[str, Any]:
        code, text, said = self(*arguments, "--json")
        assert code == 0, said
        found: dict[str, Any] = json.loads(text)
        assert found["rows"] == found["claims"] + found["rejected"] + found["merged"]
        assert found["claims"] == found["scored"] + found["lost"]
        return found

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("pool"))


@pytest.fixture
def shell(tmp_path: Path, capsys: Screen, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("CLAIMSTREAM_CACHE__MEMORY_FOLDER", str(tmp_path / "pool"))
    return Shell(tmp_path, capsys)


def test_rows_are_scored_or_rejected_with_row_and_reason(shell: Shell) -> None:
    file, mapping = shell.write("claims.csv", ROWS), shell.write("mapping.yaml", MAPPING)
    config = shell.write("stream.yaml", "routes: {professional: ['null']}\n")
    output, rejects = shell.folder / "out.parquet", shell.folder / "rejects.csv"
    found = shell.summary(
        file, "--mapping", mapping, "--output", output, "--rejects", rejects, "--config", config
    )
    assert {name: found[name] for name in ("rows", "claims", "scored", "lost", "rejected", "merged")} == {
        "rows": 5,
        "claims": 3,
        "scored": 2,
        "lost": 1,
        "rejected": 1,
        "merged": 1,
    }
    assert [record["claim_id"] for record in read(output)] == ["A", "D"]
    with rejects.open(encoding="utf-8") as content:
        rows = list(csv.reader(content))[1:]
    assert [row[:2] for row in rows] == [["3", "B"], ["4", "C"]]
    assert "no route for claim type 'dental'" in rows[0][2]
    assert "'never' is not a date" in rows[1][2]


def test_every_kind_of_file_gives_the_same_scores(shell: Shell) -> None:
    table = claims(300)
    files = [
        write_avro(shell.folder / "in.avro", records(table)),
        write_json(shell.folder / "in.jsonl", records(table)),
        write_parquet(shell.folder / "in.parquet", table),
    ]
    outputs = []
    for file in files:
        output = shell.folder / f"out-{file.suffix[1:]}.avro"
        code, said, error = shell(file, "--output", output, "--model", "null")
        assert code == 0, error
        assert said.startswith(f"300 claims scored to {output}")
        outputs.append([{**record, "input_topic": ""} for record in read(output)])
    assert outputs[0] == outputs[1] == outputs[2]
    assert [record["claim_id"] for record in outputs[0]] == table.column("claim_id").to_pylist()


def test_a_run_that_was_stopped_goes_on_and_says_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(shell.folder / "in.parquet", claims(5_000))
    arguments = (file, "--output", shell.folder / "out.csv", "--model", "null")
    score = OfflineScorer.score

    def stopped(self: OfflineScorer, admitted: Any) -> Any:
        if admitted.portion.first:
            raise KeyboardInterrupt
        return score(self, admitted)

    with monkeypatch.context() as patch:
        patch.setattr(OfflineScorer, "score", stopped)
        code, _, said = shell(*arguments)
    assert code == 1
    assert "stopped by the keyboard after 2048 of 5000 claims; the same command goes on there" in said
    code, said, _ = shell(*arguments)
    assert code == 0
    assert "2,048 of them had been scored before the run was broken off" in said
    assert shell.names() == ["in.parquet", "out.csv"]


CHANGED = (
    "in.parquet changed while it was read: nothing of what it is now was kept; give the same command again"
)


def test_a_file_that_changes_before_a_claim_was_kept_leaves_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, output = write_parquet(shell.folder / "in.parquet", claims(5_000)), shell.folder / "out.csv"

    def exchanged(*given: Any, **options: Any) -> Any:
        write_parquet(shell.folder / "new.parquet", claims(3_000, 9)).replace(file)
        return step(*given, **options)

    for owner, name in ((stream.offline, "origin_of"), (OfflineScorer, "score")):
        step = getattr(owner, name)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, exchanged)
            code, _, said = shell(file, "--output", output, "--model", "null")
        assert (code, CHANGED in said) == (2, True), said
        assert shell.names() == ["in.parquet"]
        write_parquet(file, claims(5_000))
    assert shell.summary(file, "--output", output, "--model", "null")["scored"] == 5_000


def test_a_file_that_changes_later_on_keeps_what_was_scored_of_what_it_was(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, output = write_parquet(shell.folder / "in.parquet", claims(5_000)), shell.folder / "out.csv"
    whole, keep = file.read_bytes(), Store.keep

    def overwritten(self: Store, portion: Any, scored: Any) -> None:
        keep(self, portion, scored)
        write_parquet(file, claims(5_000, 9))

    with monkeypatch.context() as patch:
        patch.setattr(Store, "keep", overwritten)
        code, _, said = shell(file, "--output", output, "--model", "null")
    assert (code, CHANGED in said) == (2, True), said
    code, _, said = shell(file, "--output", output, "--model", "null")
    assert (code, "was begun from" in said) == (2, True)
    file.write_bytes(whole)
    assert shell.summary(file, "--output", output, "--model", "null")["resumed"] == 2_048


def test_a_joined_table_that_changes_is_named(shell: Shell) -> None:
    mapping = load_mapping("synthea")
    file = shell.write("claims.csv", "")
    name = next(iter(mapping.tables.values())).file
    table = shell.write(f"{name}.csv.gz", "a")
    inputs = Inputs.of(file, mapping)
    inputs.check()
    table.write_text("ab")
    with pytest.raises(UsageError, match=rf"{name}\.csv\.gz changed while it was read"):
        inputs.check()
    inputs = Inputs.of(file, mapping)
    shell.write(f"{name}.csv", "preferred to the packed one")
    with pytest.raises(UsageError, match=f"{name}.csv"):
        inputs.check()
    inputs = Inputs.of(file, mapping)
    file.unlink()
    with pytest.raises(UsageError, match=r"claims\.csv changed"):
        inputs.check()


def test_what_cannot_be_scored_is_refused_before_anything_is_written(shell: Shell) -> None:
    whole = write_parquet(shell.folder / "in.parquet", claims(50))
    cut = shell.folder / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-100])
    rows = shell.write("claims.csv", ROWS)
    output = shell.folder / "out.parquet"
    nowhere = shell.folder / "no" / "out.csv"
    absent = shell.write("absent.yaml", f"cache: {{repository: {shell.folder / 'absent'}}}\n")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((cut, "--output", output), "cut.parquet"),
        ((rows, "--output", output), "--mapping is missing"),
        ((whole, "--output", shell.folder / "out.txt"), "results are written as .parquet, .avro, .csv"),
        ((whole, "--output", nowhere, "--model", "null"), "cannot be made: No such file"),
        ((whole, "--output", output, "--model", "clams_filter"), "the nearest are claims_filter"),
        ((shell.folder / "in.parque", "--output", output), "in.parquet"),
        ((whole, "--output", output, "--model", "claims_filter:production"), NO_REPOSITORY),
        ((whole, "--output", output, "--config", absent), "absent: there is no such folder"),
    ]
    before = shell.names()
    for arguments, said in cases:
        code, _, error = shell(*arguments)
        assert (code, said in error) == (2, True), error
    assert shell.names() == before


def test_a_model_of_another_feature_spec_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(shell.folder / "in.parquet", claims(50))
    version = shell.folder / "repository" / "claims_filter" / "2.1.0"
    shutil.copytree(SHIPPED / "claims_filter" / "2.1.0", version)
    spec = {"length": 48, "codes": 8, "token_attributes": [], "number_attributes": ["age"], "buckets": 17}
    edited(version, features=spec)
    monkeypatch.setenv("CLAIMSTREAM_CACHE__REPOSITORY", str(shell.folder / "repository"))
    code, _, said = shell(file, "--output", shell.folder / "out.csv")
    assert code == 2
    assert "claims_filter" in said
    assert "not the tensors of this architecture" in said
    assert shell.names() == ["in.parquet", "repository"]


def test_a_resumed_output_of_another_mapping_is_refused(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, mapping = shell.write("claims.csv", ROWS), shell.write("mapping.yaml", MAPPING)
    arguments = (file, "--mapping", mapping, "--output", shell.folder / "out.csv", "--model", "null")
    with monkeypatch.context() as patch:
        patch.setattr("stream.offline.Store.deliver", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert shell(*arguments)[0] == 130
    folder = shell.folder / "out.csv.partial"
    begun = {path.name: path.read_bytes() for path in folder.iterdir()}
    shell.write("mapping.yaml", MAPPING.replace("CHARGE", "{column: CHARGE, default: '0'}"))
    code, _, said = shell(*arguments)
    assert code == 2
    assert "was begun by the mapping" in said
    assert "name another --output, or remove that folder to start over" in said
    assert begun == {path.name: path.read_bytes() for path in folder.iterdir()}
    shell.write("mapping.yaml", "# A comment changes nothing.\n" + MAPPING)
    code, _, said = shell(file.rename(shell.folder / "renamed.csv"), *arguments[1:])
    assert code == 2
    assert (
        "with the input_topic claims.csv, the name of its file; this run is with the input_topic renamed.csv"
        in said
    )
    (shell.folder / "sub").mkdir()
    arguments = ((shell.folder / "renamed.csv").rename(shell.folder / "sub" / "claims.csv"), *arguments[1:])
    assert shell(*arguments)[0] == 0


def test_a_file_of_which_no_row_makes_a_claim_is_refused_with_the_reason(shell: Shell) -> None:
    rows = "\n".join(line for line in ROWS.splitlines() if "never" in line or "ID" in line) + "\n"
    file, mapping = shell.write("claims.csv", rows), shell.write("mapping.yaml", MAPPING)
    output, rejects = shell.folder / "out.csv", shell.folder / "rejects.csv"
    code, _, said = shell(file, "--mapping", mapping, "--output", output, "--rejects", rejects)
    assert code == 2
    assert "'never' is not a date" in said
    assert "'never' is not a date" in rejects.read_text()
    lost = {"claim_id": "A", "claim_type": "x", "member_id": None, "service_date": "never"}
    unfit = write_json(shell.folder / "in.jsonl", [lost])
    assert shell(unfit, "--output", output, "--model", "null")[0] == 2
    assert list(shell.folder.glob("out.csv*")) == []


def test_where_no_claim_has_a_score_there_is_no_output_and_the_reason_is_told(shell: Shell) -> None:
    file, mapping = shell.write("claims.csv", ROWS), shell.write("mapping.yaml", MAPPING)
    config = shell.write("stream.yaml", "routes: {vision: ['null']}\n")
    output, rejects = shell.folder / "out.csv", shell.folder / "rejects.csv"
    arguments = (file, "--mapping", mapping, "--output", output, "--rejects", rejects, "--config", config)
    code, _, said = shell(*arguments)
    assert code == 1
    assert "none of the 3 claims of" in said
    assert "(row 2) because: no route for claim type 'professional'" in said
    assert len(rejects.read_text().splitlines()) == 5
    assert list(shell.folder.glob("out.csv*")) == []
    shell.write("stream.yaml", "routes: {professional: ['null']}\n")
    code, said, _ = shell(*arguments)
    assert code == 0
    assert "claims that could not be scored: 1" in said


def test_a_folder_that_cannot_be_removed_is_a_line_beside_the_summary(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> NoReturn:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    file, output = write_parquet(shell.folder / "in.parquet", claims(50)), shell.folder / "out.csv"
    monkeypatch.setattr(Path, "rmdir", refused)
    code, text, said = shell(file, "--output", output, "--model", "null", "--json")
    assert (code, json.loads(text)["scored"]) == (0, 50)
    assert said.splitlines()[-1].startswith(f"{output}.partial cannot be removed: Directory not empty")
    assert len(read_lines(output)) == 50


def test_columns_that_are_no_part_of_a_claim_are_named(shell: Shell) -> None:
    file = shell.write("claims.csv", ROWS.replace("CHARGE", "CHARGES"))
    mapping = shell.write("mapping.yaml", MAPPING.replace("line: {charge: CHARGE}\n", ""))
    arguments = (file, "--mapping", mapping, "--model", "null", "--output")
    code, _, said = shell(*arguments, shell.folder / "a.csv")
    assert code == 0
    assert "left out, as no part of a claim: CHARGES" in said.splitlines()
    assert shell.summary(*arguments, shell.folder / "b.csv")["ignored"] == ["CHARGES"]


def test_the_commands_of_the_page_do_what_it_says(
    tmp_path: Path, capsys: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "offline.md").read_text(encoding="utf-8")
    ((name, text),) = re.findall(r"^```csv (\S+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ((block),) = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for line in block.splitlines():
        assert main.run(shlex.split(line)[1:]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3 claims scored to scores.parquet")
    assert {"claims": 3, "scored": 3, "rejected": 1}.items() <= json.loads(said[1]).items()
    assert "5,C-4,claim.service_date: 'some day' is not a date" in (tmp_path / "rejects.csv").read_text()
    assert [line["claim_id"] for line in read_lines(tmp_path / "scores.csv")] == ["C-1", "C-2", "C-3"]
