"""What a model version is: its manifest, checked."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from models.errors import ManifestError
from models.features import FeatureSpec

FILE = "manifest.json"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Strict(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Architecture(Strict):
    """Sizes of the claims transformer."""

    width: int = Field(ge=8, le=4_096)
    heads: int = Field(ge=1, le=64)
    layers: int = Field(ge=1, le=48)

    @model_validator(mode="after")
    def _divides(self) -> Architecture:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class Manifest(Strict):
    """Everything that is needed to load, verify and read a version."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$", description="Semantic version.")
    variant: str = "default"
    framework: Literal["pytorch"] = "pytorch"
    type: Literal["transformer"] = "transformer"
    features: FeatureSpec
    architecture: Architecture
    threshold: float = Field(ge=0.0, le=1.0, description="Scores at or above it get the second decision.")
    decisions: tuple[str, str] = ("pass", "review")
    precision: Literal["fp32"] = "fp32"
    files: dict[str, Digest] = Field(description="File name to SHA-256.")
    metrics: dict[str, float] = {}
    licence: str = "Apache-2.0"
    data: str = Field(description="What it was trained on.")

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if "/" in name or "\\" in name or "\0" in name or name.startswith("."):
                raise ValueError(f"{name!r} is not a plain file name")
        return files


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a version's folder. Raises ManifestError that names the file and the key."""
    path = folder / FILE
    try:
        if folder.is_symlink() or not stat.S_ISREG(path.lstat().st_mode):
            raise ManifestError(f"{path}: not a regular file in a regular folder; links are not followed")
        return Manifest.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "manifest"
        raise ManifestError(f"{path}: {place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: not JSON: {error}") from error
