"""`claimstream dlq list`."""

from __future__ import annotations

import heapq
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from config.errors import printable
from stream.cli.dlq.options import choice, choice_options, cluster_options, connection
from stream.cli.dlq.reading import Letter, LetterTopic, Place
from stream.cli.examples import example
from stream.cli.output import emit_json, table
from stream.clock import SystemClock

_COLUMNS = ("AT", "WRITTEN", "FROM", "TRY", "ERROR", "MODEL", "MESSAGE")
_SHORT = 120


@click.command(
    name="list",
    epilog=example(
        "claimstream dlq list --since 2h",
        "claimstream dlq list --error ScoringError --model claims_filter --json",
    ),
)
@cluster_options
@choice_options
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Letters to print: the newest, by the time at which they were written; the counts are of all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_command(
    config_file: Path | None,
    bootstrap: str | None,
    client_options: tuple[str, ...],
    topic: str | None,
    limit: int,
    *,
    as_json: bool,
    **filters: Any,
) -> None:
    """List dead letters: where they lie, where they came from, and why."""
    wanted = choice(filters, SystemClock().wall())
    found = LetterTopic(*connection(config_file, bootstrap, client_options, topic))
    replayed = found.replayed()
    errors: Counter[str] = Counter()
    newest: list[tuple[int, Place, dict[str, Any]]] = []
    total = 0
    for letter in found.letters("reading dead letters"):
        total += 1
        if wanted.takes(letter):
            errors[letter.reason.error_class] += 1
            put = heapq.heappush if len(newest) < limit else heapq.heappushpop
            put(newest, (letter.timestamp, letter.place, row(letter, replayed=letter.place in replayed)))
    document = {
        "topic": found.name,
        "letters": total,
        "matching": errors.total(),
        "errors": dict(errors.most_common()),
        "foreign": found.foreign,
        "shown": [each for *_, each in sorted(newest)],
    }
    if as_json:
        emit_json(document)
    else:
        _print(document)


def row(letter: Letter, *, replayed: bool) -> dict[str, Any]:
    """A letter without its bytes."""
    reason = letter.reason
    return {
        "at": letter.name,
        "written": datetime.fromtimestamp(letter.timestamp / 1_000, UTC).isoformat(timespec="milliseconds"),
        "input": {"topic": reason.topic, "partition": reason.partition, "offset": reason.offset},
        "error": reason.error_class,
        "message": reason.message,
        "model": reason.model,
        "version": reason.version,
        "attempt": reason.attempt,
        "omitted": reason.omitted,
        "value_bytes": None if letter.value is None else len(letter.value),
        "replayed": replayed,
    }


def _print(document: dict[str, Any]) -> None:
    if document["shown"]:
        click.echo(table([_cells(each) for each in document["shown"]], _COLUMNS))
    errors = ", ".join(f"{printable(name)} {count:,}" for name, count in document["errors"].items())
    shown = len(document["shown"])
    more = f", {shown} of them above" if 0 < shown < document["matching"] else ""
    click.echo(
        f"{document['matching']:,} of {document['letters']:,} dead letters in {document['topic']}"
        f"{more}{f': {errors}' if errors else ''}"
    )
    if document["foreign"]:
        click.echo(f"{document['foreign']:,} records are no dead letters of claimstream", err=True)


def _cells(each: dict[str, Any]) -> tuple[str, ...]:
    place = each["input"]
    message = each["message"] if len(each["message"]) <= _SHORT else f"{each['message'][:_SHORT]}…"
    return (
        each["at"],
        each["written"][5:19].replace("T", " "),
        f"{place['topic']}[{place['partition']}]@{place['offset']}",
        f"{each['attempt']}{' replayed' if each['replayed'] else ''}",
        each["error"],
        f"{each['model']}:{each['version']}" if each["model"] else "",
        message,
    )
