"""`claimstream dlq`: the dead letters, looked at and sent back."""

from __future__ import annotations

import click

from stream.cli.dlq.listing import list_command
from stream.cli.dlq.replaying import replay
from stream.cli.dlq.showing import show


@click.group()
def command() -> None:
    """List, show and replay dead letters."""


for _command in (list_command, show, replay):
    command.add_command(_command)
