"""What an output comes from, and whether what was begun is the same."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from stream.offline.fleet import Fleet
from stream.offline.scorer import Layout


@dataclass(frozen=True, slots=True)
class Identity:
    """What an output comes from: two runs of one identity give the same scores, bit for bit.

    `claims` is their fingerprint, `models` what `Fleet.versions` says, `input` and `mapping` are there for messages.
    """

    input: str
    mapping: str
    claims: str
    models: tuple[str, ...]
    routes: dict[str, list[str]]
    batch: int
    key: str


def identity_of(
    claims: pa.RecordBatch,
    origin: tuple[str, str],
    fleet: Fleet,
    routes: Mapping[str, Sequence[str]],
    layout: Layout,
) -> Identity:
    """Of a run over these claims; `origin` is the name of their file and that of the mapping."""
    return Identity(
        input=origin[0],
        mapping=origin[1],
        claims=fingerprint(claims),
        models=fleet.versions,
        routes={kind: list(names) for kind, names in routes.items()},
        batch=layout.batch,
        key=layout.key,
    )


def difference_of(begun: Mapping[str, Any], asked: Identity) -> str | None:
    """How a run that was begun differs from the one asked for, in words; None where it is the same."""
    wanted = json.loads(json.dumps(asdict(asked)))
    compared = [name for name in wanted if name not in ("input", "mapping")]
    if different := [name for name in compared if begun.get(name) != wanted[name]]:
        return f"was begun {_told(begun, different)}; this run is {_told(wanted, different)}"
    return None


def _told(run: Mapping[str, Any], different: list[str]) -> str:
    parts = {
        "claims": f"with {run.get('input')} by the mapping {run.get('mapping')} (claims"
        f" {str(run.get('claims'))[:12]})",
        "models": f"with the models {', '.join(run.get('models', ()))}",
        "routes": f"with the routes {run.get('routes')}",
        "batch": f"in batches of {run.get('batch')}",
        "key": f"with the key {run.get('key')}",
    }
    return " and ".join(text for name, text in parts.items() if name in different)


def fingerprint(claims: pa.RecordBatch) -> str:
    """SHA-256 of all columns: another file, another mapping or another reading of them shows."""
    digest = _Digest()
    with pa.PythonFile(digest, mode="w") as sink, pa.ipc.new_stream(sink, claims.schema) as writer:
        writer.write_batch(claims)
    return digest.found


class _Digest(io.RawIOBase):
    """Takes bytes and keeps their digest alone."""

    def __init__(self) -> None:
        super().__init__()
        self._sum = hashlib.sha256()

    @property
    def found(self) -> str:
        return self._sum.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._sum.update(data)
        return len(data)
