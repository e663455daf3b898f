"""README and docs as the tests see them: their commands, their files, their links; and a place to run them in."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.stage import free_port

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BACKGROUND = " &"
_EXPORT = re.compile(r"export (\w+)=(\S+)")
_END = re.compile(r"kill %(\d+); wait %\1")
# The folder that pages take for a repository.
_REPOSITORY = re.compile(r"(?<![\w./])/models\b")
_BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"^```\w+ (\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """The commands of a page's `sh` and `console` blocks; one that goes on in the next line is one."""
    lines = "".join(_BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"\s+# .*", "", line).strip())]


def files(text: str) -> dict[str, str]:
    """The blocks that are named after their language, such as ```python publish.py."""
    return dict(_FILE.findall(text))


class Shell:
    """Runs commands in a copy of the repository, with ports and folders of its own for those that pages name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {port: str(free_port()) for port in ("9092", "8000", "8001")}
        self._environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CLAIMSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
        }
        self._background: list[subprocess.Popen[bytes]] = []
        for entry in ROOT.iterdir():
            if entry.name not in (".git", "out"):
                (folder / entry.name).symlink_to(entry)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._ports['9092']}"

    def write(self, named: Mapping[str, str]) -> None:
        for name, text in named.items():
            (self.folder / name).write_text(self._own(text), encoding="utf-8")

    def run(self, command: str, code: int = 0) -> str:
        """What it prints; nothing of one that goes on in the background, once that is ready."""
        if found := _EXPORT.fullmatch(command):
            self._environment[found[1]] = self._own(found[2])
            return ""
        if command.endswith(BACKGROUND):
            self._start(command)
            return ""
        if found := _END.fullmatch(command):
            self._end(int(found[1]))
            return ""
        done = subprocess.run(
            ["bash", "-c", self._own(command)],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}: {done.stderr}"
        return done.stdout

    def end(self) -> None:
        for process in reversed(self._background):
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def _end(self, job: int) -> None:
        """As a shell does with the number that it gave what it started in the background."""
        process = self._background[job - 1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, f"job {job} ended with {process.returncode}"

    def _own(self, text: str) -> str:
        for documented, own in self._ports.items():
            text = re.sub(rf"\b{documented}\b", own, text)
        return _REPOSITORY.sub(f"{self.folder}/models-of-ours", text)

    def _start(self, command: str) -> None:
        started = subprocess.Popen(
            ["bash", "-c", f"exec {self._own(command.removesuffix(BACKGROUND))}"],
            cwd=self.folder,
            env=self._environment,
        )
        self._background.append(started)
        deadline = time.monotonic() + 60
        while not self._answers(command):
            assert time.monotonic() < deadline, f"{command} does not answer"
            assert started.poll() is None, f"{command} ended"
            time.sleep(0.2)

    def _answers(self, command: str) -> bool:
        try:
            if " run " in command:
                port = self._ports["8000" if "8000" in command else "8001"]
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                    return True
            with socket.create_connection(("127.0.0.1", int(self._ports["9092"])), timeout=2):
                return True
        except OSError:
            return False
