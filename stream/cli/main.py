"""The command line: finds commands, turns errors into one clear line and an exit code."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from typing import Any

import click

from config import ConfigurationError
from models.errors import ModelError
from stream.errors import ClaimstreamError, UsageError

FAILED, USAGE, INTERRUPTED = 1, 2, 130

COMMANDS = {
    "demo": "Score claims on a Kafka of its own and audit the result.",
    "run": "Run the scoring stage.",
    "publish": "Publish claims from a file or a generator.",
    "tail": "Print scores as they come.",
    "topics": "Create topics.",
    "broker": "Run an embedded Kafka in the foreground.",
    "models": "Train models.",
    "config": "Check the configuration.",
    "bench": "Measure; prints figures, writes JSON and plots.",
}


class Commands(click.Group):
    """Imports a command only when it is asked for: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"stream.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("claimstream"), prog_name="claimstream")
def claimstream() -> None:
    """Score insurance claims on Kafka.

    \b
    Example:
      claimstream demo
    """


def main(arguments: list[str] | None = None) -> None:
    """Exit with 0, 1 (failed) or 2 (bad usage or configuration)."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = claimstream.main(args=arguments, prog_name="claimstream", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return USAGE
    except (UsageError, ConfigurationError) as error:
        return _say(error, USAGE)
    except (ClaimstreamError, ModelError) as error:
        return _say(error, FAILED)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _say(error: Exception, code: int) -> int:
    click.echo(f"claimstream: {error}", err=True)
    return code
