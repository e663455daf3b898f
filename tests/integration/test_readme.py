"""Every command of the README, run as it stands, in order."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stage import free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()
]
BACKGROUND = " &"


class Shell:
    """Runs commands in the repository, with ports and folders of its own for those that the README names."""

    def __init__(self, folder: Path) -> None:
        self._ports = {"9092": str(free_port()), "8000": str(free_port())}
        self._own = {**self._ports, "out/": f"{folder}/"}
        self._background: list[subprocess.Popen[bytes]] = []

    def run(self, command: str) -> str:
        for documented, own in self._own.items():
            command = command.replace(documented, own)
        if command.endswith(BACKGROUND):
            started = subprocess.Popen(f"exec {command.removesuffix(BACKGROUND)}", shell=True, cwd=ROOT)
            self._background.append(started)
            self._await_background(command)
            return ""
        done = subprocess.run(
            command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def end(self) -> None:
        for process in reversed(self._background):
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def _await_background(self, command: str) -> None:
        deadline = time.monotonic() + 60
        while not self._answers(command):
            assert time.monotonic() < deadline, f"{command} does not answer"
            assert self._background[-1].poll() is None, f"{command} ended"
            time.sleep(0.2)

    def _answers(self, command: str) -> bool:
        try:
            if " run " in command:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._ports['8000']}/readyz", timeout=2):
                    return True
            with socket.create_connection(("127.0.0.1", int(self._ports["9092"])), timeout=2):
                return True
        except OSError:
            return False


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    started = Shell(tmp_path)
    yield started
    started.end()


@pytest.mark.timeout(300)
def test_every_command_does_what_the_readme_says(shell: Shell) -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]
    said = {command: shell.run(command) for command in COMMANDS[2:]}
    tail = next(text for command, text in said.items() if "claimstream tail" in command)
    assert len([line for line in tail.splitlines() if "claims_filter" in line]) == 5
    listed = next(text for command, text in said.items() if "models list" in command)
    assert re.search(r"claims_filter +2\.2\.0 .*production, latest", listed)
    assert said["curl --silent http://127.0.0.1:8000/readyz"] == "ready\n"


def test_the_two_commands_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)


def test_every_file_that_the_readme_points_at_exists() -> None:
    targets = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
