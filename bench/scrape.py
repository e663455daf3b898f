"""What a running stage says of itself over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping

_PREFIX = "claimstream_"


def page(port: int, path: str, seconds: float = 10.0) -> tuple[int, str]:
    """Status and text; status 0 while nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def numbers(text: str) -> dict[str, float]:
    """The metrics of a page, by name without prefix and with labels."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix(_PREFIX): float(value) for name, value in lines}


def total(found: Mapping[str, float], series: str) -> float:
    """The sum over the labels of a series; 0 where it is not there."""
    return sum(value for name, value in found.items() if name.partition("{")[0] == series)
