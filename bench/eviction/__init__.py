"""Eviction: the shipped policy, four rivals and the offline bound on the same traces."""

from bench.eviction.figures import measure_eviction

__all__ = ["measure_eviction"]
