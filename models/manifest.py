"""What a model version is: its manifest, checked."""

from __future__ import annotations

import json
import stat
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NoReturn

from blake3 import blake3
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from models.digests import CHUNK_BYTES
from models.errors import ManifestError
from models.features import FeatureSpec

FILE = "manifest.json"
VERSION_PATTERN = r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
NAME_PATTERN = r"[a-z][a-z0-9_]*"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Parent = Annotated[str, Field(pattern=f"^{NAME_PATTERN}:{VERSION_PATTERN}$")]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
Kind = Literal["safetensors", "pt2"]

_MOST_BYTES = 16 * 1024 * 1024
_LONGEST_NAME = 200
_DIGEST_DIGITS = 16
_OPTIONAL = ("features_digest", "architecture")


class Strict(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Architecture(Strict):
    """Sizes of the claims transformer."""

    width: int = Field(ge=8, le=8_192)
    heads: int = Field(ge=1, le=64)
    layers: int = Field(ge=1, le=96)

    @model_validator(mode="after")
    def _divides(self) -> Architecture:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class Factors(Strict):
    """Sizes of the factorisation machines: so many, each with vectors of `width` and one hidden layer."""

    width: int = Field(ge=1, le=1_024)
    hidden: int = Field(ge=1, le=8_192)
    members: int = Field(ge=1, le=64)


_SIZES = {"transformer": Architecture, "factors": Factors, "exported": NoneType}


class FileEntry(Strict):
    """Size and digests of one file; each chunk has its own, so that a transfer is checked while it runs."""

    bytes: int = Field(ge=0)
    blake3: Digest = Field(description="BLAKE3 of the whole file, as `b3sum` prints it.")
    sha256: Digest = Field(description="SHA-256 of the whole file, as `sha256sum` prints it.")
    chunks: tuple[Digest, ...] = Field(description=f"BLAKE3 of each {CHUNK_BYTES} bytes.")

    @model_validator(mode="after")
    def _every_chunk(self) -> FileEntry:
        if len(self.chunks) != -(-self.bytes // CHUNK_BYTES):
            raise ValueError(f"{self.bytes} bytes are not {len(self.chunks)} chunks of {CHUNK_BYTES}")
        return self


class BatchSizes(Strict):
    """Micro-batches that the version was tried with, in claims."""

    min: int = Field(default=1, ge=1)
    max: int = Field(default=512, ge=1)
    recommended: int = Field(default=128, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> BatchSizes:
        sizes = (self.min, self.recommended, self.max)
        if any(left > right for left, right in pairwise(sizes)):
            raise ValueError(f"min, recommended, max are {sizes}, which do not rise")
        return self


class MeasuredBytes(Strict):
    """Bytes of the version in each tier, measured when it was published."""

    device: int = Field(ge=0)
    memory: int = Field(ge=0)
    redis: int = Field(ge=0)
    repository: int = Field(ge=0)


class Variant(Strict):
    """One precision of the version and the file that holds its weights."""

    file: str
    kind: Kind = "safetensors"


class Manifest(Strict):
    """Everything that is needed to load, verify and read a version."""

    format: Literal[1] = 1
    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    version: str = Field(pattern=f"^{VERSION_PATTERN}$", description="Semantic version.")
    variant: str = "default"
    framework: Literal["pytorch"] = "pytorch"
    type: Literal["transformer", "factors", "exported"] = "transformer"
    features: FeatureSpec
    features_digest: str | None = Field(
        default=None, description="Of the features and the vocabulary that the weights were trained with."
    )
    architecture: Architecture | Factors | None = Field(
        default=None, description="Sizes of a transformer or of factors; an exported program has its own."
    )
    threshold: float = Field(ge=0.0, le=1.0, description="Scores at or above it get the second decision.")
    decisions: tuple[str, str] = ("pass", "review")
    precisions: dict[Precision, Variant] = Field(min_length=1, description="Weights by precision.")
    batch: BatchSizes = BatchSizes()
    bytes: MeasuredBytes
    files: dict[str, FileEntry] = Field(min_length=1, description="Files by name, the manifest excepted.")
    metrics: dict[str, float] = {}
    licence: str = "Apache-2.0"
    data: str = Field(description="What it was trained on.")
    parents: tuple[Parent, ...] = Field((), description="Versions that it was made from, as name:version.")

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what a version does not say: one that was published keeps its bytes, and so its digest."""
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if name not in _OPTIONAL or value is not None}

    @model_validator(mode="after")
    def _sizes_of_its_type(self) -> Manifest:
        if type(self.architecture) is not _SIZES[self.type]:
            raise ValueError(f"architecture has not the sizes of a {self.type!r}")
        if self.type == "exported" and any(each.kind != "pt2" for each in self.precisions.values()):
            raise ValueError("precisions of an 'exported' are of kind 'pt2'")
        return self

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if fault := _fault(name):
                raise ValueError(f"{name!r} is not a plain file name: it {fault}")
        return files

    @model_validator(mode="after")
    def _weights_are_files(self) -> Manifest:
        for precision, variant in self.precisions.items():
            if variant.file not in self.files:
                raise ValueError(
                    f"precisions.{precision} names {variant.file!r}, which is not among the files"
                )
        return self


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a version's folder. Raises ManifestError that names the file and the key."""
    return parse_manifest(read_bytes(folder), folder / FILE)


def read_bytes(folder: Path) -> bytes:
    """The manifest file as it is. Raises ManifestError."""
    path = folder / FILE
    try:
        state = path.lstat()
        if folder.is_symlink() or not stat.S_ISREG(state.st_mode):
            raise ManifestError(f"{path}: not a regular file in a regular folder; links are not followed")
        if state.st_size > _MOST_BYTES:
            raise ManifestError(f"{path}: {state.st_size} bytes; a manifest has at most {_MOST_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error


def parse_manifest(content: bytes, place: Path) -> Manifest:
    """A manifest from its bytes; `place` names it in errors. Raises ManifestError that names the key."""
    try:
        return checked(parse_json(content), place)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{place}: not JSON: {error}") from error


def checked(document: Any, place: Path) -> Manifest:
    """A manifest from its fields; `place` names it in errors. Raises ManifestError that names the key."""
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "manifest"
        raise ManifestError(f"{place}: {key}: {first['msg']}") from error


def encoded(manifest: Manifest) -> bytes:
    """The manifest as a file; equal manifests have equal bytes, and so equal digests."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n").encode()


def digest(content: bytes) -> str:
    """What tells two manifests of one version apart: 16 hexadecimal digits of the BLAKE3 of the file."""
    return blake3(content).hexdigest()[:_DIGEST_DIGITS]


def parse_json(content: bytes) -> Any:
    """JSON in which a key occurs once and a number is a number. Raises ValueError or RecursionError."""
    return json.loads(content, object_pairs_hook=_distinct, parse_constant=_no_number)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _fault(name: str) -> str | None:
    faults = {
        "is empty": not name,
        "holds a NUL": "\0" in name,
        "is an absolute path": name.startswith("/"),
        "leads into another folder": "/" in name or "\\" in name,
        "is hidden": name.startswith("."),
        "is the manifest's": name == FILE,
        f"has more than {_LONGEST_NAME} letters": len(name) > _LONGEST_NAME,
        "holds what cannot be printed": not name.isprintable(),
    }
    return next((fault for fault, found in faults.items() if found), None)
