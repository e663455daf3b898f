"""Registering the claim schema, against a registry of a few lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import schemas
from stream.errors import RetryError, UsageError
from stream.publishing.registration import register


class Registry(BaseHTTPRequestHandler):
    """Knows one subject and refuses all others."""

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.path.split("?")[0] == "/subjects/claims-value/versions" and b"ClaimEvent" in asked
        answer = {"id": 7} if known else {"error_code": 42_201, "message": "not this subject"}
        body = json.dumps(answer).encode()
        self.send_response(200 if known else 422)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_id_of_the_registry_comes_back(registry: str) -> None:
    assert register(registry, "claims", schemas.load("claim_event")) == 7


def test_a_refusal_names_the_subject(registry: str) -> None:
    with pytest.raises(UsageError, match=r"other-value.*not this subject"):
        register(registry, "other", schemas.load("claim_event"))


def test_a_registry_that_does_not_answer() -> None:
    with pytest.raises(RetryError, match="does not answer"):
        register("http://user:hunter2@127.0.0.1:1", "claims", schemas.load("claim_event"))


def test_an_address_that_is_none_is_not_repeated() -> None:
    with pytest.raises(UsageError, match="--registry") as raised:
        register("hunter2", "claims", schemas.load("claim_event"))
    assert "hunter2" not in str(raised.value)
