"""What an output comes from, and whether what was begun is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stream.errors import UsageError
from stream.offline.fleet import Fleet
from stream.offline.scorer import Layout
from stream.publishing import Mapping as ClaimMapping
from stream.publishing.joining import place_of

# Names for messages, that change nothing; of the input's the last part is a field of the results.
_NAMES = ("input", "mapping")


@dataclass(frozen=True, slots=True)
class Origin:
    """A file and the mapping that makes claims of its rows, by name and by what is in them (SHA-256)."""

    input: str
    mapping: str
    content: str
    rules: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Two runs of one identity give the same results, the scores bit for bit; `models`: `Fleet.versions`."""

    input: str
    mapping: str
    content: str
    rules: str
    models: tuple[str, ...]
    routes: dict[str, list[str]]
    batch: int
    key: str


def origin_of(path: Path, name: str | None, mapping: ClaimMapping | None) -> Origin:
    """Of a file, of those that the mapping joins to it, and of the mapping. Raises UsageError for one that is away."""
    digest = hashlib.sha256()
    tables = {} if mapping is None else mapping.tables
    try:
        for file in (path, *(place_of(path, alias, table) for alias, table in tables.items())):
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    rules = "" if mapping is None else hashlib.sha256(mapping.model_dump_json().encode()).hexdigest()
    return Origin(str(path), name or "", digest.hexdigest(), rules)


def identity_of(
    origin: Origin, fleet: Fleet, routes: Mapping[str, Sequence[str]], layout: Layout
) -> Identity:
    """Of a run over the claims from there."""
    models = {kind: list(names) for kind, names in routes.items()}
    return Identity(
        **asdict(origin), models=fleet.versions, routes=models, batch=layout.batch, key=layout.key
    )


def difference_of(begun: Mapping[str, Any], asked: Identity) -> str | None:
    """How a run that was begun differs from the one asked for, in words; None where it is the same."""
    wanted = json.loads(json.dumps(asdict(asked)))
    compared = [name for name in wanted if name not in _NAMES]
    different = [name for name in compared if begun.get(name) != wanted[name]]
    if "content" not in different and _topic(begun) != _topic(wanted):
        different.append("input")
    if different:
        return f"was begun {_told(begun, different)}; this run is {_told(wanted, different)}"
    return None


def _topic(run: Mapping[str, Any]) -> str:
    return Path(str(run.get("input"))).name


def _told(run: Mapping[str, Any], different: list[str]) -> str:
    parts = {
        "content": f"from {run.get('input')} (SHA-256 {str(run.get('content'))[:12]}…)",
        "input": f"with the input_topic {_topic(run)}, the name of its file",
        "rules": f"by the mapping {run.get('mapping') or 'of none'} ({str(run.get('rules'))[:12]}…)",
        "models": f"with the models {', '.join(run.get('models', ()))}",
        "routes": f"with the routes {run.get('routes')}",
        "batch": f"in batches of {run.get('batch')}",
        "key": f"with the key {run.get('key')}",
    }
    return " and ".join(text for name, text in parts.items() if name in different)
