"""What can be wrong with a configuration."""

from __future__ import annotations


class ConfigurationError(Exception):
    """A value that cannot be used; the message names the place, the value and the cure."""
