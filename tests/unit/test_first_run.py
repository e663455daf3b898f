"""What a first run meets: narrow terminals, no terminal, homes that cannot be written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stream.cli import main
from tests.documents import ROOT

ESCAPE = "\x1b"


def every_command(
    group: click.Group, words: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found.append(((*words, name), command))
        if isinstance(command, click.Group):
            found += every_command(command, (*words, name))
    return found


def test_help_fits_80_columns() -> None:
    for words, _ in every_command(main.claimstream):
        shown = CliRunner().invoke(
            main.claimstream, [*words, "--help"], terminal_width=80, max_content_width=80
        )
        wide = [line for line in shown.output.splitlines() if len(line) > 80]
        assert not wide, (words, wide)
        assert ESCAPE not in shown.output


def test_uv_keeps_its_downloads_in_the_clone_where_the_home_cannot_be_written(tmp_path: Path) -> None:
    home = tmp_path / "no folder can be made below a file"
    home.write_text("")
    kept = cache_of_make({"HOME": str(home)})
    assert kept == str(ROOT / ".venv" / "cache")
    assert cache_of_make({"HOME": str(tmp_path / "home")}) == ""
    assert cache_of_make({"HOME": str(home), "UV_CACHE_DIR": str(tmp_path / "own")}) == str(tmp_path / "own")


def without_caches() -> dict[str, str]:
    """This environment without what names a cache folder."""
    return {
        name: value for name, value in os.environ.items() if name not in ("UV_CACHE_DIR", "XDG_CACHE_HOME")
    }


def cache_of_make(variables: dict[str, str]) -> str:
    recipe = 'include Makefile\nshow:\n\t@echo "[$$UV_CACHE_DIR]"\n'
    done = subprocess.run(
        ["make", "--no-print-directory", "-f", "-", "show"],
        input=recipe,
        cwd=ROOT,
        env={**without_caches(), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    (kept,) = re.findall(r"\[(.*)\]", done.stdout)
    return str(kept)


@pytest.mark.parametrize(
    ("version", "system", "machine", "said"),
    [
        ((3, 10, 9), "linux", "x86_64", "Python 3.11 to 3.13 is needed"),
        ((3, 14, 0), "linux", "x86_64", "make clean, then make PYTHON=python3.13 demo"),
        ((3, 13, 1), "darwin", "x86_64", "Linux on x86-64 or arm64 is needed, or macOS on Apple silicon"),
        ((3, 13, 1), "darwin", "arm64", ""),
        ((3, 11, 0), "linux", "aarch64", ""),
    ],
)
def test_an_interpreter_without_packages_is_refused_before_anything_is_made(
    tmp_path: Path, version: tuple[int, ...], system: str, machine: str, said: str
) -> None:
    (tmp_path / "Makefile").symlink_to(ROOT / "Makefile")
    interpreter = tmp_path / "python"
    posing = f"import platform, sys; sys.version_info = {version}; sys.platform = {system!r}"
    posing += f"; platform.machine = lambda: {machine!r}; exec(sys.argv[1])"
    interpreter.write_text(
        f'#!/bin/sh\ntest "$1" = -c || {{ echo "told: $*"; exit 1; }}\n'
        f'exec {sys.executable} -c "{posing}" "$2"\n'
    )
    interpreter.chmod(0o700)
    done = subprocess.run(
        ["make", f"PYTHON={interpreter}", ".venv/uv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("told: -m venv" in done.stdout) == (not said)
    assert said in done.stderr
    assert not (tmp_path / ".venv" / "uv").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demonstration_without_a_home_a_network_or_a_terminal(tmp_path: Path) -> None:
    """In a folder with spaces; what was downloaded before lies in another cache folder."""
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    (tmp_path / "home").write_text("")
    (folder / "claimstream").symlink_to(Path(sys.executable).parent / "claimstream")
    isolated = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0
    prefix = ["unshare", "-rn", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"] if isolated else []
    for cached in (False, True):
        done = subprocess.run(
            [*(prefix if cached else []), "./claimstream", "demo", "--claims", "300"],
            cwd=folder,
            env={
                **without_caches(),
                "HOME": str(tmp_path / "home"),
                "TMPDIR": str(tmp_path),
                "COLUMNS": "80",
            },
            capture_output=True,
            text=True,
            timeout=140,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "\nPASSED: " in done.stdout
        assert ESCAPE not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
