"""A child process that ends with its parent and writes to a log file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stream.embedded import guardian
from stream.errors import FatalError

_LAST_LINES = 25
_STOP_SECONDS = 10.0


class GuardedProcess:
    """Runs `command` under a guardian; it gets `grace` seconds to end politely, 0 kills it at once.

    `remove` is a folder that goes with the process when its parent ends it or is gone. Raises FatalError when
    the command cannot be run.
    """

    def __init__(
        self, command: Sequence[str], log: Path, *, grace: float = 0.0, remove: Path | None = None
    ) -> None:
        self._log = log
        self._guardian = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                guardian.__file__,
                str(log),
                str(grace),
                str(remove or ""),
                *command,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        answer = self._guardian.stdout.readline().decode().strip() if self._guardian.stdout else ""
        if not answer.isdigit():
            self.stop()
            raise FatalError(f"{command[0]} could not be started: {answer or 'no reason given'}")
        self.pid = int(answer)

    @property
    def alive(self) -> bool:
        """Whether the child runs or is stopped; its guardian ends right after it."""
        return self._guardian.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child. Raises FatalError when it has ended."""
        if not self.alive:
            raise FatalError(f"the process has ended; the end of its log:\n{self.tail()}")
        os.kill(self.pid, number)

    def pause(self) -> None:
        """Stop the child in its tracks; when this returns none of its threads runs."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + _STOP_SECONDS
        while not self._stands_still():
            if time.monotonic() > deadline:
                raise FatalError(f"process {self.pid} did not stop within {_STOP_SECONDS:.0f} s")
            time.sleep(0.001)

    def resume(self) -> None:
        """Let a paused child go on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the child as a crash would; its files stay."""
        self.signal(signal.SIGKILL)
        self._guardian.wait()
        self.stop()

    def end(self, seconds: float) -> None:
        """Ask the child itself to end; its files stay. Raises FatalError when it has not after so many seconds."""
        self.signal(signal.SIGTERM)
        try:
            self._guardian.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise FatalError(f"process {self.pid} did not end within {seconds:.0f} s") from error
        self.stop()

    def ask_to_end(self) -> None:
        """Begin what `stop` waits for."""
        if self._guardian.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guardian.stdin.close()

    def stop(self) -> None:
        """End the child as it would end with its parent, and wait for that."""
        self.ask_to_end()
        self._guardian.wait()
        if self._guardian.stdout is not None:
            self._guardian.stdout.close()

    def _stands_still(self) -> bool:
        """Where the system does not tell, its word for the signal is taken."""
        threads = Path(f"/proc/{self.pid}/task")
        if not threads.is_dir():
            return True
        states = [_state(thread / "stat") for thread in threads.iterdir()]
        return set(states) <= {"T", "t", "ended"}

    def tail(self) -> str:
        """The last lines of its log."""
        if not self._log.exists():
            return "(there is no log)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def _state(stat: Path) -> str:
    """The letter that Linux keeps for a thread, after its name in parentheses."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "ended"
