"""How well a model of real claims foretells what becomes of later ones: TSA claims of 2013 after 2010 to 2012."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from datetime import date
from pathlib import Path

from bench.report import Figure
from models.learning import Learned
from models.model_card import PICTURE
from stream.cli.models.train_file import FileTraining, train_file
from stream.publishing.labels import LabelColumns

log = logging.getLogger(__name__)

_BESIDE = Path(__file__).parents[2] / "shared" / "data"
_FILE = Path("tsa") / "tsa_claims_2010_2013.csv.gz"
_EPOCHS = 40
_FEW_EPOCHS = 6


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """Nothing where the claims are not at hand: CLAIMSTREAM_DATA names their folder."""
    file = Path(os.environ.get("CLAIMSTREAM_DATA", _BESIDE)) / _FILE
    if not file.is_file():
        log.warning("no %s: set CLAIMSTREAM_DATA to the folder that has %s", file, _FILE)
        return []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        learned = train_file(tsa(file, Path(folder) / "tsa" / "1.0.0", _FEW_EPOCHS if quick else _EPOCHS))
        seconds = time.perf_counter() - start
        plots.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(folder) / "tsa" / "1.0.0" / PICTURE, plots / "tsa_model_card.png")
    return _figures(learned, seconds)


def tsa(file: Path, output: Path, epochs: int) -> FileTraining:
    """Deny against Approve and Settle."""
    return FileTraining(
        data=file,
        mapping="tsa",
        columns=LabelColumns("Disposition", "Deny", "Date Received"),
        test_from=date(2013, 1, 1),
        numbers=(),
        dates=("lag",),
        name=None,
        version="1.0.0",
        epochs=epochs,
        seed=7,
        output=output,
        arguments=(),
    )


def _figures(learned: Learned, seconds: float) -> list[Figure]:
    found, curve = learned.discrimination, learned.calibration
    claims = f"{len(learned.scores):,} claims of 2013"
    return [
        Figure("auc_tsa_2013", found.auc.value, "", "≥ 0.7", f"95 %: {found.auc}; {claims}"),
        Figure("average_precision_tsa_2013", found.average_precision.value, "", note=claims),
        Figure("calibration_error_tsa_2013", curve.error, "", note="mean |score - observed share|"),
        Figure(
            "training_s",
            seconds,
            "s",
            note=f"one thread, {len(learned.epochs)} + {learned.kept} epochs",
        ),
    ]
