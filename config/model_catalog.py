"""`ml_models.yaml`: what an operator says about each model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from config import yaml_file
from config.errors import ConfigurationError
from config.explain import explain
from config.origins import Origin
from config.section import Section

SHIPPED_CATALOG = Path(__file__).parent / "ml_models.yaml"

Extent = Annotated[int, Field(ge=1)]


class ModelEntry(Section):
    """One model; the manifest of its version says the rest."""

    type: str = Field(min_length=1, description="Kind of model, such as transformer or ensemble; for people.")
    framework: Literal["pytorch", "onnx", "tensorflow"] = Field(
        description="What it was made with. No effect yet."
    )
    input_size: list[Extent] = Field(
        min_length=2,
        max_length=2,
        description="Maximum tokens and hidden width, an upper bound checked against the manifest.",
    )
    memory_mb: float = Field(
        gt=0,
        description="Megabytes that it is said to take. No effect yet: the measured bytes of its manifest count.",
    )
    cache_priority: Literal["low", "medium", "high", "critical"] = Field(
        default="medium",
        description="Who stays when the cache is full; high and critical are loaded at the start.",
    )
    priority: Literal["low", "medium", "high", "critical"] = Field(
        default="medium",
        description="Whose claims are scored first where several models' wait: each class is half a latency budget "
        "ahead of the one below it.",
    )
    quantization: Literal["none", "bf16", "fp16", "int8"] = Field(
        default="none", description="Precision of the variant that is preferred. No effect yet."
    )


class ModelCatalog(Section):
    """All entries, by the model's name and version."""

    models: dict[str, ModelEntry] = Field(
        default={}, description="Entries by name, such as claims_filter_v2.1."
    )


def load_catalog(path: Path) -> ModelCatalog:
    """Raises ConfigurationError that names file, line, value and what was expected."""
    file = yaml_file.read(path)
    lines = {".".join(keys): Origin.of_file(path, line) for keys, line in file.lines.items()}
    try:
        return ModelCatalog.model_validate({key: value or {} for key, value in file.tree.items()})
    except ValidationError as error:
        raise ConfigurationError(explain(error, lines, ModelCatalog)) from error
