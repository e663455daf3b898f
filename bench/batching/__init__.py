"""Batching: the most claims that can be on time, the stage's policy, and the rules that servers use today."""

from bench.batching.figures import measure
from bench.batching.optimum import most_on_time
from bench.batching.replay import Policy, Serve, Served, replay
from bench.batching.rivals import Best, best_rivals

__all__ = ["Best", "Policy", "Serve", "Served", "best_rivals", "measure", "most_on_time", "replay"]
