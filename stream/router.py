"""Which models score a claim, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.errors import RecordError, UsageError
from stream.records import Integers

DEFAULT_ROUTE = "*"


class NoRouteError(RecordError):
    """No route is configured for the claim's type."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Per claim: its type, as a string object, and the number of its route, -1 where there is none."""

    types: npt.NDArray[np.object_]
    routes: Integers


class Router:
    """Routes by claim type; a route is the tuple of models, by number, that its claims pass."""

    def __init__(self, routes: Mapping[str, Sequence[str]], models: Sequence[str]) -> None:
        number = {name: place for place, name in enumerate(models)}
        for claim_type, names in routes.items():
            if not names:
                raise UsageError(f"routes: {claim_type!r} names no model; give it one or leave it out")
        self.routes = sorted({tuple(number[name] for name in names) for names in routes.values()})
        self._by_type = {t: self.routes.index(tuple(number[n] for n in names)) for t, names in routes.items()}
        self._default = self._by_type.get(DEFAULT_ROUTE, -1)

    def route(self, claim_types: pa.Array) -> Routing:
        """Look up the distinct types of a poll once each, whatever its size."""
        encoded = claim_types.dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        types = np.fromiter(distinct, object, len(distinct))
        routes = np.array([self._by_type.get(name, self._default) for name in distinct], np.int64)
        indices = encoded.indices.to_numpy(zero_copy_only=False)
        return Routing(types[indices], routes[indices])

    def no_route(self, claim_type: str) -> NoRouteError:
        return NoRouteError(
            f"no route for claim type {claim_type!r}; routes has {sorted(self._by_type)}: "
            f"add the type, or a route for {DEFAULT_ROUTE!r}"
        )
