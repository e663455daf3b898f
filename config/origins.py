"""Where an effective value comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Origin:
    """`text` is `default`, `FILE:LINE`, `environment NAME` or `command line`."""

    text: str = "default"

    @property
    def explicit(self) -> bool:
        """Whether somebody set the value: what cannot hold then is an error, not a warning."""
        return self.text != "default"

    @classmethod
    def of_file(cls, path: Path, line: int) -> Origin:
        return cls(f"{path}:{line}")

    @classmethod
    def of_environment(cls, variable: str) -> Origin:
        return cls(f"environment {variable}")

    @classmethod
    def of_command_line(cls) -> Origin:
        return cls("command line")


def nearest_origin(name: str, origins: dict[str, Origin]) -> Origin:
    """Origin of a dotted name, or of the innermost thing around it that has one."""
    while name not in origins and "." in name:
        name = name.rpartition(".")[0]
    return origins.get(name, Origin())
