"""`claimstream publish`: claims from a file of any kind, or the generator, onto a topic."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from confluent_kafka import KafkaException

import schemas
from stream.cli.configuration import effective
from stream.cli.kafka_options import configured_client, kafka_options, refused_config
from stream.cli.output import emit_json, notice, progress, say_left_out
from stream.cli.places import check_places
from stream.cli.topic_check import partitions_of
from stream.clock import SystemClock
from stream.codec import Encoder, Framing
from stream.errors import ClaimstreamError, UsageError
from stream.publishing import (
    PATTERNS,
    ArrivalPacer,
    DeliveryError,
    Pacer,
    Publisher,
    Recorder,
    Supply,
    from_file,
    from_generator,
    pacer,
    parse_pattern,
    publish_all,
    read_recording,
    repeated,
)
from stream.publishing.registration import register

FRAMINGS = {
    "single-object": Framing.SINGLE_OBJECT,
    "confluent": Framing.CONFLUENT,
    "bare": Framing.BARE,
}

EXAMPLES = """
\b
Examples:
  claimstream publish --generate 20000 --seed 7 --rate 500
  claimstream publish --generate 20000 --rate 500 --arrivals bursts:height=10
  claimstream publish claims.csv.gz --mapping tuva --rejects rejected.csv
  claimstream publish claims.avro
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run did. rows = claims + rejected + merged; ignored: fields of the file that are no part of a claim."""

    rows: int
    claims: int
    published: int
    rejected: int
    merged: int
    seconds: float
    claims_per_s: float
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One run, checked: nothing of it was sent yet."""

    supply: Supply
    publisher: Publisher
    pacer: Pacer | None
    topic: str
    repeat: int
    recorder: Recorder | None

    @property
    def total(self) -> int:
        """Claims of all passes, unless some are rejected on the way."""
        return self.supply.expected * self.repeat


