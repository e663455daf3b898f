"""A child process that ends with its parent and writes to a log file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stream.embedded import guardian

_LAST_LINES = 15


class GuardedProcess:
    """Runs `command` under a guardian. `grace` is how many seconds it may take to end politely; 0 kills at once."""

    def __init__(self, command: Sequence[str], log: Path, *, grace: float = 0.0, remove: Path | None = None) -> None:
        self._log = log
        options = [str(log), str(grace), *(["--remove", str(remove)] if remove else [])]
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, *options, "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        if self._guardian.stdout is None:
            raise RuntimeError("a pipe was asked for")
        self.pid = int(self._guardian.stdout.readline())

    @property
    def alive(self) -> bool:
        """Whether the child itself runs (or is stopped)."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False if Path("/proc/self").exists() else self._guardian.poll() is None
        return state not in {"Z", "X"}

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the child as a crash would; its files stay."""
        self.signal(signal.SIGKILL)
        self._guardian.wait()
        self.stop()

    def stop(self) -> None:
        """End the child as it would end with its parent, and wait for that."""
        if self._guardian.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guardian.stdin.close()
        self._guardian.wait()
        if self._guardian.stdout is not None:
            self._guardian.stdout.close()

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
