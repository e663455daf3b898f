"""`claimstream models preload`: asks a running stage to have models ready."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import click

from stream.cli.examples import example
from stream.cli.models.options import json_option
from stream.cli.output import emit_json
from stream.errors import FatalError, UsageError

_PATIENCE_SECONDS = 600.0


@click.command(epilog=example("claimstream models preload claims_filter_v2.1 --url http://127.0.0.1:8000"))
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--url", default="http://127.0.0.1:8000", show_default=True, help="Endpoints of the running stage."
)
@click.option("--token", envvar="CLAIMSTREAM_HTTP__TOKEN", help="Its http.token; or CLAIMSTREAM_HTTP__TOKEN.")
@json_option
def preload(names: tuple[str, ...], url: str, token: str | None, *, as_json: bool) -> None:
    """Have every worker of a running stage load NAMES now."""
    if token is None:
        raise UsageError("no token; give the stage's http.token with --token or CLAIMSTREAM_HTTP__TOKEN")
    status, answer = _post(f"{url.rstrip('/')}/ml/cache/preload", {"models": names}, token)
    if "error" in answer:
        raise UsageError(f"{url}: {answer['error']}")
    if as_json:
        emit_json(answer)
    else:
        click.echo("\n".join(answer["workers"]))
    if status != 200:
        raise FatalError("not every model was loaded by every worker; the lines above say why")


def _post(address: str, body: dict[str, Any], token: str) -> tuple[int, dict[str, Any]]:
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"--url {address!r} is no address; give it as http://HOST:PORT")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="POST")  # noqa: S310 - checked
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310 - checked above
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, _read(error)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise FatalError(
            f"{address}: no answer of a stage: {error}; is it running, and at that port?"
        ) from error


def _read(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.load(error)
    except ValueError:
        return {"error": f"it answered {error.code} {error.reason}"}
    return answer
