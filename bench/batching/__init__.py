"""Batching: the most claims that can be on time, and the rules that servers use today, on the same arrivals."""

from bench.batching.optimum import most_on_time
from bench.batching.replay import Policy, Serve, Served, replay
from bench.batching.rivals import Best, best_rivals

__all__ = ["Best", "Policy", "Serve", "Served", "best_rivals", "most_on_time", "replay"]
