"""Memory that stays: the C library's allocator keeps it for the next batch, Python's collector leaves it alone."""

from __future__ import annotations

import ctypes
import gc
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 1 << 30
_LARGEST_KEPT = 32 << 20


def keep_freed_memory() -> None:
    """Freed tensors stay mapped; else each forward faults its pages in anew (mallopt(3), glibc only).

    In a thread, where scoring runs, that was up to a tenth of a forward's time.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)


def spare_what_stays() -> None:
    """What was imported and built so far is collected no more.

    A full collection goes through all of it, for a tenth of a second in which every thread stands still. Only for a
    process that has no models yet: they lie in cycles, and would keep their weights when they have gone.
    """
    gc.collect()
    gc.freeze()
