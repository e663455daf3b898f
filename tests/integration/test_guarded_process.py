"""A guarded child lives as long as its parent wants, and never longer than the parent."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stream.embedded.process import GuardedProcess
from stream.errors import FatalError
from tests.stage import gone

SLEEP = ["sleep", "600"]

# Forks once so that a process other than the parent holds the pipe open, too.
PARENT = """
import multiprocessing, sys, time
from pathlib import Path
from stream.embedded.process import GuardedProcess
room = Path(sys.argv[1])
child = GuardedProcess(sys.argv[2:], room / "log", remove=room)
sibling = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
sibling.start()
print(child.pid, sibling.pid, flush=True)
time.sleep(600)
"""


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_stop_ends_it_politely_even_when_it_is_paused(tmp_path: Path) -> None:
    polite = ["sh", "-c", "trap 'echo farewell; exit' TERM; echo ready; while true; do sleep 0.02; done"]
    process = GuardedProcess(polite, tmp_path / "log", grace=10.0)
    assert eventually(lambda: "ready" in process.tail())
    process.pause()
    assert process.alive
    assert psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
    process.stop()
    assert gone(process.pid)
    assert process.tail().endswith("farewell")


def test_it_can_be_asked_to_end_itself_and_says_when_it_does_not(tmp_path: Path) -> None:
    process = GuardedProcess(SLEEP, tmp_path / "log")
    process.end(10.0)
    assert gone(process.pid)
    deaf = GuardedProcess(
        ["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.02; done"], tmp_path / "deaf"
    )
    assert eventually(lambda: "ready" in deaf.tail())
    with pytest.raises(FatalError, match="did not end within 0 s"):
        deaf.end(0.2)
    deaf.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process ask to die with another")
def test_ends_with_its_guardian(tmp_path: Path) -> None:
    process = GuardedProcess(SLEEP, tmp_path / "log")
    process._guardian.kill()
    assert eventually(lambda: gone(process.pid))
    process.stop()


def test_paused_child_goes_on_when_resumed(tmp_path: Path) -> None:
    process = GuardedProcess(["sh", "-c", "while true; do echo tick; sleep 0.01; done"], tmp_path / "log")
    process.pause()
    before = (tmp_path / "log").stat().st_size
    process.resume()
    assert eventually(lambda: (tmp_path / "log").stat().st_size > before)
    process.stop()


def test_kill_leaves_its_files(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    process = GuardedProcess(SLEEP, room / "log", remove=room)
    process.kill()
    assert not process.alive
    assert room.is_dir()


def test_deaf_child_is_killed_after_the_grace(tmp_path: Path) -> None:
    deaf = ["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done"]
    process = GuardedProcess(deaf, tmp_path / "log", grace=0.2)
    assert eventually(lambda: "ready" in process.tail())
    process.stop()
    assert gone(process.pid)


def test_signal_to_an_ended_child_tells_the_end_of_its_log(tmp_path: Path) -> None:
    process = GuardedProcess(["sh", "-c", "echo out of luck"], tmp_path / "log")
    assert eventually(lambda: not process.alive)
    with pytest.raises(FatalError, match="out of luck"):
        process.pause()
    process.stop()


def test_command_that_cannot_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"no-such-program could not be started: .*No such file"):
        GuardedProcess(["no-such-program"], tmp_path / "log")


def test_ends_with_a_killed_parent_and_takes_its_folder_along(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(room), *SLEEP], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child, sibling = map(int, parent.stdout.readline().split())
    try:
        assert not gone(child)
        parent.kill()
        parent.wait()
        assert eventually(lambda: gone(child))
        assert eventually(lambda: not room.exists())
        assert not gone(sibling)
    finally:
        psutil.Process(sibling).kill()
        parent.stdout.close()
