"""Programs that a benchmark starts: whether they still run, and what they said last where they do not."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

_END_SECONDS = 60.0
_LAST_BYTES, _LAST_LINES = 8_192, 5


class Program:
    """A process in a session of its own; what it writes to standard error is kept.

    `lasting`: it is to run until it is ended, and may do so in good order; others end by themselves.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, lasting: bool
    ) -> None:
        self._name = name
        self._lasting = lasting
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the program
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=self._words,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises RuntimeError where it has ended and should not have, or has failed."""
        code = self._process.poll()
        if code or (code is not None and self._lasting):
            raise RuntimeError(f"{self._name} ended with {code}: {self._last_words()}")

    def finish(self) -> None:
        """Wait until it has done its work. Raises RuntimeError where it failed."""
        self._process.wait()
        self.check()

    def end(self) -> None:
        """Whatever it does."""
        if self._lasting:
            self._process.terminate()
        else:
            self._process.kill()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._words.close()

    def _last_words(self) -> str:
        descriptor = self._words.fileno()
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, _LAST_BYTES, max(size - _LAST_BYTES, 0)).decode(errors="replace")
        return "\n".join(text.splitlines()[-_LAST_LINES:]) or "it said nothing"


@contextmanager
def program(
    name: str, command: Sequence[str], environment: Mapping[str, str], *, lasting: bool
) -> Iterator[Program]:
    """A program that is ended with the block."""
    started = Program(name, command, environment, lasting=lasting)
    try:
        yield started
    finally:
        started.end()
