"""`claimstream models push` and `verify`."""

from __future__ import annotations

from pathlib import Path

import click

from models.errors import ModelError
from models.manifest import read_manifest
from models.publishing import push as publish
from models.repository import Repository, Target
from models.verification import Place, damaged, measured
from stream.cli.examples import example
from stream.cli.models.options import (
    as_input,
    exact,
    housekeeping,
    json_option,
    readable,
    repository_option,
    shares,
    writable,
)
from stream.cli.output import Advance, byte_progress, emit_json, table


@click.command(
    epilog=example(
        "claimstream models push out/claims_filter --repository /models",
        "claimstream models push out/claims_filter --version 2.2.0 --alias staging",
    )
)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--version", help="Publish under this version instead of the manifest's.")
@click.option("--alias", help="Let this alias mean the version afterwards.")
@repository_option
@json_option
def push(
    folder: Path, version: str | None, alias: str | None, repository: Path | None, *, as_json: bool
) -> None:
    """Publish the version in FOLDER, as `models train` writes it: whole or not at all, and for good."""
    place = writable(repository, new=True)
    with as_input():
        size = sum(file.bytes for file in read_manifest(folder).files.values())
        with byte_progress("pushing", size) as bar:
            pushed = publish(place, folder, version=version, advance=bar.advance)
    target = housekeeping(place).promote(pushed.key.name, pushed.key.version, alias) if alias else None
    if as_json:
        emit_json(
            {
                "name": pushed.key.name,
                "version": pushed.key.version,
                "digest": pushed.key.digest,
                "outcome": pushed.outcome,
                "folder": str(pushed.folder),
                "alias": alias,
            }
        )
        return
    click.echo(f"{pushed.key}: {pushed.outcome}: {pushed.folder}{_means(alias, target)}")


@click.command(
    epilog=example(
        "claimstream models verify claims_filter:2.1.0", "claimstream models verify --repository /models"
    )
)
@click.argument("name", required=False)
@repository_option
@json_option
def verify(name: str | None, repository: Path | None, *, as_json: bool) -> int:
    """Read every byte of a version, or of all, and compare it with the manifest. Exits with 1 if one is damaged."""
    found = readable(repository)
    wanted = [exact(found, name)] if name else [(m, v) for m in found.names() for v in found.versions(m)]
    with byte_progress("verifying", sum(_bytes(found, *version) for version in wanted)) as bar:
        faults = {f"{model}:{version}": _faults(found, model, version, bar) for model, version in wanted}
    if as_json:
        emit_json({"versions": [{"version": key, "faults": found} for key, found in faults.items()]})
    else:
        rows = [(key, fault) for key, found in faults.items() for fault in (found or ["whole"])]
        click.echo(table(rows, ("VERSION", "STATE")))
    return int(any(faults.values()))


def _bytes(found: Repository, model: str, version: str) -> int:
    try:
        return found.release(model, version).bytes
    except ModelError:
        return 0


def _faults(found: Repository, model: str, version: str, bar: Advance) -> list[str]:
    try:
        release = found.release(model, version)
        place = Place.of_version(found.folder(release.key))
        faults = [str(error) for error in damaged(place, release.manifest, bar.advance)]
        if not faults:
            measured(place, release.manifest)
    except ModelError as error:
        return [str(error)]
    return faults


def _means(alias: str | None, target: Target | None) -> str:
    return f"; {alias} is {shares(target)} now" if target else ""
