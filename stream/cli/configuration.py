"""Options that commands share for finding the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from config import Settings, load_settings

Function = TypeVar("Function", bound=Callable[..., Any])


def config_option(function: Function) -> Function:
    """`--config FILE`, or CLAIMSTREAM_CONFIG."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="CLAIMSTREAM_CONFIG",
        help="YAML file with settings.",
    )(function)


def effective(config_file: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """Settings of this process; options that were not given do not override."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return load_settings(config_file, environment(), given)


def environment() -> Mapping[str, str]:
    """The process environment, read once a command."""
    return dict(os.environ)
