"""The folder that a model is trained into."""

from __future__ import annotations

import tempfile
from pathlib import Path

from stream.errors import UsageError


def check_free(folder: Path) -> None:
    """Raises UsageError where something is there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; nothing is overwritten: name another folder (--output)")


def make_place(folder: Path) -> None:
    """The folder, empty; what would show only after minutes of training. Raises UsageError."""
    check_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written to: {error.strerror}; name another folder (--output)"
        ) from error
