"""`claimstream dlq show`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import click

from config.errors import printable
from stream.claim_schemas import claim_decoder
from stream.cli.dlq.listing import row
from stream.cli.dlq.options import cluster_options, connection, parse_place
from stream.cli.dlq.reading import LetterTopic
from stream.cli.examples import example
from stream.cli.output import emit_json, table
from stream.clock import SystemClock
from stream.codec import Decoder, plain_rows
from stream.errors import FatalError, RetryError

_SHOWN_BYTES = 512
_PATIENCE = 10.0


@click.command(epilog=example("claimstream dlq show 0@17", "claimstream dlq show 0@17 --json"))
@click.argument("position", metavar="PARTITION@OFFSET")
@cluster_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, the bytes in base64.")
def show(
    position: str,
    config_file: Path | None,
    bootstrap: str | None,
    client_options: tuple[str, ...],
    topic: str | None,
    *,
    as_json: bool,
) -> None:
    """Show one dead letter: why it is one, its headers, and its claim where that can be read."""
    config, name, settings = connection(config_file, bootstrap, client_options, topic)
    place = parse_place(position, name)
    decoder = claim_decoder(settings.schemas, settings.limits.record_max_bytes, SystemClock(), _PATIENCE)
    found = LetterTopic(config, name, settings)
    if (letter := found.letter(place)) is None:
        raise FatalError(
            f"there is no dead letter at {position} of {found.name!r}; `claimstream dlq list` has them"
        )
    document = row(letter, replayed=place in found.replayed())
    claim, why = decoded(letter.value, decoder)
    if as_json:
        document["key"] = _base64(letter.key)
        document["value"] = _base64(letter.value)
        document["headers"] = [[name, _base64(text)] for name, text in letter.headers]
        document["claim"], document["unreadable"] = _plain(claim), why
        emit_json(document)
        return
    facts = [(name, _said(value)) for name, value in document.items()]
    headers = [(f"header {name}", _shown(text)) for name, text in letter.headers]
    click.echo(table([*facts, ("key", _shown(letter.key)), *headers], ("FIELD", "VALUE")))
    if claim is None:
        click.echo(f"value: {_shown(letter.value)}\nnot read as a claim: {printable(why)}")
    else:
        lines = json.dumps(_plain(claim), indent=2, ensure_ascii=False).split("\n")
        click.echo("\n".join(map(printable, lines)))


def decoded(value: bytes | None, decoder: Decoder) -> tuple[dict[str, Any] | None, str]:
    """The claim, or why its bytes are none that the stage reads."""
    try:
        decoder.learn([value])
        result = decoder.decode([value])
    except RetryError as error:
        return None, str(error)
    if result.failures:
        return None, str(result.failures[0].error)
    return plain_rows(result.claims)[0], ""


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['topic']}[{value['partition']}]@{value['offset']}"
    return "" if value is None else str(value)


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _shown(data: bytes | None) -> str:
    """Text where it is text, else as Python writes bytes; the beginning of what is long."""
    if data is None:
        return "null"
    head = data[:_SHOWN_BYTES]
    more = f" … {len(data):,} bytes in all" if len(data) > _SHOWN_BYTES else ""
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return f"{head!r}{more}"
    return f"{text if text.isprintable() else ascii(text)}{more}"
