"""`claimstream audit`: whether every claim has exactly one answer, seen from outside."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from stream.audit import Finding, Topics, audit
from stream.audit_errors import told
from stream.cli.configuration import config_option, effective
from stream.cli.examples import example
from stream.cli.kafka_options import configured_client
from stream.cli.output import emit_json, progress, table
from stream.cli.topic_check import partitions_of
from stream.errors import UsageError

_MEANINGS = {
    "lost": "records without result and dead letter",
    "duplicated": "answers beyond the first",
    "wrong_lineage": "answers that do not fit the record that they name",
    "out_of_order": "results of a key that came before an earlier record's",
    "altered": "dead letters that are not their record, byte for byte",
    "waiting": "records without an answer that the group did not commit yet",
    "unjudged": "answers to records that the input topic does not have, or only since",
}


@click.command(
    epilog=example(
        "claimstream audit claims claim-scores",
        "claimstream audit claims claim-scores --group claimstream --json",
    )
)
@click.argument("claims", metavar="INPUT")
@click.argument("scores", metavar="OUTPUT")
@config_option
@click.option("--dead-letters", metavar="NAME", help="Topic of dead letters; over kafka.topics.dead_letters.")
@click.option(
    "--group",
    metavar="NAME",
    help="The group of a stage that may be running: what it did not commit yet is waiting, not lost.",
)
@click.option("--bootstrap", metavar="HOST:PORT", help="Brokers; over kafka.bootstrap_servers.")
@click.option(
    "--client", "client_options", multiple=True, metavar="KEY=VALUE", help="A librdkafka option; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    claims: str,
    scores: str,
    config_file: Path | None,
    dead_letters: str | None,
    group: str | None,
    bootstrap: str | None,
    client_options: tuple[str, ...],
    *,
    as_json: bool,
) -> int:
    """Compare INPUT with OUTPUT and the dead letters, record by record; exit code 1 when something is wrong."""
    given = {"kafka.bootstrap_servers": bootstrap, "kafka.topics.dead_letters": dead_letters}
    if group == "":
        raise UsageError("--group is empty: name the group of the stage, or leave it out")
    settings = effective(config_file, given)
    kafka = settings.kafka
    config = configured_client(kafka.client, kafka.bootstrap_servers, client_options)
    topics = Topics(claims, scores, kafka.topics.dead_letters)
    for name in (topics.claims, topics.scores, topics.dead_letters):
        partitions_of(config, name, settings)
    finding = _audited(config, topics, group)
    if as_json:
        emit_json({**asdict(finding), "sound": finding.sound})
    else:
        _print(finding)
    return 0 if finding.sound else 1


def _audited(config: dict[str, str], topics: Topics, group: str | None) -> Finding:
    with told(), progress("reading records", None) as bar:
        return audit(config, topics, group=group, advance=bar.advance)


def _print(finding: Finding) -> None:
    click.echo(
        f"{finding.published:,} records, {finding.scored:,} results, {finding.dead_letters:,} dead letters"
    )
    rows = [(f"{getattr(finding, name):,}", name, text) for name, text in _MEANINGS.items()]
    click.echo(table(rows, ("COUNT", "WHAT", "MEANING")))
    for name, examples in finding.examples.items():
        for example_ in examples:
            click.echo(f"{name}: {example_}")
    click.echo("everything adds up" if finding.sound else "something is wrong")
