"""Versions in folders, found by the names that people write."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from models.errors import UnknownModelError
from models.manifest import FILE
from models.null import NAME as NULL
from models.null import NullModel
from models.protocols import Model

SHIPPED = Path(__file__).parent / "shipped"

_VERSION_INSIDE = re.compile(r"^(?P<name>.+?)(?:_v(?P<prefix>\d+(?:\.\d+)*)|:(?P<exact>\d+\.\d+\.\d+))?$")


def open_model(name: str, *, repository: Path | None = None, threads: int | None = None) -> Model:
    """A verified model, ready to score.

    `null` is built in; `claims_filter` is its newest version, `claims_filter_v2.1` the newest 2.1.x,
    `claims_filter:2.1.0` that one. Raises UnknownModelError naming the nearest, ManifestError or ArtifactError.
    """
    if name == NULL:
        return NullModel()
    folder = resolve(name, repository or SHIPPED)
    # torch takes seconds to import, which whoever only looks up names, or scores with `null`, does not owe.
    from models.loading import load

    return load(folder, threads=threads)


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
    match = _VERSION_INSIDE.match(name)
    wanted = match["exact"] or match["prefix"] or "" if match else ""
    folder = repository / (match["name"] if match else name)
    versions = [
        f
        for f in folder.glob("*")
        if (f / FILE).is_file() and f"{f.name}.".startswith(f"{wanted}." if wanted else "")
    ]
    if not versions:
        known = [NULL, *_known(repository)]
        near = difflib.get_close_matches(name, known, 3, 0.0)
        raise UnknownModelError(f"no model {name!r} in {repository}; the nearest are {', '.join(near)}")
    return max(versions, key=lambda version: tuple(map(int, version.name.split("."))))


def _known(repository: Path) -> list[str]:
    return sorted(
        f"{f.parent.name}_v{'.'.join(f.name.split('.')[:2])}"
        for f in repository.glob("*/*")
        if (f / FILE).is_file()
    )
