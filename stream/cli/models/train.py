"""`claimstream models train`: a model of labelled claims in a file, or what ships."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.errors import FeatureError, TrainingError
from stream.cli.examples import example
from stream.cli.models.place import make_place
from stream.cli.models.train_file import FileTraining, train_file
from stream.cli.output import emit_json, notice, progress
from stream.errors import UsageError
from stream.publishing.labels import LabelColumns

if TYPE_CHECKING:
    from models.measures import Interval
    from models.training import Labelled

_HELD_OUT = 20_000
_CLAIMS = 100_000
_EPOCHS = 6
_MOST_EPOCHS = 40
_DATES = ("lag", "service_weekday", "service_month", "received_weekday", "received_month")
_TOGETHER = ("mapping", "label", "positive", "time")


@click.command(
    name="train",
    epilog=example(
        "claimstream models train --data claims.csv.gz --mapping tsa \\",
        "    --label Disposition --positive Deny --time 'Date Received'",
        "claimstream models train --output out/claims_filter/2.1.0",
    ),
)
@click.option("--data", type=click.Path(path_type=Path), help="File of labelled claims; needs the next four.")
@click.option("--mapping", help="How its columns become claims: a shipped mapping or a YAML file.")
@click.option("--label", metavar="COLUMN", help="What became of a claim; empty where that is not known.")
@click.option(
    "--positive", metavar="VALUE", help="The label whose chance is predicted; all others are its absence."
)
@click.option(
    "--time", metavar="COLUMN", help="When a claim came; later claims measure what earlier ones taught."
)
@click.option("--undecided", metavar="VALUE", multiple=True, help="A label of which nothing is learned.")
@click.option(
    "--test-from",
    type=click.DateTime(["%Y-%m-%d"]),
    help="First day of the claims that measure. Default: the latest fifth.",
)
@click.option(
    "--number", "numbers", metavar="ATTRIBUTE", multiple=True, help="An attribute that is a number."
)
@click.option(
    "--date-token",
    "dates",
    type=click.Choice(_DATES),
    metavar="TOKEN",
    multiple=True,
    default=("lag",),
    show_default=True,
    help=f"What of the dates is a category: {', '.join(_DATES)}.",
)
@click.option("--name", help="Name of the model. Default: that of the mapping.")
@click.option("--version", default="1.0.0", show_default=True)
@click.option(
    "--claims", type=click.IntRange(1_000), help=f"Generated claims, without --data. Default: {_CLAIMS}."
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help=f"At most with --data ({_MOST_EPOCHS}: it stops when later claims gain nothing), else exactly ({_EPOCHS}).",
)
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write. Default with --data: out/NAME/VERSION.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as one JSON object.")
@click.pass_context
def train_command(context: click.Context, /, **options: Any) -> None:
    """Train a model on a file of labelled claims, with a model card; the same options give the same weights.

    Claims are split by time. What is read of a claim is what the mapping makes of it: its type, attributes, codes,
    lines and dates; never the label, nor what the mapping calls an outcome. Without --data it trains what ships,
    claims_filter, on generated claims.
    """
    if options["data"] is None:
        _train_generated(options)
        return
    if missing := [name for name in _TOGETHER if not options[name]]:
        raise click.UsageError(f"--data needs --{missing[0]} as well")
    if options["claims"] is not None:
        raise click.UsageError("--claims belongs to generated claims: leave it out, or --data")
    _train_on_file(options, _written(context))


def _train_on_file(options: dict[str, Any], arguments: list[str]) -> None:
    last: datetime | None = options["test_from"]
    asked = FileTraining(
        data=options["data"],
        mapping=options["mapping"],
        columns=LabelColumns(options["label"], options["positive"], options["time"], options["undecided"]),
        test_from=last.date() if last else None,
        numbers=options["numbers"],
        dates=options["dates"],
        name=options["name"],
        version=options["version"],
        epochs=options["epochs"] or _MOST_EPOCHS,
        seed=options["seed"],
        output=options["output"],
        arguments=arguments,
    )
    try:
        learned = train_file(asked)
    except (TrainingError, FeatureError) as error:
        raise UsageError(f"{asked.data}: {error}") from error
    if options["as_json"]:
        emit_json({"folder": str(asked.folder), "metrics": learned.manifest.metrics})
        return
    found = learned.discrimination
    click.echo(
        f"{asked.folder}: AUC {found.auc}, AP {found.average_precision} on {len(learned.scores):,} later claims; "
        f"see model_card.md there\n{_doubt(found.auc)}"
        f"publish it: claimstream models push {asked.folder} --repository FOLDER"
    )


def _doubt(auc: Interval) -> str:
    """A line where it is not sure that anything was learned."""
    if auc.low > 0.5:
        return ""
    return "perhaps no better than chance, an AUC of 0.5: give it more claims, or other columns\n"


def _written(context: click.Context) -> list[str]:
    """The options that were given, as they would be written again."""
    given = []
    for parameter in context.command.params:
        name = str(parameter.name)
        if (
            context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE
            or name == "as_json"
        ):
            continue
        value = context.params[name]
        for each in value if isinstance(value, tuple) else (value,):
            given += [parameter.opts[0], f"{each:%Y-%m-%d}" if isinstance(each, datetime) else str(each)]
    return given


def _train_generated(options: dict[str, Any]) -> None:
    """What ships: claims_filter, of generated claims and the anomalies planted in them."""
    if stray := [name for name in (*_TOGETHER, "test_from", "name", "undecided", "numbers") if options[name]]:
        raise click.UsageError(f"--{stray[0].replace('_', '-')} needs --data, the file that it is about")
    if options["output"] is None:
        raise click.UsageError("Missing option '--output'.")
    output: Path = options["output"]
    make_place(output)
    notice("generating claims")
    # torch takes seconds to import, which the commands beside this one do not owe.
    from models.features import FeatureSpec
    from models.manifest import Architecture
    from models.measures import chance
    from models.training import Recipe, train

    claims, epochs, seed = options["claims"] or _CLAIMS, options["epochs"] or _EPOCHS, options["seed"]
    recipe = Recipe(
        name="claims_filter",
        version="2.1.0",
        features=FeatureSpec(
            length=24, codes=6, token_attributes=("sex",), number_attributes=("age",), buckets=64
        ),
        architecture=Architecture(width=64, heads=4, layers=2),
        epochs=epochs,
        seed=seed,
        data=f"{claims} generated claims, seed {seed}; labels are the planted anomalies",
    )
    data, held_out = labelled(claims, seed), labelled(_HELD_OUT, seed + 1)
    with progress("training", claims * epochs) as bar:
        manifest = train(recipe, data, held_out, output, bar.advance)
    if options["as_json"]:
        emit_json(manifest.metrics)
        return
    click.echo(
        f"{output}: held-out AUC {manifest.metrics['auc']}, AP {manifest.metrics['average_precision']}"
    )
    if manifest.metrics["auc"] <= chance(held_out.labels):
        click.echo(
            f"no better than chance: so few claims teach nothing; what ships learned of {_CLAIMS:,}, {_EPOCHS} times"
        )


def labelled(count: int, seed: int) -> Labelled:
    """Generated claims; label 1 where an anomaly was planted."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from models.features import LABEL
    from models.training import Labelled
    from stream.publishing import generate

    batches = list(generate(count, seed))
    kinds = pa.chunked_array([pc.map_lookup(batch.column("attributes"), LABEL, "last") for batch in batches])
    return Labelled(batches, pc.not_equal(kinds, "none").to_numpy().astype(np.float32))
