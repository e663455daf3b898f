"""What batches cost on this machine, remembered from one run to the next."""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import platformdirs

from models import ModelIdentity
from stream.cost_model import LatencyCurve

log = logging.getLogger(__name__)

_FORMAT = 1


def default_file() -> Path:
    """In the cache folder of this user."""
    return platformdirs.user_cache_path("claimstream") / "speeds.json"


class Speeds:
    """A file of latency curves by model version, precision and device. What cannot be read is as if it were not there:
    the stage learns it anew.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def known(self) -> dict[str, LatencyCurve]:
        """The curves by `name_of`."""
        try:
            entries = json.loads(self._file.read_bytes())
            if entries["format"] != _FORMAT:
                raise ValueError(f"format {entries['format']}")
            return {name: _curve(**entry) for name, entry in entries["speeds"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s: not usable, speeds are learned anew: %r", self._file, error)
            return {}

    def remember(self, curves: Mapping[str, LatencyCurve]) -> bool:
        """Add curves, or replace those that were known; whether that was possible. What is no speed is left out.

        Of two writers at once the later counts.
        """
        curves = {name: curve for name, curve in curves.items() if is_speed(curve)}
        if not curves:
            return True
        speeds = {
            name: {"fixed": curve.fixed, "each": curve.each}
            for name, curve in sorted({**self.known(), **curves}.items())
        }
        aside = self._file.with_name(f".{self._file.name}.{uuid.uuid4().hex}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps({"format": _FORMAT, "speeds": speeds}, indent=1), encoding="utf-8")
            aside.replace(self._file)
        except OSError as error:
            with suppress(OSError):
                aside.unlink()
            log.warning("%s: speeds are not remembered: %s", self._file, error.strerror)
            return False
        return True


def name_of(identity: ModelIdentity) -> str:
    """How the file calls a version on a device."""
    return f"{identity.name}:{identity.version}:{identity.precision}:{identity.device}"


def is_speed(curve: LatencyCurve) -> bool:
    """Whether more claims take longer by it; few observations, or noisy ones, can say otherwise."""
    return (
        math.isfinite(curve.fixed) and math.isfinite(curve.each) and curve.fixed >= 0.0 and curve.each > 0.0
    )


def _curve(fixed: float, each: float) -> LatencyCurve:
    if not is_speed(curve := LatencyCurve(fixed, each)):
        raise ValueError(f"no curve: {fixed}, {each}")
    return curve
