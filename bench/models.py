"""The model cache: look-ups, loads, eviction, the mix that users have, and loads that are saved."""

from __future__ import annotations

from pathlib import Path

from bench.eviction import measure_eviction
from bench.gathering import measure_gathering
from bench.model_loads import measure_loads
from bench.model_lookups import measure_lookups
from bench.model_mix import measure_mix
from bench.redis_load import measure_redis
from bench.report import Figure


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """All figures of the cache; what is timed comes first, while nothing else has warmed or filled the machine."""
    return [
        *measure_lookups(quick=quick),
        *measure_loads(quick=quick),
        *measure_redis(quick=quick),
        *measure_eviction(quick=quick, plots=plots),
        *measure_mix(quick=quick),
        *measure_gathering(quick=quick, plots=plots),
    ]
