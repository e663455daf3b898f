"""The operator's HTTP: health, readiness and metrics, served by the supervisor alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stream.errors import UsageError
from stream.metrics import Snapshot, SnapshotCollector


def application(
    snapshot: Callable[[], Snapshot], ready: Callable[[], bool], healthy: Callable[[], bool]
) -> Starlette:
    """The routes, over three functions that never block."""
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot))

    async def healthz(_: Request) -> Response:
        return _state(healthy(), "healthy", "no worker is alive")

    async def readyz(_: Request) -> Response:
        return _state(ready(), "ready", "workers are starting or stopping")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    )


class AdminServer:
    """Serves an application from a thread. Raises UsageError at construction when the port is taken."""

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        self._socket = _bound(host, port)
        self.address = f"http://{host}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_keep_alive=5, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])


def _state(good: bool, yes: str, no: str) -> Response:
    return PlainTextResponse(f"{yes if good else no}\n", 200 if good else 503)


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UsageError(
            f"http: cannot listen on {host}:{port}: {error.strerror}; "
            "choose another http.port (0 takes any free one) or stop what uses it"
        ) from error
    return listener
