"""How long a reader of topics has heard nothing of the partitions that it still wants."""

from __future__ import annotations

from collections.abc import Collection, Container


def quiet_after(quiet: float, came: Collection[int], wanted: Container[int], waited: float) -> float:
    """Seconds of silence after a look that brought something of the partitions `came`, or waited in vain.

    What comes of partitions that are read to their end breaks no silence. It lengthens none either: it may have been
    there at once.
    """
    if any(partition in wanted for partition in came):
        return 0.0
    return quiet if came else quiet + waited
