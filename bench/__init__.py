"""Benchmarks: every figure the README quotes comes from here."""
