"""Frameworks that models come in."""
