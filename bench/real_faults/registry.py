"""A Schema Registry of one schema that can be taken away: the ids are all of it, and its answers Confluent's."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import schemas
from stream.embedded.ports import free_ports

_ANSWER = json.dumps({"schema": json.dumps(schemas.load("claim_event")), "schemaType": "AVRO"}).encode()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(_ANSWER)))
        self.end_headers()
        self.wfile.write(_ANSWER)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class OneSchemaRegistry:
    """Up from the start, on a port that it keeps."""

    def __init__(self) -> None:
        (self._port,) = free_ports(1)
        self._server: ThreadingHTTPServer | None = None
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _Handler)
        threading.Thread(target=self._server.serve_forever, name="registry", daemon=True).start()

    def down(self) -> None:
        """Nobody listens any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
