"""Versions in folders, found by the names that people write."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from models.errors import UnavailableError, UnknownModelError
from models.manifest import FILE
from models.null import NAME as NULL
from models.null import NullModel
from models.protocols import Model

SHIPPED = Path(__file__).parent / "shipped"

_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
# No separator and no dot in a name: whatever is asked for stays inside the repository.
_ASKED = re.compile(
    rf"(?P<name>[a-z][a-z0-9_]*?)(?:_v(?P<prefix>[0-9]+(?:\.[0-9]+)*)|:(?P<exact>{_VERSION.pattern}))?"
)


def open_model(
    name: str,
    *,
    repository: Path | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    threads: int | None = None,
) -> Model:
    """A verified model, ready to score.

    `null` is built in; `claims_filter` is its newest version, `claims_filter_v2.1` the newest 2.1.x,
    `claims_filter:2.1.0` that one. Raises UnknownModelError naming the nearest, UnavailableError, ManifestError or
    ArtifactError.
    """
    if device != "cpu":
        raise UnavailableError(f"{name} cannot run on {device!r}; models run on 'cpu'")
    if name == NULL:
        return NullModel()
    folder = resolve(name, repository or SHIPPED)
    # torch takes seconds to import, which whoever only looks up names, or scores with `null`, does not owe.
    from models.loading import load

    return load(folder, precision=precision, threads=threads)


def is_known(name: str, repository: Path | None = None) -> bool:
    """Whether `open_model` would find something of that name."""
    if name == NULL:
        return True
    try:
        resolve(name, repository or SHIPPED)
    except UnknownModelError:
        return False
    return True


def resolve(name: str, repository: Path) -> Path:
    """Folder of the version that a name means."""
    match = _ASKED.fullmatch(name)
    wanted = match["exact"] or match["prefix"] or "" if match else ""
    versions = [
        folder
        for folder in (_versions(repository, match["name"]) if match else ())
        if f"{folder.name}.".startswith(f"{wanted}." if wanted else "")
    ]
    if not versions:
        known = [NULL, *_known(repository)]
        near = difflib.get_close_matches(name, known, 3, 0.0)
        raise UnknownModelError(f"no model {name!r} in {repository}; the nearest are {', '.join(near)}")
    return max(versions, key=lambda version: tuple(map(int, version.name.split("."))))


def _versions(repository: Path, name: str) -> list[Path]:
    """Folders of versions; others, such as one that is still being written, do not count."""
    return [
        path.parent for path in repository.glob(f"{name}/*/{FILE}") if _VERSION.fullmatch(path.parent.name)
    ]


def _known(repository: Path) -> list[str]:
    return sorted({f"{f.parent.name}_v{'.'.join(f.name.split('.')[:2])}" for f in _versions(repository, "*")})
