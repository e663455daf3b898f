"""`claimstream broker`: a Kafka to try things with."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from stream.cli.output import emit_json
from stream.embedded import EmbeddedKafka


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), help="Port of the first broker; free ones otherwise.")
@click.option("--brokers", type=click.Choice(["1", "3"]), default="1", show_default=True, help="How many brokers.")
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Keep the data here.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as one JSON object.")
def command(port: int | None, brokers: str, directory: Path | None, *, as_json: bool) -> None:
    """Run an embedded Apache Kafka on loopback until Ctrl-C.

    \b
    Example:
      claimstream broker --port 9092
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with EmbeddedKafka(int(brokers), port=port, directory=directory) as kafka:
        if as_json:
            emit_json({"bootstrap": kafka.bootstrap})
        else:
            click.echo(f"Kafka is ready at {kafka.bootstrap}; Ctrl-C ends it")
        stopped.wait()
