"""`claimstream score`: the stage's scores for a file, without Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.errors import printable
from stream.allocator import keep_freed_memory
from stream.cli.configuration import config_option, effective
from stream.cli.examples import example
from stream.cli.output import emit_json, notice, progress, say_left_out
from stream.cli.places import check_places
from stream.clock import Clock, SystemClock
from stream.errors import ClaimstreamError, UsageError
from stream.publishing import (
    ClaimSource,
    Counts,
    Reject,
    load_mapping,
    nothing_made,
    open_claims,
    write_rejects,
)
from stream.publishing.claim_source import NOTHING
from stream.publishing.supply import SHOWN_REJECTS
from stream.turns import hand_over_quickly

if TYPE_CHECKING:
    from config import Settings
    from models import CacheOptions
    from stream.offline import Fleet, Inputs, Layout, Portions, Store


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to. rows = claims + rejected + merged; claims = scored + lost; resumed: claims found scored.

    ignored: fields of the file that are no part of a claim.
    """

    rows: int
    claims: int
    scored: int
    lost: int
    rejected: int
    merged: int
    resumed: int
    output: str
    models: tuple[str, ...]
    seconds: float
    claims_per_s: float
    ignored: tuple[str, ...]


@click.command(
    name="score",
    epilog=example(
        "claimstream score claims.csv.gz --mapping tuva --output scores.parquet",
        "claimstream score claims.csv.gz --mapping tuva --output scores.csv",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--mapping",
    metavar="NAME|PATH",
    help="How rows become claims, e.g. tuva; without it FILE holds claims as they are.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where results go, as .parquet, .avro or .csv.",
)
@click.option("--model", help="Score every claim with this model alone; over the routes.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Claims of a forward; over batching.size_max.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="Of a forward; over workers.torch_threads."
)
@click.option(
    "--key",
    type=click.Choice(["member_id", "claim_id"]),
    default="member_id",
    show_default=True,
    help="What chooses among weighted versions, as the record's key does.",
)
@click.option(
    "--rejects",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where rows without a score go, with reasons.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@config_option
def command(
    file: Path,
    mapping: str | None,
    output: Path,
    model: str | None,
    batch_size: int | None,
    threads: int | None,
    key: str,
    rejects: Path | None,
    config_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Score the claims of a file with the stage's own models and code.

    FILE is whatever `claimstream publish` reads: CSV, JSON lines, an Avro container or Parquet.

    A run that was broken off goes on where it stopped when the same command is given again.
    """
    check_places({"--output": output, "--rejects": rejects}, {"FILE": file, "--config": config_file}, mapping)
    settings = effective(
        config_file, {"routes": None if model is None else {"*": [model]}, "workers.torch_threads": threads}
    )
    from stream.offline import Layout, suffix_of

    suffix_of(output)
    layout = Layout(batch_size or settings.batching.size_max, key)
    _Run(settings, layout, file, mapping, output, rejects).do(as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Run:
    """One call, from its file to its output."""

    settings: Settings
    layout: Layout
    file: Path
    mapping: str | None
    output: Path
    rejects: Path | None

    def do(self, *, as_json: bool) -> None:
        # torch takes seconds to import; a file that does not fit its mapping is told sooner.
        mapping = None if self.mapping is None else load_mapping(self.mapping)
        notice(f"reading {self.file.name}")
        from stream.offline import Inputs

        inputs = Inputs.of(self.file, mapping)
        source = open_claims(self.file, mapping)
        self._refuse_without_claims(source)
        notice(f"loading {', '.join(sorted(_names(self.settings)))}")
        from stream.offline import Portions, Store, identity_of, opened_models, origin_of

        origin = origin_of(self.file, self.mapping, mapping)
        inputs.check()
        hand_over_quickly()
        keep_freed_memory()
        clock = SystemClock()
        with opened_models(_options(self.settings), self.settings.routes) as fleet:
            identity = identity_of(origin, fleet, self.settings.routes, self.layout)
            with Store.open(self.output, identity) as store:
                start, found = clock.now(), store.done
                portions = Portions(source, self.layout.portion, found)
                with _unchanged(inputs, store):
                    self._score(portions, source.expected, fleet, store, clock, inputs.check)
                lost = store.lost()
                rejects = sorted([*portions.rejects, *lost], key=lambda reject: reject.row)
                if self.rejects is not None:
                    write_rejects(self.rejects, rejects)
                if len(lost) == portions.counts.claims:
                    _say(store.discard())
                    raise self._nothing(portions, lost)
                _say(store.deliver())
        summary = self._summary(portions.counts, len(lost), found, fleet, clock.now() - start, source.ignored)
        _report(summary, rejects, as_json=as_json)

    def _nothing(self, portions: Portions, lost: list[Reject]) -> ClaimstreamError:
        """Of a run without a score: no row made a claim, or none of the claims could be scored."""
        if not lost:
            return UsageError(nothing_made(self.file, portions.counts, portions.rejects))
        first = lost[0]
        return ClaimstreamError(
            f"none of the {len(lost):,} claims of {self.file} has a score, and so there is no output; the first"
            f" (row {first.row}) because: {first.reason}"
        )

    def _refuse_without_claims(self, source: ClaimSource) -> None:
        """Raises UsageError where it is known beforehand that there is none."""
        if source.expected:
            return
        counts, rejects = NOTHING, list[Reject]()
        for read in source.batches():
            counts = counts.with_rows(read)
            rejects += read.rejects
        if self.rejects is not None:
            write_rejects(self.rejects, rejects)
        raise UsageError(nothing_made(self.file, counts, rejects))

    def _score(
        self,
        portions: Portions,
        expected: int,
        fleet: Fleet,
        store: Store,
        clock: Clock,
        check: Callable[[], None],
    ) -> None:
        from stream.offline import OfflineScorer, score_all

        if store.delivered:
            portions.rest()
            return
        scorer = OfflineScorer(fleet, self.settings.routes, self.layout, self.file.name, clock)
        with progress(f"scoring {self.file.name}", expected) as bar:
            bar.advance(store.done)
            try:
                score_all(portions, scorer, store, bar.advance, check)
            except KeyboardInterrupt:
                raise ClaimstreamError(
                    f"stopped by the keyboard after {store.done} of {expected} claims; the same command goes on there"
                ) from None

    def _summary(
        self, counts: Counts, lost: int, found: int, fleet: Fleet, seconds: float, ignored: tuple[str, ...]
    ) -> Summary:
        return Summary(
            rows=counts.rows,
            claims=counts.claims,
            scored=counts.claims - lost,
            lost=lost,
            rejected=counts.rejected,
            merged=counts.merged,
            resumed=found,
            output=str(self.output),
            models=fleet.versions,
            seconds=round(seconds, 3),
            claims_per_s=round((counts.claims - found) / max(seconds, 1e-9), 1),
            ignored=ignored,
        )


@contextmanager
def _unchanged(inputs: Inputs, store: Store) -> Iterator[None]:
    """Raises UsageError in the end where the input changed, also where it looked damaged for that.

    A store without a claim goes then: under the name of what the input was, it would refuse the next run.
    """
    try:
        yield
    except UsageError:
        _refuse_changed(inputs, store)
        raise
    _refuse_changed(inputs, store)


def _refuse_changed(inputs: Inputs, store: Store) -> None:
    try:
        inputs.check()
    except UsageError:
        if not store.done and not store.delivered:
            _say(store.discard())
        raise


def _say(left: str | None) -> None:
    if left is not None:
        click.echo(printable(left), err=True)


def _report(summary: Summary, rejects: list[Reject], *, as_json: bool) -> None:
    if as_json:
        emit_json(asdict(summary))
        return
    click.echo(
        f"{summary.scored:,} claims scored to {summary.output} in {summary.seconds:.1f} s"
        f" ({summary.claims_per_s:,.0f}/s); {summary.rows:,} rows = {summary.claims:,} claims"
        f" + {summary.rejected:,} rejected + {summary.merged:,} merged"
    )
    if summary.resumed:
        click.echo(f"{summary.resumed:,} of them had been scored before the run was broken off")
    if summary.lost:
        click.echo(f"claims that could not be scored: {summary.lost:,}")
    say_left_out(summary.ignored, rejects[:SHOWN_REJECTS])


def _names(settings: Settings) -> set[str]:
    return {name for names in settings.routes.values() for name in names}


def _options(settings: Settings) -> CacheOptions:
    """The stage's own models and threads, and a GPU alone; what is needed once is not worth a Redis."""
    from stream.options import cache_options

    return replace(cache_options(settings), redis_url=None, devices=())
