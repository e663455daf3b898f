"""What people should know of a trained version before they believe it: one page and one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from models.features import FeatureSpec
from models.learning import Learned, Parts
from models.measures import Labels

CARD = "model_card.md"
PICTURE = "model_card.png"

_95 = 1.96


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the claims came from: facts as rows of a table, first days of the later parts, and the command."""

    facts: Sequence[tuple[str, str]]
    predicts: str
    outcomes: Sequence[str]
    validation_from: date
    test_from: date
    command: str


def write_card(folder: Path, learned: Learned, parts: Parts, origin: Origin) -> None:
    """The page and its picture, beside the version's files; a push does not take them."""
    (folder / CARD).write_text(card(learned, parts, origin), encoding="utf-8")
    draw(folder / PICTURE, learned, parts.test.labels)


def card(learned: Learned, parts: Parts, origin: Origin) -> str:
    """The page, in Markdown."""
    manifest, found, curve = learned.manifest, learned.discrimination, learned.calibration
    blocks = [
        f"# {manifest.name} {manifest.version}",
        f"The score is the chance that {origin.predicts}, as far as earlier claims tell.",
        "## Claims",
        _table(("what", "value"), origin.facts),
        _table(("part", "days", "claims", "positive"), _parts(parts, origin)),
        "No day is in two parts. The validation claims said when to stop, and gave calibration and threshold; the "
        "version was then learned anew from both earlier parts. The test claims were used once, for this page.",
        "## What the latest claims say",
        _table(
            ("measure", "value (95 % interval)"),
            [
                ("AUC", str(found.auc)),
                ("average precision", str(found.average_precision)),
                ("mean squared error of the score (Brier)", f"{curve.brier:.3f}"),
                ("mean distance of score and observed share", f"{curve.error:.3f}"),
            ],
        ),
        "The intervals are those of 1,000 resamples of the test claims: they tell chance, not what changes with time.",
        f"![learning, calibration and scores]({PICTURE})",
        _table(("claims by score", "mean score", "observed share"), _groups(learned)),
        f"A score of {manifest.threshold} and more is `{manifest.decisions[1]}`: there F1 was highest on the "
        "validation claims.",
        "## What it reads",
        _features(manifest.features, origin.outcomes),
        "## How it was learned",
        f"Factorisation machines (`factors`), {manifest.model_dump()['architecture']}, classes weighted equally, "
        f"{len(learned.epochs)} epochs tried, {learned.kept} kept.",
        f"```sh\n{origin.command}\n```",
        "## Limits",
        "- It knows claims of the kind and the time above. When rules, categories or the business change, measure "
        "again.\n- Labels are past decisions: where those were wrong or unfair, so is the score.\n"
        "- Claims that were undecided are not in it; they may be of another kind than the decided ones.\n"
        "- Words that it has not seen share a few places: their scores are close to the average.",
    ]
    return "\n\n".join(blocks) + "\n"


def draw(path: Path, learned: Learned, labels: Labels) -> None:
    """AUC by epoch, calibration curve, scores by class."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13, 4))
    _draw_epochs(left, learned)
    _draw_calibration(middle, learned)
    bins = np.linspace(0, 1, 26)
    for value, name in ((0, "other"), (1, "positive")):
        right.hist(learned.scores[labels == value], bins, alpha=0.6, density=True, label=name)
    right.axvline(learned.manifest.threshold, color="black", linewidth=1, linestyle=":", label="threshold")
    right.set(xlabel="score", ylabel="density", title="scores of the test claims")
    for axes in (left, middle, right):
        axes.legend()
        axes.grid(visible=True, alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _draw_epochs(axes: Any, learned: Learned) -> None:
    numbers = range(1, len(learned.epochs) + 1)
    axes.plot(numbers, [epoch.train_auc for epoch in learned.epochs], label="claims learned from")
    axes.plot(numbers, [epoch.validation_auc for epoch in learned.epochs], label="later claims")
    axes.axvline(learned.kept, color="black", linewidth=1, linestyle=":", label="kept")
    axes.set(xlabel="epoch", ylabel="AUC", title="learning")


def _draw_calibration(axes: Any, learned: Learned) -> None:
    curve = learned.calibration
    spread = _95 * np.sqrt(curve.observed * (1 - curve.observed) / curve.counts)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, label="perfect")
    axes.errorbar(
        curve.predicted, curve.observed, yerr=spread, marker="o", capsize=3, label="test claims, tenths"
    )
    axes.set(xlabel="mean score", ylabel="observed share", title="calibration", xlim=(0, 1), ylim=(0, 1))


def _parts(parts: Parts, origin: Origin) -> list[tuple[str, str, str, str]]:
    spans = (
        ("learned from", f"before {origin.validation_from}", parts.train),
        ("validation", f"{origin.validation_from} to before {origin.test_from}", parts.validation),
        ("test", f"from {origin.test_from}", parts.test),
    )
    return [
        (name, span, f"{len(part.labels):,}", f"{100 * float(part.labels.mean()):.1f} %")
        for name, span, part in spans
    ]


def _groups(learned: Learned) -> list[tuple[str, str, str]]:
    curve = learned.calibration
    rows = zip(curve.counts, curve.predicted, curve.observed, strict=True)
    return [(f"{count:,}", f"{mean:.3f}", f"{share:.3f}") for count, mean, share in rows]


def _features(spec: FeatureSpec, outcomes: Sequence[str]) -> str:
    entries = [
        ("categories", ", ".join(("claim_type", *spec.token_attributes))),
        ("codes", f"the first {spec.codes}" if spec.codes else "none"),
        ("dates", ", ".join(spec.date_tokens) or "none as categories"),
        ("numbers", ", ".join(("total charge", "lines", "days to receipt", *spec.number_attributes))),
        ("never read", ", ".join(outcomes)),
    ]
    return "\n".join(f"- {name}: {value}" for name, value in entries)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
