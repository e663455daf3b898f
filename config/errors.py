"""What can be wrong with a configuration."""

from __future__ import annotations


class ConfigurationError(Exception):
    """A value that cannot be used; the message names the place, the value and the cure."""


def printable(text: str) -> str:
    """The text in one line, without characters that a terminal would act on."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
