"""How the bytes of a claim are read, as the settings say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

import schemas
from config.settings import Schemas
from stream.clock import Clock
from stream.codec import Decoder
from stream.codec.learning import PATIENCE, LearnedSchemas
from stream.errors import UsageError


def schema(name: str) -> dict[str, Any]:
    """A shipped schema by its name, or the one in a file. Raises UsageError."""
    try:
        if not name.endswith(".avsc"):
            return schemas.load(name)
        found: dict[str, Any] = json.loads(Path(name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"schemas: there is no {name!r}; name claim_event or the path of an .avsc file"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"schemas: {name}: {error}") from error
    return found


def claim_decoder(
    chosen: Schemas, max_record_bytes: int, clock: Clock, patience: float = PATIENCE
) -> Decoder:
    """Reads claims into the columns of the reader schema. `patience`: seconds for which a registry is asked at a time.

    Raises UsageError for schemas that do not fit each other."""
    registry = None
    if chosen.registry_url is not None:
        # The registry's client brings an HTTP stack that takes most of a second to import.
        from stream.codec.registry import RegistrySource

        source = RegistrySource(chosen.registry_url, chosen.registry)
        registry = LearnedSchemas(source, clock, patience=patience)
    decoder = Decoder(
        schema(chosen.input),
        bare_schema=schema(chosen.bare) if chosen.bare else None,
        known_writers=[schema(path) for path in chosen.known_writers],
        registry=registry,
        max_record_bytes=max_record_bytes,
    )
    _check_field(decoder, chosen, "id_field", chosen.id_field)
    _check_field(decoder, chosen, "type_field", chosen.type_field)
    return decoder


def _check_field(decoder: Decoder, chosen: Schemas, setting: str, name: str) -> None:
    if name not in decoder.arrow_schema.names:
        known = ", ".join(decoder.arrow_schema.names)
        raise UsageError(f"schemas.{setting}: {chosen.input} has no field {name!r}; it has {known}")
    if not pa.types.is_string(kind := decoder.arrow_schema.field(name).type):
        raise UsageError(
            f"schemas.{setting}: field {name!r} of {chosen.input} is {kind}; it must be a string"
        )
