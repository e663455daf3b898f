"""The endpoints of a running stage, as commands ask them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import click

from stream.errors import FatalError, UsageError

url_option = click.option(
    "--url", default="http://127.0.0.1:8000", show_default=True, help="Endpoints of the running stage."
)


def ask(
    url: str,
    path: str,
    *,
    body: dict[str, Any] | None = None,
    token: str | None = None,
    patience: float = 10.0,
) -> tuple[int, dict[str, Any]]:
    """Status and answer, an object, of a GET, or of a POST where there is a body.

    Raises UsageError for a URL that is none, FatalError when no stage answers within `patience` seconds.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--url {url!r} is no address; give it as http://HOST:PORT")
    address = url.rstrip("/") + path
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=patience) as answer:  # noqa: S310 - checked above
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, _refusal(error)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise FatalError(
            f"{address}: no answer of a stage: {error}; is it running, and at that port?"
        ) from error


def _refusal(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.load(error)
    except ValueError:
        return {"error": f"it answered {error.code} {error.reason}"}
    return answer
