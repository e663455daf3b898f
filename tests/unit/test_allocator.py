"""Freed memory stays with the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, threading
import numpy as np
from stream.allocator import keep_freed_memory

def batches(count):
    for _ in range(count):
        [np.ones(1 << 21, np.uint8) for _ in range(8)]

def work():
    batches(5)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    batches(50)
    print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

if {keep}:
    keep_freed_memory()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(*, keep: bool) -> int:
    script = FAULTS.replace("{keep}", str(keep))
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator only")
def test_a_thread_that_frees_and_allocates_again_faults_no_page_in() -> None:
    assert faults(keep=True) < 100 < faults(keep=False)
