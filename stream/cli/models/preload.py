"""`claimstream models preload`: asks a running stage to have models ready."""

from __future__ import annotations

import click

from stream.cli.endpoints import ask, of_a_stage, url_option
from stream.cli.examples import example
from stream.cli.models.options import json_option
from stream.cli.output import emit_json
from stream.errors import FatalError, UsageError

_PATIENCE_SECONDS = 600.0


@click.command(epilog=example("claimstream models preload claims_filter_v2.1 --url http://127.0.0.1:8000"))
@click.argument("names", nargs=-1, required=True)
@url_option
@click.option("--token", envvar="CLAIMSTREAM_HTTP__TOKEN", help="Its http.token; or CLAIMSTREAM_HTTP__TOKEN.")
@json_option
def preload(names: tuple[str, ...], url: str, token: str | None, *, as_json: bool) -> None:
    """Have every worker of a running stage load NAMES now."""
    if token is None:
        raise UsageError("no token; give the stage's http.token with --token or CLAIMSTREAM_HTTP__TOKEN")
    body = {"models": list(names)}
    status, answer = ask(url, "/ml/cache/preload", body=body, token=token, patience=_PATIENCE_SECONDS)
    if "error" in answer:
        raise UsageError(f"{url}: {answer['error']}")
    with of_a_stage(url):
        lines = "\n".join(answer["workers"])
    if as_json:
        emit_json(answer)
    else:
        click.echo(lines)
    if status != 200:
        raise FatalError("not every model was loaded by every worker; the lines above say why")
