"""What signals to end mean from a process's first moment on; it imports nothing that takes time."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence


def heed(arguments: Sequence[str]) -> None:
    """For as long as the imports of a command take, and beyond where it puts nothing in place of this.

    Of the first process of a container the system ignores SIGTERM where there is no handler.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command == "run":
        for number in (signal.SIGINT, signal.SIGTERM):
            # Nothing was started yet. An exception would go through the imports of others, some of which catch it.
            signal.signal(number, lambda *_: os._exit(0))
    else:
        # What a command started ends with it, as after Ctrl-C: brokers, stages, publishers.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
