"""The programs that are measured: claimstream itself and its rivals."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

from bench.windows import Contestant, Route
from stream.embedded.ports import free_ports


def stage(route: Route, model: str, workers: int, port: int | None = None, **more: str) -> Contestant:
    """claimstream itself, with `more` in its environment; ready when every worker has joined the group."""
    chosen = free_ports(1)[0] if port is None else port

    def command(_: str) -> list[str]:
        options = {"--bootstrap": route.bootstrap, "--model": model, "--workers": workers, "--port": chosen}
        return [
            sys.executable,
            "-m",
            "stream",
            "run",
            *(str(part) for pair in options.items() for part in pair),
        ]

    def environment(group: str) -> dict[str, str]:
        return {
            "CLAIMSTREAM_KAFKA__TOPICS__INPUT": route.claims,
            "CLAIMSTREAM_KAFKA__TOPICS__OUTPUT": route.scores,
            "CLAIMSTREAM_KAFKA__TOPICS__DEAD_LETTERS": route.dead_letters,
            "CLAIMSTREAM_KAFKA__GROUP_ID": group,
            **more,
        }

    name = "stage" if workers == 1 else f"stage x {workers}"
    return Contestant(name, command, environment, lambda: _is_ready(chosen))


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def rival(route: Route, kind: str, batch: int) -> Contestant:
    """The plain loop, or consume and produce alone (bench/rival.py)."""

    def command(group: str) -> list[str]:
        where = [route.bootstrap, route.claims, route.scores, group]
        return [sys.executable, "-m", "bench.rival", *where, kind, str(batch)]

    return Contestant(f"{kind} {batch}", command, lambda _: {})
