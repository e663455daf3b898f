"""Runs one child and ends it when the parent is gone, however that came about.

Started as a plain script: `guardian.py LOG GRACE FOLDER COMMAND…`. The parent holds the write end of standard
input: its end-of-file is the sign, upon which the child gets GRACE seconds to end and FOLDER is removed
(empty text: none). The first line on standard output is the child's process number, or why there is no child.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1
_GLANCE_SECONDS = 1.0


def main() -> int:
    log, grace, folder, *command = sys.argv[1:]
    parent, parent_gone = os.getppid(), threading.Event()
    try:
        child = _started(command, log)
    except OSError as error:
        os.write(1, f"{error}\n".encode())
        return 1
    os.write(1, f"{child.pid}\n".encode())
    watch = threading.Thread(
        target=_end_with_parent, args=(child, float(grace), parent, parent_gone), daemon=True
    )
    watch.start()
    child.wait()
    if folder and parent_gone.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _started(command: list[str], log: str) -> subprocess.Popen[bytes]:
    with open(log, "ab") as sink:  # noqa: PTH123 - importing pathlib would double this process's start time
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, preexec_fn=_die_with_guardian
        )


def _end_with_parent(
    child: subprocess.Popen[bytes], grace: float, parent: int, parent_gone: threading.Event
) -> None:
    _await_end_of(parent)
    parent_gone.set()
    # A stopped process would not see the polite signal.
    child.send_signal(signal.SIGCONT)
    if grace == 0:
        child.kill()
        return
    child.terminate()
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()


def _await_end_of(parent: int) -> None:
    """A forked sibling may hold the pipe open after the parent's death, hence the look at the parent."""
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], _GLANCE_SECONDS)
        if readable and not os.read(0, 1):
            return


def _die_with_guardian() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
