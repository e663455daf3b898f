"""Signals to end are heard while a command is still importing, as the first process of a container must."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def catches(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (mask,) = re.findall(r"SigCgt:\s+(\w+)", status)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell of handlers")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run", "--bootstrap", "127.0.0.1:1"), 0),
        (("publish", "--generate", "9"), -signal.SIGINT),
        (("demo",), -signal.SIGINT),
    ],
)
def test_a_stop_during_the_imports_is_heard(arguments: tuple[str, ...], code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "stream", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not catches(process, signal.SIGTERM):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, "")
    if code == 0:
        assert said == ""
