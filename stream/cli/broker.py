"""`claimstream broker`: a Kafka to try things with."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.cli.extras import embedded_for
from stream.cli.output import emit_json

if TYPE_CHECKING:
    from stream.embedded import EmbeddedKafka

_CHECK_SECONDS = 1.0


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65_533),
    default=9092,
    show_default=True,
    help="Port of the first broker; the others take the next ones.",
)
@click.option(
    "--brokers", type=click.Choice(["1", "3"]), default="1", show_default=True, help="How many brokers."
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the data here; without it they go when the broker ends.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the address as one JSON object.")
def command(port: int, brokers: str, directory: Path | None, *, as_json: bool) -> None:
    """Run an embedded Apache Kafka on loopback until Ctrl-C.

    \b
    Examples:
      claimstream broker
      claimstream broker --port 19092 --directory ./kafka-data
    """
    with _kafka(int(brokers), directory, port) as kafka:
        _announce(kafka, as_json=as_json)
        _wait(kafka)


def _kafka(brokers: int, directory: Path | None, port: int) -> EmbeddedKafka:
    with embedded_for("the broker"):
        from stream.embedded import EmbeddedKafka
        from stream.embedded.downloads import is_fetched
    if not is_fetched("kafka"):
        click.echo("downloading Apache Kafka, 44 MB, this once …", err=True)
    return EmbeddedKafka(brokers, directory, port=port)


def _announce(kafka: EmbeddedKafka, *, as_json: bool) -> None:
    if as_json:
        emit_json({"bootstrap": kafka.bootstrap, "directory": str(kafka.folder)})
    else:
        click.echo(f"Kafka is ready at {kafka.bootstrap}; Ctrl-C ends it")
        click.echo(f"Data and logs are in {kafka.folder}")


def _wait(kafka: EmbeddedKafka) -> None:
    """Until Ctrl-C or SIGTERM; raises FatalError when a broker ends by itself."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    while not stopped.wait(_CHECK_SECONDS):
        kafka.check()
