"""`claimstream score`: the stage's scores for a file, without Kafka."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.cli.configuration import config_option, effective
from stream.cli.examples import example
from stream.cli.output import emit_json, progress
from stream.clock import Clock, SystemClock
from stream.errors import ClaimstreamError, UsageError
from stream.publishing import ClaimsFile, Reject, load_claims, load_mapping, nothing_made, write_rejects

if TYPE_CHECKING:
    import pyarrow as pa

    from config import Settings
    from models import CacheOptions
    from stream.offline import Fleet, Layout, Lost, Store


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to. rows = claims + rejected + merged; claims = scored + lost; resumed: claims found scored."""

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


@click.command(
    name="score",
    epilog=example(
        "claimstream score claims.csv.gz --mapping tuva --output scores.parquet",
        "claimstream score claims.csv.gz --mapping tuva --output scores.csv --model claims_filter:2.1.0",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--mapping", required=True, metavar="NAME|PATH", help="How columns become claims, e.g. tuva.")
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
    mapping: str,
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

    A run that was broken off goes on where it stopped when the same command is given again.
    """
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
    mapping: str
    output: Path
    rejects: Path | None

    def do(self, *, as_json: bool) -> None:
        # torch takes seconds to import; a file that does not fit its mapping is told sooner.
        loaded = self._claims()
        from stream.offline import Store, identity_of, opened_models

        clock = SystemClock()
        with opened_models(_options(self.settings), self.settings.routes) as fleet:
            origin = (str(self.file), self.mapping)
            identity = identity_of(loaded.claims, origin, fleet, self.settings.routes, self.layout)
            with Store.open(self.output, identity) as store:
                start, found = clock.now(), store.done
                if not store.delivered:
                    self._score(loaded.claims, fleet, store, clock)
                lost = store.lost()
                if self.rejects is not None:
                    write_rejects(self.rejects, _all_rejects(loaded, lost))
                self._deliver(store, loaded.counts.claims - len(lost))
                self._report(loaded, lost, found, fleet, clock.now() - start, as_json=as_json)

    def _claims(self) -> ClaimsFile:
        loaded = load_claims(self.file, load_mapping(self.mapping))
        if not loaded.counts.claims:
            if self.rejects is not None:
                write_rejects(self.rejects, loaded.rejects)
            raise UsageError(nothing_made(self.file, loaded))
        return loaded

    def _score(self, claims: pa.RecordBatch, fleet: Fleet, store: Store, clock: Clock) -> None:
        from stream.offline import OfflineScorer, score_all

        scorer = OfflineScorer(fleet, self.settings.routes, self.layout, self.file.name, clock)
        with progress(f"scoring {self.file.name}", claims.num_rows) as bar:
            bar.advance(store.done)
            try:
                score_all(claims, scorer, store, self.layout.portion, bar.advance)
            except KeyboardInterrupt:
                raise ClaimstreamError(
                    f"stopped by the keyboard after {store.done} of {claims.num_rows} claims;"
                    " the same command goes on there"
                ) from None

    def _deliver(self, store: Store, results: int) -> None:
        with progress(f"writing {self.output.name}", results) as bar:
            store.deliver(bar.advance)

    def _report(
        self, loaded: ClaimsFile, lost: list[Lost], found: int, fleet: Fleet, seconds: float, *, as_json: bool
    ) -> None:
        counts = loaded.counts
        summary = Summary(
            rows=counts.rows,
            claims=counts.claims,
            scored=counts.claims - len(lost),
            lost=len(lost),
            rejected=counts.rejected,
            merged=counts.merged,
            resumed=found,
            output=str(self.output),
            models=fleet.versions,
            seconds=round(seconds, 3),
            claims_per_s=round((counts.claims - found) / max(seconds, 1e-9), 1),
        )
        if as_json:
            emit_json(asdict(summary))
            return
        click.echo(
            f"{summary.scored:,} claims scored to {self.output} in {seconds:.1f} s ({summary.claims_per_s:,.0f}/s);"
            f" {counts.rows:,} rows = {counts.claims:,} claims + {counts.rejected:,} rejected"
            f" + {counts.merged:,} merged"
        )
        if found:
            click.echo(f"{found:,} of them were scored by a run that was broken off")
        for reject in _all_rejects(loaded, lost)[:3]:
            click.echo(f"rejected row {reject.row}: {reject.reason}", err=True)


def _options(settings: Settings) -> CacheOptions:
    """The stage's own models and threads; what is needed once is not worth a Redis."""
    from stream.options import cache_options

    return replace(cache_options(settings), redis_url=None)


def _all_rejects(loaded: ClaimsFile, lost: list[Lost]) -> list[Reject]:
    """Rows that made no claim, and the first row of each claim that has no score."""
    ids = loaded.claims.column("claim_id")
    own = [Reject(int(loaded.rows[each.claim]), str(ids[each.claim].as_py()), each.reason) for each in lost]
    return sorted([*loaded.rejects, *own], key=lambda reject: reject.row)
