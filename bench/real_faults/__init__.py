"""Faults on real brokers: one table, which the tests strike once and the benchmark many times."""
