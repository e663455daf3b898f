"""How large a micro-batch should be: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from stream.cost_model import LatencyCurve

# The share of the highest claims per second that a batch may give away for being short.
_GIVEN_AWAY = 0.03
_WORTH = 1.0 / _GIVEN_AWAY - 1.0


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """`smallest` and `largest` clamp both sizes; without `automatic` both start from the largest."""

    smallest: int
    largest: int
    automatic: bool = True


class Sizes(NamedTuple):
    """Claims at which a batch need not wait for more, and the most that it takes at once."""

    target: int
    most: int


@dataclass(frozen=True, slots=True)
class DeviceLoad:
    """How busy the device is: bytes available and in all, and load in per cent."""

    available: float
    total: float
    load: float


IDLE = DeviceLoad(1.0, 1.0, 0.0)


def size_by_load(base: int, device: DeviceLoad, limits: SizeLimits) -> int:
    """The simple rule: `base`, less where memory is taken or the device is busy, never below three tenths for load."""
    free = min(device.available / device.total, 1.0)
    size = int(base * free * max(0.3, 1.0 - device.load / 100.0))
    return max(limits.smallest, min(size, limits.largest))


def sizes(
    curve: LatencyCurve,
    rate: float,
    limits: SizeLimits,
    *,
    pressure: float = 0.0,
    ceiling: int | None = None,
    dearest: LatencyCurve | None = None,
) -> Sizes:
    """On time the smallest size that keeps up with `rate` claims a second; behind, the one of most claims a second.

    Batches of n, one after the other, score n / (fixed + each * n) a second. `pressure`, 0 to 1, shrinks both, but not
    below a size that keeps up: claims that stay behind would only add to what presses. `ceiling` is the largest size
    that memory is known to allow. `dearest`: the curve with as high a fixed cost as it may have; were that taken for
    less than it is, batches would be small, score too few claims a second, and be too much alike to tell.
    """
    most, target, least = limits.largest, limits.largest, limits.smallest
    if limits.automatic and curve.fixed + curve.each > 0.0:
        most = _clamped(_of_most_a_second(dearest or curve), limits)
        target = min(_clamped(_keeping_up(curve, rate), limits), most)
        least = target if target < most else least
    if pressure > 0.0:
        most = min(most, max(least, int(most * (1.0 - pressure))))
    if ceiling is not None:
        most = max(min(most, ceiling), 1)
    return Sizes(min(target, most), most)


def _of_most_a_second(curve: LatencyCurve) -> float:
    """Within a few per cent of what no size exceeds; more would only make claims wait."""
    if curve.each <= 0.0:
        return math.inf
    return curve.fixed / curve.each * _WORTH


def _keeping_up(curve: LatencyCurve, rate: float) -> float:
    """The n at which n / time(n) reaches `rate`."""
    busy = curve.each * rate
    return curve.fixed * rate / (1.0 - busy) if busy < 1.0 else math.inf


def _clamped(size: float, limits: SizeLimits) -> int:
    if size >= limits.largest:
        return limits.largest
    return math.ceil(size) if size > limits.smallest else limits.smallest
