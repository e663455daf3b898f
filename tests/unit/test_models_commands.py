"""`claimstream models`: what the commands print, write, refuse and exit with."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from models.repository import SHIPPED
from stream.cli import main, output
from stream.cli.models.options import VARIABLE

SHIPPED_VERSION = SHIPPED / "claims_filter" / "2.1.0"

Screen = pytest.CaptureFixture[str]


class Shell:
    """Runs commands on one repository."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        self.folder = folder
        self._screen = screen

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main.run(["models", *arguments, "--repository", str(self.folder)])
        printed = self._screen.readouterr()
        return code, printed.out, printed.err

    def json(self, *arguments: str) -> Any:
        code, text, _ = self(*arguments, "--json")
        assert code == 0
        return json.loads(text)

    def push(self, *arguments: str) -> tuple[int, str, str]:
        return self("push", str(SHIPPED_VERSION), *arguments)


@pytest.fixture
def shell(tmp_path: Path, capsys: Screen) -> Shell:
    return Shell(tmp_path / "repository", capsys)


def test_the_way_of_a_model(shell: Shell) -> None:
    assert shell.push("--version", "2.2.0", "--alias", "production")[:2] == (
        0,
        f"claims_filter:2.2.0: published: {shell.folder}/claims_filter/2.2.0; production is 2.2.0 now\n",
    )
    assert "already there" in shell.push("--version", "2.2.0")[1]
    assert shell.json("push", str(SHIPPED_VERSION), "--version", "2.3.0")["outcome"] == "published"
    ramp = shell("promote", "claims_filter", "2.3.0", "--weight", "10")
    assert ramp[:2] == (0, "claims_filter:production is 2.2.0 90 %, 2.3.0 10 % now\n")
    listed = shell("list")[1]
    assert "production 10 %, latest" in listed
    assert all(len(line) <= 80 for line in listed.splitlines())
    assert shell.json("promote", "claims_filter", "2.3.0")["shares"] == {"2.3.0": 100}
    assert shell.json("rollback", "claims_filter")["shares"] == {"2.2.0": 90, "2.3.0": 10}
    assert shell("rollback", "claims_filter")[1] == "claims_filter:production is 2.2.0 now\n"
    assert "claims_filter:2.3.0  whole" in shell("verify")[1]
    assert shell("remove", "claims_filter:2.3.0")[:2] == (0, "claims_filter:2.3.0: removed\n")
    assert shell("gc", "--days", "0")[1] == "nothing to remove\n"
    rows = shell.json("list")["models"]
    assert [(row["version"], row["ships"], row["latest"]) for row in rows] == [
        ("2.1.0", True, False),
        ("2.2.0", False, True),
    ]


def test_show_tells_the_manifest_and_the_history(shell: Shell) -> None:
    shell.push("--version", "2.2.0", "--alias", "production")
    shell.push("--version", "2.3.0", "--alias", "production")
    code, text, _ = shell("show", "claims_filter:production")
    assert code == 0
    assert "claims_filter 2.3.0, variant default" in text
    assert [line.split()[0] for line in text.splitlines()[-2:]] == ["production", "before"]
    document = shell.json("show", "claims_filter:2.2.0")
    assert document["manifest"]["version"] == "2.2.0"
    assert document["aliases"]["production"]["before"][0]["shares"] == {"2.2.0": 100}


def test_garbage_is_listed_before_it_goes(shell: Shell) -> None:
    for version in ("2.2.0", "2.3.0"):
        shell.push("--version", version)
    assert "claims_filter:2.2.0" in shell("gc", "--days", "0", "--dry-run")[1]
    assert shell.json("gc", "--days", "0")["versions"][0]["version"] == "2.2.0"
    assert [row["version"] for row in shell.json("list")["models"]] == ["2.1.0", "2.3.0"]


def test_verify_names_what_is_damaged_and_fails(shell: Shell) -> None:
    shell.push("--version", "2.2.0")
    weights = shell.folder / "claims_filter" / "2.2.0" / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    code, text, _ = shell("verify", "claims_filter:2.2.0")
    assert code == 1
    assert "its BLAKE3 is" in " ".join(text.split())
    code, text, _ = shell("verify", "--json")
    assert code == 1
    assert [bool(found["faults"]) for found in json.loads(text)["versions"]] == [False, True]
    assert "repaired" in shell.push("--version", "2.2.0")[1]
    assert shell("verify")[0] == 0


