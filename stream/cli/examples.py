"""Examples at the end of a command's help."""

from __future__ import annotations


def example(*commands: str) -> str:
    """An epilog for `click.command(epilog=...)` that shows each command in a line of its own."""
    return "\n".join(
        ("\b", "Example:" if len(commands) == 1 else "Examples:", *(f"  {line}" for line in commands))
    )
