"""Runs one child and ends it when the parent is gone, however that came about.

Started as a plain script: `guardian.py LOG GRACE [--remove FOLDER] -- COMMAND`. The parent holds the write end of
standard input; its end-of-file is the sign, upon which FOLDER is removed too. The first line on standard output is the child's process number.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1


def main() -> None:
    options, command = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    log, grace = options[0], float(options[1])
    with open(log, "ab") as sink:  # noqa: PTH123 - pathlib would double this process's start time
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, preexec_fn=_die_with_guardian
        )
    os.write(1, f"{child.pid}\n".encode())
    parent_gone = threading.Event()
    threading.Thread(target=_end_with_parent, args=(child, grace, parent_gone), daemon=True).start()
    child.wait()
    if parent_gone.is_set() and "--remove" in options:
        shutil.rmtree(options[options.index("--remove") + 1], ignore_errors=True)


def _end_with_parent(child: subprocess.Popen[bytes], grace: float, parent_gone: threading.Event) -> None:
    while os.read(0, 1):
        continue
    parent_gone.set()
    # A stopped process would not see the polite signal.
    child.send_signal(signal.SIGCONT)
    child.terminate() if grace else child.kill()
    try:
        child.wait(grace or None)
    except subprocess.TimeoutExpired:
        child.kill()


def _die_with_guardian() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
