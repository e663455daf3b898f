"""Options of the registry's client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from stream.clock import ManualClock
from stream.codec import Decoder
from stream.codec.framing import confluent_prefix
from stream.codec.learning import LearnedSchemas
from stream.codec.registry import RegistrySource
from stream.errors import UsageError

NUMBER = {"type": "record", "name": "Claim", "fields": [{"name": "number", "type": "int"}]}
RECURSIVE = {"type": "record", "name": "R", "fields": [{"name": "inner", "type": ["null", "R"]}]}
ANSWERS: dict[str, dict[str, Any]] = {
    "1": {"schema": json.dumps(NUMBER)},
    "2": {"schema": json.dumps(RECURSIVE)},
    "3": {"schema": json.dumps(NUMBER), "references": [{"name": "a", "subject": "b", "version": 1}]},
    "4": {"schema": "message A {}", "schemaType": "PROTOBUF"},
    "5": {"schema": "{"},
}


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A registry's address, and the ids that it was asked for."""
    ids: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ids.append(self.path.split("?")[0].rsplit("/", 1)[1])
            answer = ANSWERS.get(ids[-1])
            body = json.dumps(answer or {"error_code": 40403, "message": "not found"}).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", ids
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("bare", [None, NUMBER])
def test_decoding_asks_for_no_schema_that_was_learned_or_refused(
    asked: tuple[str, list[str]], bare: dict[str, Any] | None
) -> None:
    url, ids = asked
    registry = LearnedSchemas(RegistrySource(url, {}), ManualClock(), start=lambda ask: ask())
    decoder = Decoder(NUMBER, bare_schema=bare, registry=registry)
    values = [confluent_prefix(number) + b"\x02" for number in range(1, 7)]
    given = [*values, b"", None, b"\x00\x00", *values]
    decoder.learn(given)
    assert sorted(ids) == ["1", "2", "3", "4", "5", "6"]
    found = decoder.decode(given)
    decoder.learn(given)
    assert decoder.decode(given).failures[-1].error.args == found.failures[-1].error.args
    assert {0, len(values) + 3} <= set(found.rows.tolist())
    assert len(found.failures) >= 2 * (len(values) - 1)
    assert len(ids) == 6


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("http://127.0.0.1:1", {"no.such.option": 1}, "no.such.option"),
        ("http://127.0.0.1:1", {"ssl.ca.location": "/no/such/file"}, "No such file"),
        ("127.0.0.1", {}, "Invalid url"),
    ],
)
def test_wrong_options_are_a_usage_error(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RegistrySource(url, options)


def test_authentication_reaches_the_client() -> None:
    options = {"basic.auth.user.info": "user:secret", "timeout": 2}
    source = RegistrySource("http://127.0.0.1:1", options)
    assert source._client._rest_client.timeout == 2
