"""The command line: finds commands, turns errors into one clear message and an exit code."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from config.errors import ConfigurationError
from stream.cli.examples import example
from stream.errors import ClaimstreamError

FAILED, USAGE, INTERRUPTED = 1, 2, 130

COMMANDS = {
    "demo": "Score claims on a Kafka of its own and audit the result.",
    "run": "Run the scoring stage.",
    "publish": "Publish claims from a file or a generator.",
    "score": "Score the claims of a file, without Kafka.",
    "status": "Show what a running stage does, and why.",
    "tail": "Print scores as they arrive.",
    "audit": "Check that every claim has exactly one answer.",
    "dlq": "List, show and replay dead letters.",
    "topics": "Create topics.",
    "broker": "Run an embedded Kafka in the foreground.",
    "config": "Check the configuration.",
    "bench": "Measure speed and latency.",
    "models": "Train, publish and roll out models.",
}


class LazyGroup(click.Group):
    """Imports the module of a command when that command is called, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        return [name for name in COMMANDS if importlib.util.find_spec(f"stream.cli.{name}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"stream.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=example("claimstream demo", "claimstream run --help"),
)
@click.version_option(package_name="claimstream", prog_name="claimstream")
def claimstream() -> None:
    """Score insurance claims on Kafka."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0, 1 (failed), 2 (bad usage or configuration), 3 (stopped) or 130 (interrupted).

    A command that ends an interrupt itself says so by its own code: `publish` and `score` 1, `tail` and `broker` 0.
    """
    # Where it was closed nobody wants to read it.
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that a terminal has no characters for is shown all the same.
            stream.reconfigure(errors="backslashreplace")
    code = run(arguments)
    _drop_unwritten()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """The exit code of a command, after its one message on standard error."""
    try:
        result = claimstream.main(args=arguments, prog_name="claimstream", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return USAGE
    except ConfigurationError as error:
        return _say(error, USAGE)
    except ClaimstreamError as error:
        return _say(error, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        if (told := _told(error)) is None:
            raise
        return _say(told, FAILED)
    return result if isinstance(result, int) else 0


def _drop_unwritten() -> None:
    """What standard output refuses: Python would try it once more at the end, complain, and change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: Exception) -> Exception | None:
    """What to say of an error that is none of the command line's; None of a defect.

    Looks at what is loaded: importing `models` brings torch, which most commands do without.
    """
    if isinstance(error, OSError) and _is_of_output(error):
        return ClaimstreamError(f"standard output cannot be written: {error.strerror}")
    errors = sys.modules.get("models.errors")
    return error if errors is not None and isinstance(error, errors.ModelError) else None


def _is_of_output(error: OSError) -> bool:
    """Commands print by `click.echo` alone, and it calls nothing of Python's own to write."""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    return innermost.f_code is click.echo.__code__


def _say(error: Exception, code: int) -> int:
    click.echo(f"claimstream: {error}", err=True)
    return code
