"""The endpoints of a running stage, as commands ask them."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

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

    Raises UsageError for a URL that is none or a token that no header can carry, FatalError when no stage answers
    within `patience` seconds.
    """
    address = _checked(url).rstrip("/") + path
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = _bearer(token)
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=patience) as answer:  # noqa: S310 - checked above
            return answer.status, _object(answer)
    except urllib.error.HTTPError as error:
        return error.code, _refusal(error)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FatalError(
            f"{address}: no answer of a stage: {error}; is it running, and at that port?"
        ) from error


@contextmanager
def of_a_stage(url: str) -> Iterator[None]:
    """Raises FatalError where an answer lacks what is read of it inside: something else answers there."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FatalError(
            f"{url}: what it answers is not of a stage of this version; is one at that port?"
        ) from error


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable()
        )
    except ValueError:
        usable = False
    if not usable or " " in url:
        raise UsageError(f"--url {url!r} is no address; give it as http://HOST:PORT")
    return url


def _bearer(token: str) -> str:
    """Checked here, because the client's own refusal repeats the token."""
    if not token.isprintable() or max(token, default="") > "\xff":
        raise UsageError("--token holds a line break, or another character that a header cannot carry")
    return f"Bearer {token}"


def _object(answer: Any) -> dict[str, Any]:
    found = json.load(answer)
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {type(found).__name__}, not an object")  # noqa: TRY004 - what a parser raises
    return found


def _refusal(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        return _object(error)
    except (OSError, http.client.HTTPException, ValueError):
        return {"error": f"it answered {error.code} {error.reason}"}