def test_a_copy_that_was_interrupted_is_removed_and_pushed_anew(shell: Shell) -> None:
    shell.push("--version", "2.2.0")
    (shell.folder / "claims_filter" / "2.2.0" / "manifest.json").unlink()
    code, _, said = shell.push("--version", "2.2.0")
    assert code == 1
    assert "remove it and push anew" in " ".join(said.split())
    assert shell("remove", "claims_filter:2.2.0")[:2] == (0, "claims_filter:2.2.0: removed\n")
    assert shell("remove", "claims_filter:2.2.0")[0] == 2
    assert "published" in shell.push("--version", "2.2.0")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "claim_filter"], 2, "the nearest are claims_filter_v2.2"),
        (["promote", "claims_filter", "9.9.9"], 2, "with version '9.9.9' in "),
        (
            ["promote", "claims_filter", "2.2.0", "--weight", "10"],
            1,
            "nothing but 2.2.0 that could keep 90 %",
        ),
        (["promote", "claims_filter", "2.2.0", "--weight", "0"], 2, "not in the range"),
        (["promote", "claims_filter", "2.2.0", "--alias", "latest"], 1, "is no name for an alias"),
        (["rollback", "claims_filter"], 1, "nothing to go back to"),
        (["rollback", "other"], 2, "no model 'other'"),
        (["remove", "claims_filter"], 2, "would be claims_filter:2.2.0; say so"),
        (["remove", "claims_filter:2.1.0"], 1, "ships with claimstream"),
        (["push", "absent"], 2, "does not exist"),
        (["push", "."], 2, "manifest.json: cannot be read"),
        (["push", str(SHIPPED_VERSION), "--version", "2.2"], 2, "version: String should match"),
        (["gc"], 2, "Missing option '--days'"),
    ],
)
def test_bad_input_exits_with_2_and_a_refusal_with_1(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    shell.push("--version", "2.2.0")
    monkeypatch.chdir(tmp_path)
    assert (found := shell(*arguments))[0] == code
    assert said in " ".join(found[2].split())
    assert found[1] == ""


@pytest.mark.parametrize(
    "command", [["push", str(SHIPPED_VERSION)], ["rollback", "x"], ["gc", "--days", "1"]]
)
def test_what_writes_asks_for_a_repository(
    capsys: Screen, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main.run(["models", *command]) == 2
    assert f"name its folder with --repository or {VARIABLE}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["show", "claims_filter"],
        ["verify"],
        ["tune", "claims_filter"],
        ["promote", "claims_filter", "2.1.0"],
        ["gc", "--days", "1"],
    ],
)
def test_a_folder_that_is_not_there_is_bad_usage(shell: Shell, command: list[str]) -> None:
    code, text, error = shell(*command)
    assert (code, text) == (2, "")
    assert f"{shell.folder}: there is no such folder; name the repository's with --repository" in error
    assert not shell.folder.exists()


def test_the_environment_names_the_repository(
    tmp_path: Path, capsys: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert main.run(["models", "push", str(SHIPPED_VERSION), "--version", "2.2.0"]) == 0
    monkeypatch.delenv(VARIABLE)
    capsys.readouterr()
    assert main.run(["models", "list", "--json"]) == 0
    assert [row["version"] for row in json.loads(capsys.readouterr().out)["models"]] == ["2.1.0"]
    assert (tmp_path / "claims_filter" / "2.2.0").is_dir()


def test_a_version_that_differs_is_refused_with_the_cure(shell: Shell, tmp_path: Path) -> None:
    shell.push("--version", "2.2.0")
    folder = shutil.copytree(SHIPPED_VERSION, tmp_path / "other")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("0.37", "0.38"))
    code, _, error = shell("push", str(folder), "--version", "2.2.0")
    assert code == 1
    assert "push yours under another with --version" in error


def test_a_damaged_manifest_does_not_hide_the_others(shell: Shell) -> None:
    shell.push("--version", "2.2.0")
    manifest = shell.folder / "claims_filter" / "2.2.0" / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("[")
    assert "damaged" in shell("list")[1]
    assert "not JSON" in shell.json("list")["models"][1]["error"]
    assert shell("verify")[0] == 1


def test_the_commands_come_without_torch() -> None:
    code = (
        "import sys; from stream.cli.main import run; run(['models', 'list']); run(['models', 'promote', '--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_progress_counts_bytes_by_second_on_a_terminal() -> None:
    screen = io.StringIO()
    with output.byte_progress(
        "pushing", 2_000_000, Console(file=screen, force_terminal=True, width=80)
    ) as bar:
        bar.advance(1_000_000)
        bar.advance(1_000_000)
    assert "2.0/2.0 MB" in screen.getvalue()
    assert "/s" in screen.getvalue()
    silent = io.StringIO()
    with output.byte_progress("pushing", 10, Console(file=silent, force_terminal=False)) as bar:
        bar.advance(10)
    assert silent.getvalue() == ""
