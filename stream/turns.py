"""Small pieces of work take turns; large ones run side by side."""

from __future__ import annotations

import sys
import threading
from contextlib import AbstractContextManager, nullcontext

# Seconds; the default of 0.005 is what each hand-over of the lock would take where threads share it.
_SWITCH_INTERVAL = 0.0005


def hand_over_quickly() -> None:
    """Have the threads of this process give the interpreter lock up sooner."""
    sys.setswitchinterval(_SWITCH_INTERVAL)


class Turns:
    """Keeps threads that do small work from fighting over the interpreter lock.

    A small batch is dozens of short calls that each let the interpreter lock go and must win it back from a thread
    that is busy with a small batch of its own; both then take several times as long as one after the other. In large
    batches the time is spent inside the calls, and running side by side pays.
    """

    def __init__(self, small: int) -> None:
        self._small = small
        self._lock = threading.Lock()

    def take(self, claims: int) -> AbstractContextManager[object]:
        """Held while working on so many claims."""
        return self._lock if claims < self._small else nullcontext()
