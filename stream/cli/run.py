"""`claimstream run`: the scoring stage as a service."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

import click

from config import ConfigurationError
from stream.cli.configuration import config_option, effective
from stream.clock import SystemClock
from stream.errors import ClaimstreamError, UsageError
from stream.log_lines import formatter
from stream.service import Service

log = logging.getLogger(__name__)


@click.command()
@config_option
@click.option("--bootstrap", help="Addresses of brokers; over kafka.bootstrap_servers.")
@click.option("--model", help="Score every claim with this model alone, e.g. null.")
@click.option("--workers", type=click.IntRange(1, 256), help="Worker processes; over workers.processes.")
@click.option("--port", type=int, help="Port of the operator's endpoints; over http.port.")
def command(
    config_file: Path | None, bootstrap: str | None, model: str | None, workers: int | None, port: int | None
) -> int:
    """Score claims until told to stop; SIGTERM or Ctrl-C drains, a second one ends at once.

    \b
    Example:
      claimstream run --bootstrap 127.0.0.1:9092 --workers 2
    """
    settings = effective(
        config_file,
        {
            "kafka.bootstrap_servers": bootstrap,
            "routes": None if model is None else {"*": [model]},
            "workers.processes": workers,
            "http.port": port,
        },
    )
    service = Service(settings, SystemClock())
    as_json = settings.logging.format == "json"
    say = partial(_say, formatter("json")) if as_json else partial(_say, None)

    def stop(_: int, __: FrameType | None) -> None:
        if service.stopping:
            say(f"ended at once; {service.in_flight()} claims in flight stay uncommitted")
            service.kill()
            sys.exit(1)
        say("draining; once more ends at once")
        service.request_stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return _logged(service) if as_json else service.run()


def _logged(service: Service) -> int:
    """The exit code; what ends the stage is a line of the log like every other."""
    try:
        return service.run()
    except ClaimstreamError as error:
        log.error("%s", error)  # noqa: TRY400 - what is meant for a person needs no traceback
        return error.exit_code
    except ConfigurationError as error:
        log.error("%s", error)  # noqa: TRY400
        return UsageError.exit_code
    except Exception:
        log.exception("the stage ends")
        return ClaimstreamError.exit_code


def _say(lines: logging.Formatter | None, text: str) -> None:
    """Said in a handler of signals, where the log may be in the middle of a line of its own."""
    if lines is not None:
        text = lines.format(logging.LogRecord(log.name, logging.INFO, __file__, 0, text, None, None))
    # The disk of standard error may be full, and what was asked for is to happen all the same.
    with suppress(OSError):
        click.echo(text, err=True)
