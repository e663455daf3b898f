"""What commands share to find the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from config import Settings, environment, load_settings

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """Adds --config FILE, as `config_file`."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        envvar="CLAIMSTREAM_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help="Settings in YAML.",
    )(command)


def effective(config_file: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """The settings of this process. `overrides` has options by dotted name; None is one that was not given.

    Raises ConfigurationError.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    return load_settings(config_file, environment.of_process(), given)
