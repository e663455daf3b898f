"""Finds models by name."""

from __future__ import annotations

import difflib

from models.errors import UnknownModelError
from models.null import NAME as NULL
from models.null import NullModel
from models.protocols import Model


def open_model(name: str, *, threads: int | None = None) -> Model:
    """A model ready to score. Raises UnknownModelError that names the nearest."""
    if name == NULL:
        return NullModel()
    near = difflib.get_close_matches(name, [NULL], 1, 0.0)
    raise UnknownModelError(f"no model {name!r}; the nearest is {near[0]!r} {threads}")
