"""What a run reads, as it stands: a file that changes meanwhile would mix two inputs in one output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stream.errors import UsageError
from stream.publishing import Mapping as ClaimMapping
from stream.publishing.joining import found_table


@dataclass(frozen=True, slots=True)
class _Stand:
    """What differs once a file was replaced or written to; the time in nanoseconds."""

    device: int
    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """A file and those that the mapping joins to it, as they stood; None: not there, or not to be looked at."""

    path: Path
    mapping: ClaimMapping | None
    stands: dict[Path, _Stand | None]

    @classmethod
    def of(cls, path: Path, mapping: ClaimMapping | None) -> Inputs:
        """As they stand now. To be taken before any of them is opened."""
        tables = [] if mapping is None else mapping.tables.values()
        found = (found_table(path, table) for table in tables)
        places = [path, *(place for place in found if place is not None)]
        return cls(path, mapping, {place: _stand_of(place) for place in places})

    def check(self) -> None:
        """Raises UsageError where one of them is not what it was: what was read since may be of either."""
        now = Inputs.of(self.path, self.mapping).stands
        changed = [place for place in {**self.stands, **now} if self.stands.get(place) != now.get(place)]
        if changed:
            raise UsageError(
                f"{changed[0]} changed while it was read: nothing of what it is now was kept; give the same command"
                " again once it stands still"
            )


def _stand_of(path: Path) -> _Stand | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stand(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
