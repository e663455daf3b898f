"""`claimstream models`: the way of a model from training to scoring, and out again."""

from __future__ import annotations

import click

from stream.cli.models.cleaning import gc, remove
from stream.cli.models.looking import list_command, show
from stream.cli.models.preload import preload
from stream.cli.models.pushing import push, verify
from stream.cli.models.rollout import promote, rollback
from stream.cli.models.train import train_command
from stream.cli.models.tune import tune


@click.group()
def command() -> None:
    """Train, publish and roll out models."""


for _command in (
    train_command,
    list_command,
    show,
    push,
    verify,
    promote,
    rollback,
    remove,
    gc,
    preload,
    tune,
):
    command.add_command(_command)
