"""What an optional part of the installation brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stream.errors import UsageError


@contextmanager
def embedded_for(who: str) -> Iterator[None]:
    """Raises UsageError that says how to install the extra, where something imported inside is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed; {who} needs: "
            "pip install --require-hashes -r requirements.txt, in the clone"
        ) from error
