"""`claimstream models train`: train what ships."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.cli.output import emit_json, progress

if TYPE_CHECKING:
    from models.training import Labelled

_HELD_OUT = 20_000


@click.command(name="train")
@click.option(
    "--claims", type=click.IntRange(1_000), default=100_000, show_default=True, help="Generated claims."
)
@click.option("--epochs", type=click.IntRange(1), default=6, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write."
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as one JSON object.")
def train_command(claims: int, epochs: int, seed: int, output: Path, *, as_json: bool) -> None:
    """Train claims_filter on generated claims and their labels; the same options give the same weights.

    \b
    Example:
      claimstream models train --output claims_filter/2.1.0
    """
    # torch takes seconds to import, which the commands beside this one do not owe.
    from models.features import FeatureSpec
    from models.manifest import Architecture
    from models.training import Recipe, train

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
    with progress("training", claims * epochs) as bar:
        manifest = train(recipe, labelled(claims, seed), labelled(_HELD_OUT, seed + 1), output, bar.advance)
    if as_json:
        emit_json(manifest.metrics)
        return
    click.echo(
        f"{output}: held-out AUC {manifest.metrics['auc']}, AP {manifest.metrics['average_precision']}"
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
    kinds = pa.chunked_array([pc.map_lookup(batch.column("attributes"), LABEL, "first") for batch in batches])
    return Labelled(batches, pc.not_equal(kinds, "none").to_numpy().astype(np.float32))
