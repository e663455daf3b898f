"""What the commands share: where the repository is, and whose fault an error is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from models.errors import ArtifactError, ManifestError, UnknownModelError
from models.housekeeping import Housekeeping
from models.repository import Repository, Target
from stream.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

VARIABLE = "CLAIMSTREAM_CACHE__REPOSITORY"


def repository_option(function: Command) -> Command:
    """Adds `--repository`."""
    return click.option(
        "--repository",
        envvar=VARIABLE,
        type=click.Path(path_type=Path, file_okay=False),
        help=f"Folder of the repository; or {VARIABLE}. Without it, what ships.",
    )(function)


def json_option(function: Command) -> Command:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


def readable(folder: Path | None) -> Repository:
    """The repository that a command looks at; None for what ships. Raises UsageError for a folder that is not there."""
    if folder is not None and not folder.is_dir():
        raise UsageError(
            f"{folder}: there is no such folder; name the repository's with --repository or {VARIABLE}"
        )
    return Repository(folder)


def writable(folder: Path | None, *, new: bool = False) -> Repository:
    """The repository that a command changes, or begins if it is `new`.

    Raises UsageError when none was named, or one that is not there.
    """
    if folder is None:
        raise UsageError(f"no repository to write to; name its folder with --repository or {VARIABLE}")
    return Repository(folder) if new else readable(folder)


def housekeeping(repository: Repository) -> Housekeeping:
    """What changes a repository, on real clocks."""
    return Housekeeping(repository, time.time, time.monotonic)


@contextmanager
def as_input() -> Iterator[None]:
    """What is wrong inside is what the user named: a usage error."""
    try:
        yield
    except (UnknownModelError, ManifestError, ArtifactError) as error:
        raise UsageError(str(error)) from error


def exact(repository: Repository, reference: str, version: str = "latest") -> tuple[str, str]:
    """Model and version that a reference means. Raises UsageError when it means none, or several."""
    with as_input():
        target = repository.resolve(reference, version)
    if len(target.shares) > 1:
        raise UsageError(f"{reference!r} is {shares(target)}; name one version, as {target.name}:VERSION")
    return target.name, target.shares[0].version


def shares(target: Target) -> str:
    """What a target means, for people."""
    if len(target.shares) == 1:
        return target.shares[0].version
    return ", ".join(f"{share.version} {share.weight} %" for share in target.shares)
