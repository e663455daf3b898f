"""The operator's HTTP: health, readiness, metrics, batching and the model cache, served by the supervisor alone."""

from __future__ import annotations

import hmac
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Protocol

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from stream.errors import UsageError
from stream.http_guard import BODY_BYTES, BodyTooLargeError, body_of, guard_options
from stream.metrics import Snapshot, SnapshotCollector

CacheAction = Literal["preload", "evict"]


class CacheDesk(Protocol):
    """What the endpoints of the model cache ask for."""

    def view(self) -> dict[str, Any]:
        """The state of all caches; never blocks."""

    def order(self, action: CacheAction, models: Sequence[str]) -> tuple[list[str], bool]:
        """Load or let go in every worker; what happened, a line each, and whether all did. Blocks meanwhile."""


def application(
    snapshot: Callable[[], Snapshot],
    unready: Callable[[], str],
    healthy: Callable[[], bool],
    cache: CacheDesk,
    batching: Callable[[], dict[str, Any]],
    token: str | None,
) -> Starlette:
    """The routes. What changes something wants `Authorization: Bearer <token>`, and is closed without a token.

    `unready` says why the stage is not ready, nothing when it is.
    """
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(lambda: _with_version(snapshot())))
    # Memory, CPU and open files of this process, the supervisor.
    ProcessCollector(registry=registry)

    async def healthz(_: Request) -> Response:
        return _state(healthy(), "healthy", "no worker is alive")

    async def readyz(_: Request) -> Response:
        reason = unready()
        return _state(not reason, "ready", reason)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def cache_status(_: Request) -> Response:
        return JSONResponse(cache.view())

    async def batching_status(_: Request) -> Response:
        return JSONResponse(batching())

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/ml/batching", batching_status),
            Route("/ml/cache/status", cache_status),
            Route("/ml/cache/preload", _order("preload", cache, token), methods=["POST"]),
            Route("/ml/cache/evict", _order("evict", cache, token), methods=["POST"]),
        ]
    )


def _order(
    action: CacheAction, cache: CacheDesk, token: str | None
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        if (refusal := _refusal(request, token)) is not None:
            return refusal
        try:
            models = _models(await body_of(request))
        except BodyTooLargeError:
            return _problem(413, f"a body has at most {BODY_BYTES:,} bytes")
        except ClientDisconnect:
            return _problem(400, "the body did not come whole")
        if not models:
            return _problem(400, 'the body is {"models": ["claims_filter_v2.1", ...]}, at least one name')
        lines, good = await run_in_threadpool(cache.order, action, models)
        return JSONResponse({"action": action, "workers": lines}, 200 if good else 409)

    return handle


class AdminServer:
    """Serves an application from a thread. Raises UsageError at construction when the port is taken."""

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        self._socket = _bound(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._socket.getsockname()[1]}"
        # Without handlers of its own: its warnings are lines like all others.
        plain = {"log_config": None, **guard_options()}
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", **plain)
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


def _with_version(snapshot: Snapshot) -> Snapshot:
    snapshot.numbers["build_info", (_version(),)] = 1.0
    return snapshot


@cache
def _version() -> str:
    """Of the installed program."""
    try:
        return version("claimstream")
    except PackageNotFoundError:
        return "not installed"


def _refusal(request: Request, token: str | None) -> Response | None:
    if token is None:
        return _problem(403, "closed: set http.token, and send it as a bearer token")
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return _problem(401, "send the value of http.token as `Authorization: Bearer …`")
    return None


def _models(body: bytes) -> list[str]:
    """The names in a request; none where it is not of the form."""
    try:
        names = json.loads(body)["models"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _state(good: bool, yes: str, no: str) -> Response:
    return PlainTextResponse(f"{yes if good else no}\n", 200 if good else 503)


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except socket.gaierror as error:
        listener.close()
        raise UsageError(f"http: no address is known for http.host {host!r}: {error.strerror}") from error
    except OSError as error:
        listener.close()
        raise UsageError(
            f"http: cannot listen on {host}:{port}: {error.strerror}; "
            "choose another http.port (0 takes any free one) or stop what uses it"
        ) from error
    return listener