@click.command(name="publish", epilog=EXAMPLES)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--mapping",
    metavar="NAME|PATH",
    help="How rows become claims, e.g. tuva; without it FILE holds claims as they are.",
)
@click.option("--generate", "generated", type=click.IntRange(min=1), metavar="N", help="Generate N claims.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Of the claims and their arrivals.",
)
@click.option("--topic", metavar="NAME", help="Topic of claims; over kafka.topics.input.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Claims a second [default: no limit]."
)
@click.option(
    "--arrivals",
    metavar="PATTERN",
    help=f"How --rate is spread over time: {', '.join(PATTERNS)}; with numbers of its own as in"
    " bursts:height=10,burst=5,calm=55 or diurnal:period=3600  [default: poisson]",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write when each claim left.",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Publish at the times of a file made by --record.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Passes over the claims; later ones add ~2, ~3 … to the claim ids.",
)
@click.option(
    "--key",
    type=click.Choice(["member_id", "claim_id"]),
    default="member_id",
    show_default=True,
    help="The record's key: claims of one key keep their order.",
)
@click.option("--framing", type=click.Choice(list(FRAMINGS)), default="single-object", show_default=True)
@click.option("--registry", metavar="URL", help="Schema Registry, for --framing confluent.")
@click.option(
    "--rejects", type=click.Path(path_type=Path), metavar="FILE", help="Where rejected rows go, with reasons."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@kafka_options
def command(*, as_json: bool, **options: Any) -> None:
    """Publish claims from a file, or generated ones, and wait until the broker has them all.

    FILE is CSV, JSON lines, an Avro container or Parquet; CSV and JSON lines may be gzipped. With --mapping its rows
    become claims; without, its records must have the fields of schemas/claim_event.avsc.

    Everything that can be checked is checked before the first claim is sent.
    """
    _run(_plan(**options), as_json)


def _plan(
    *,
    file: Path | None,
    mapping: str | None,
    generated: int | None,
    seed: int,
    topic: str | None,
    rate: float | None,
    arrivals: str | None,
    record: Path | None,
    replay: Path | None,
    repeat: int,
    key: str,
    framing: str,
    registry: str | None,
    rejects: Path | None,
    config_file: Path | None,
    bootstrap: str | None,
    client_options: tuple[str, ...],
) -> Plan:
    read = {"FILE": file, "--replay": replay, "--config": config_file}
    check_places({"--rejects": rejects, "--record": record}, read, mapping)
    settings = effective(config_file, {"kafka.bootstrap_servers": bootstrap, "kafka.topics.input": topic})
    kafka = settings.kafka
    config = configured_client(kafka.client, kafka.bootstrap_servers, client_options)
    topic = kafka.topics.input
    if (framing == "confluent") != (registry is not None):
        raise UsageError("--framing confluent and --registry URL go together: give both or neither")
    supply = _supply(file, mapping, generated, seed, rejects)
    pace = _pace(rate, arrivals, replay, seed, supply.expected * repeat)
    partitions_of(config, topic, settings)
    encoder = _encoder(framing, registry, topic)
    try:
        publisher = Publisher(config, topic, encoder, key_field=key)
        publisher.connect()
    except KafkaException as error:
        raise refused_config(error, config) from error
    return Plan(supply, publisher, pace, topic, repeat, None if record is None else Recorder(record))


def _supply(
    file: Path | None, mapping: str | None, generated: int | None, seed: int, rejects: Path | None
) -> Supply:
    if (file is None) == (generated is None):
        raise UsageError(
            "name a FILE with its --mapping, or --generate N: one of the two"
            " (a FILE of claims in Avro, JSON lines or Parquet needs no --mapping)"
        )
    if file is None:
        assert generated is not None
        if idle := [name for name, given in (("--mapping", mapping), ("--rejects", rejects)) if given]:
            raise UsageError(f"--generate makes claims of its own: leave out {' and '.join(idle)}")
        return from_generator(generated, seed)
    notice(f"reading {file.name}")
    return from_file(file, mapping, rejects)


def _pace(
    rate: float | None, arrivals: str | None, replay: Path | None, seed: int, claims: int
) -> Pacer | None:
    if replay is not None:
        if rate is not None or arrivals is not None:
            raise UsageError("--replay brings its own times: leave out --rate and --arrivals")
        return _replayed(replay, claims)
    if rate is None:
        if arrivals is not None:
            raise UsageError("--arrivals spreads a rate over time: give --rate as well")
        return None
    if not math.isfinite(rate):
        raise UsageError(f"--rate {rate} is no number of claims a second")
    return pacer(rate, parse_pattern(arrivals or "poisson"), seed)


def _replayed(recording: Path, claims: int) -> Pacer:
    times = read_recording(recording)
    if claims > len(times):
        raise UsageError(
            f"{recording} holds {len(times)} arrivals, and {claims} claims are to be published:"
            " publish fewer, or record more"
        )
    return ArrivalPacer(iter([times]))


def _encoder(framing: str, registry: str | None, topic: str) -> Encoder:
    schema = schemas.load("claim_event")
    if registry is None:
        return Encoder(schema, FRAMINGS[framing])
    return Encoder(schema, FRAMINGS[framing], register(registry, topic, schema))


def _run(plan: Plan, as_json: bool) -> None:
    clock = SystemClock()
    start = clock.now()
    failure: ClaimstreamError | None = None
    batches = repeated(plan.supply.batches, plan.repeat)
    with progress(f"publishing to {plan.topic}", plan.total) as bar:
        try:
            for sent in publish_all(
                plan.publisher, batches, clock=clock, pacer=plan.pacer, recorder=plan.recorder
            ):
                bar.advance(sent)
            plan.publisher.flush()
        except KeyboardInterrupt:
            failure = _interrupted(plan)
        except DeliveryError as error:
            failure = error
        except UsageError as error:
            failure = _broken_off(plan, error)
    try:
        _report(plan, clock.now() - start, as_json)
    finally:
        _end(plan.recorder, failure)


def _end(recorder: Recorder | None, failure: ClaimstreamError | None) -> None:
    """Raises the failure, whatever else goes wrong; of that only where there is none."""
    try:
        if recorder is not None:
            recorder.save()
    except UsageError as error:
        if failure is None:
            raise
        click.echo(f"claimstream: {error}", err=True)
    if failure is not None:
        raise failure


def _interrupted(plan: Plan) -> ClaimstreamError:
    """What was handed to the client is still brought to its end."""
    try:
        plan.publisher.flush()
    except DeliveryError as error:
        return error
    return ClaimstreamError(f"told to stop after {plan.publisher.acknowledged} of {plan.total} claims")


def _broken_off(plan: Plan, error: UsageError) -> ClaimstreamError:
    """The file turned out to be damaged on the way: what was read of it is published, and said."""
    if not plan.supply.counts.claims:
        return error
    try:
        plan.publisher.flush()
    except DeliveryError as undelivered:
        return undelivered
    return UsageError(f"{error}. {plan.publisher.acknowledged} claims before that were published")


def _report(plan: Plan, seconds: float, as_json: bool) -> None:
    counts = plan.supply.counts
    published = plan.publisher.acknowledged
    speed = round(published / max(seconds, 1e-9), 1)
    summary = Summary(
        rows=counts.rows,
        claims=counts.claims,
        published=published,
        rejected=counts.rejected,
        merged=counts.merged,
        seconds=round(seconds, 3),
        claims_per_s=speed,
        ignored=plan.supply.ignored,
    )
    if as_json:
        emit_json(asdict(summary))
        return
    click.echo(
        f"{published:,} claims published to {plan.topic} in {seconds:.1f} s ({speed:,.0f}/s);"
        f" {counts.rows:,} rows = {counts.claims:,} claims + {counts.rejected:,} rejected"
        f" + {counts.merged:,} merged"
    )
    say_left_out(plan.supply.ignored, plan.supply.rejects)
