"""`claimstream demo`: the main job, end to end, on real Kafka."""

from __future__ import annotations

import importlib
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from stream.audit import Topics
from stream.cli.configuration import config_option, effective
from stream.cli.extras import embedded_for
from stream.cli.output import emit_json, say_left_out
from stream.clock import SystemClock
from stream.demonstration import Plan, Report, Show
from stream.demonstration.live import LiveTable
from stream.demonstration.picture import check_place, draw
from stream.demonstration.show import fresh_topics
from stream.errors import UsageError
from stream.publishing import Supply, from_file, from_generator

_CLAIMS = 20_000
_PASSED = (
    "PASSED: each claim has exactly one score, in order and as a plain offline pass gives it; "
    "being on time is measured, not judged"
)


@click.command()
@config_option
@click.option(
    "--claims", type=click.IntRange(1), help=f"Generated claims, without --input.  [default: {_CLAIMS}]"
)
@click.option(
    "--rate",
    type=click.FloatRange(1.0),
    default=1_000.0,
    show_default=True,
    help="Claims a second (Poisson).",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Of generated claims, and of all arrivals.",
)
@click.option(
    "--input", "source", type=click.Path(path_type=Path), help="Real claims, CSV or CSV.gz, instead."
)
@click.option("--mapping", help="How the columns of --input become claims, e.g. tuva.")
@click.option("--model", help="Model to score with; the configured route otherwise.")
@click.option(
    "--bootstrap", help="Your own Kafka, with the Redis of the configuration; embedded ones otherwise."
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("out/demo-latency.png"),
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    config_file: Path | None,
    claims: int | None,
    rate: float,
    seed: int,
    source: Path | None,
    mapping: str | None,
    model: str | None,
    bootstrap: str | None,
    picture: Path,
    *,
    as_json: bool,
) -> int:
    """Publish claims, score them with two workers (a third joins half-way), audit the result from outside.

    Exit code 1 when a claim that the broker took has no score, or more than one, one out of order or another than a
    plain offline pass gives; what share was on time is printed, and depends on what else the machine does.

    \b
    Example:
      claimstream demo --claims 5000 --json
    """
    with embedded_for("the demo"):
        # The picture is drawn at the end, which is no time to find that out.
        importlib.import_module("matplotlib")
        from stream.embedded import EmbeddedKafka, EmbeddedRedis
    check_place(picture)
    if not math.isfinite(rate):
        raise UsageError(f"--rate {rate} is no number of claims a second")
    supply = _supply(source, mapping, claims, seed)
    topics = fresh_topics()
    with ExitStack() as services:
        address, redis_url = bootstrap, None
        if bootstrap is None:
            address = services.enter_context(EmbeddedKafka()).bootstrap
            redis_url = services.enter_context(EmbeddedRedis()).url
        settings = effective(config_file, _overrides(topics, address, redis_url, model))
        plan = Plan(supply.expected, rate, seed, added_workers=1)
        with LiveTable(settings.latency.budget_ms) as table:
            report = Show(settings, supply, plan, SystemClock(), table.watch).run()
    if as_json:
        emit_json({**report.as_json(), "rejected": supply.counts.rejected, "ignored": supply.ignored})
    else:
        _print_source(supply)
        _print(report)
    _draw(report, picture, as_json=as_json)
    return 0 if report.passed else 1


def _overrides(
    topics: Topics, bootstrap: str | None, redis_url: str | None, model: str | None
) -> dict[str, Any]:
    return {
        "kafka.bootstrap_servers": bootstrap,
        "kafka.group_id": f"group-of-{topics.claims}",
        "kafka.topics.input": topics.claims,
        "kafka.topics.output": topics.scores,
        "kafka.topics.dead_letters": topics.dead_letters,
        "cache.redis_url": redis_url,
        "routes": {"*": [model]} if model else None,
        "workers.processes": 2,
        "http.port": 0,
        "logging.level": "error",
    }


def _supply(source: Path | None, mapping: str | None, claims: int | None, seed: int) -> Supply:
    if source is None:
        if mapping is not None:
            raise UsageError("--mapping is for the columns of --input: give both or neither")
        return from_generator(claims or _CLAIMS, seed)
    if claims is not None:
        raise UsageError("--claims belongs to generated claims: leave it out, or --input")
    if mapping is None:
        raise UsageError("--input needs --mapping, e.g. --mapping tuva")
    return from_file(source, mapping)


def _print_source(supply: Supply) -> None:
    """What of a file is not among the claims."""
    if supply.counts.rejected:
        click.echo(f"rejected {supply.counts.rejected:,} of {supply.counts.rows:,} rows")
    say_left_out(supply.ignored, supply.rejects)


def _print(report: Report) -> None:
    found = report.finding
    click.echo(f"published {found.published}, scored {found.scored}, dead letters {found.dead_letters}")
    click.echo(
        f"audit: lost {found.lost}, duplicated {found.duplicated}, different from the offline pass {found.mismatched}, "
        f"wrong lineage {found.wrong_lineage}, out of order {found.out_of_order}, altered {found.altered}"
    )
    if report.p50_ms is not None:
        click.echo(
            f"latency P50 {report.p50_ms} ms, P95 {report.p95_ms} ms, P99 {report.p99_ms} ms, "
            f"{report.claims_per_s:.0f} claims/s"
        )
    click.echo(_on_time(report))
    click.echo(f"models: {_models(report.cache)}")
    click.echo(_PASSED if report.passed else f"FAILED: {'; '.join(report.faults)}")


def _draw(report: Report, picture: Path, *, as_json: bool) -> None:
    """After the verdict, which stands whatever becomes of the picture."""
    if not len(report.times):
        return
    try:
        draw(report, picture)
    except OSError as error:
        click.echo(f"claimstream: the latency plot {picture} was not written: {error.strerror}", err=True)
        return
    if not as_json:
        click.echo(f"latency plot: {picture}")


def _on_time(report: Report) -> str:
    share = "no score came" if report.on_time is None else f"{100 * report.on_time:.1f} % of the scores"
    return f"on time: {share} (budget {report.budget_ms:.0f} ms)"


def _models(cache: dict[str, Any]) -> str:
    """Look-ups and loads as the workers' caches counted them."""
    served = {tier["tier"]: tier["served"] for tier in cache["tiers"]}
    loads = ", ".join(f"{served[tier]} from {tier}" for tier in served if tier != "device" and served[tier])
    rate = cache["hit_rate_l1"]
    share = "" if rate is None else f", {100 * rate:.1f} % of them served by device or memory"
    return f"{sum(served.values())} look-ups{share}; loads: {loads or 'none'}"
