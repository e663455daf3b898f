"""Schedules of faults: the stage's own steps on a simulated Kafka, in an order and with faults drawn from a seed."""

from bench.faults.figures import measure

__all__ = ["measure"]
