"""How much it matters that a model stays."""

from __future__ import annotations

from enum import IntEnum


class ModelPriority(IntEnum):
    """Classes of models: a lower one never pushes out a higher one that is in use."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3

    @classmethod
    def named(cls, name: str) -> ModelPriority:
        """The class of that name in any case. Raises ValueError that lists the names."""
        try:
            return cls[name.upper()]
        except KeyError:
            known = ", ".join(member.name.lower() for member in cls)
            raise ValueError(f"no priority {name!r}; there are {known}") from None
