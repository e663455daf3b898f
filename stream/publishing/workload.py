"""Claims as a simulator sees them: when they come, how long they are, and where they belong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream.publishing.arrivals import Floats

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Mix:
    """What the claims of a workload are like.

    Tokens follow a Pareto law of exponent `tail` between `shortest` and `longest`. `lanes` are weights. The share
    `hot` of the claims goes to partition 0, the rest evenly to all partitions; a key is of one partition only.
    """

    shortest: int = 8
    longest: int = 512
    tail: float = 1.5
    lanes: tuple[float, ...] = (1.0,)
    partitions: int = 4
    hot: float = 0.0
    keys: int = 10_000

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise ValueError(
                f"claims of {self.shortest} to {self.longest} tokens: the shortest has 1 or more"
            )
        if not (math.isfinite(self.tail) and self.tail > 0):
            raise ValueError(f"the tail's exponent must be a positive number: {self.tail}")
        if not self.lanes or min(self.lanes) < 0 or not 0 < sum(self.lanes) < math.inf:
            raise ValueError(f"the weights of lanes must be 0 or more, and not all 0: {self.lanes}")
        if not 1 <= self.partitions <= self.keys:
            raise ValueError(f"{self.partitions} partitions and {self.keys} keys: each partition needs a key")
        if not 0 <= self.hot <= 1:
            raise ValueError(f"the share of the hot partition must be between 0 and 1: {self.hot}")


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Claims in the order of their arrival: shape (n,) each; `times` are seconds since the start."""

    times: Floats
    tokens: Numbers
    lane: Numbers
    partition: Numbers
    key: Numbers

    def __len__(self) -> int:
        return len(self.times)


def workload(times: Floats, mix: Mix, seed: int) -> Trace:
    """Claims that arrive at `times`. What the first claims are does not depend on how many follow."""
    draws = np.random.Generator(np.random.Philox(seed)).spawn(4)
    tokens, lane, partition, key = (rng.random(len(times)) for rng in draws)
    places = _partitions(partition, mix)
    return Trace(times, _tokens(tokens, mix), _lanes(lane, mix), places, _keys(key, places, mix))


def _tokens(uniforms: Floats, mix: Mix) -> Numbers:
    """The inverse of the Pareto distribution cut at `longest` + 1, whole tokens."""
    left = (mix.shortest / (mix.longest + 1)) ** mix.tail
    lengths = mix.shortest * (1 - uniforms * (1 - left)) ** (-1 / mix.tail)
    return np.asarray(np.minimum(lengths, mix.longest), dtype=np.int32)


def _lanes(uniforms: Floats, mix: Mix) -> Numbers:
    borders = np.cumsum(mix.lanes) / sum(mix.lanes)
    return np.searchsorted(borders[:-1], uniforms, side="right").astype(np.int32)


def _partitions(uniforms: Floats, mix: Mix) -> Numbers:
    spread = np.maximum(uniforms - mix.hot, 0.0) / max(1 - mix.hot, np.finfo(float).tiny)
    return np.minimum(spread * mix.partitions, mix.partitions - 1).astype(np.int32)


def _keys(uniforms: Floats, partitions: Numbers, mix: Mix) -> Numbers:
    """Keys of partition p are p, p + partitions, p + 2 · partitions …, as many as there are below `keys`."""
    owned = (mix.keys - 1 - partitions) // mix.partitions + 1
    return np.asarray(partitions + mix.partitions * np.floor(uniforms * owned), dtype=np.int32)
