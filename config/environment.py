"""Environment variables that set values."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from config.errors import ConfigurationError
from config.settings import OPTION_MAPS, Settings, leaves

PREFIX = "CLAIMSTREAM_"
OLD_PREFIX = "ML_"
NAMED = {
    "ML_CACHE_L1_MEMORY_GB": "cache.l1_memory_gb",
    "ML_CACHE_L2_REDIS_GB": "cache.l2_redis_gb",
    "ML_CACHE_GPU_MEMORY_GB": "cache.gpu_memory_gb",
    "ML_CACHE_TTL_MINUTES": "cache.ttl_minutes",
    "ML_BATCH_SIZE_AUTO": "batching.size_auto",
    "ML_BATCH_SIZE_MIN": "batching.size_min",
    "ML_BATCH_SIZE_MAX": "batching.size_max",
    "ML_ENABLE_QUANTIZATION": "workers.quantization",
    "ML_USE_MIXED_PRECISION": "workers.mixed_precision",
    "ML_WORKER_PROCESSES": "workers.processes",
    "ML_GPU_DEVICE_IDS": "workers.gpu_device_ids",
    "ML_ASYNC_INFERENCE": "workers.async_inference",
    "ML_PRELOAD_MODELS": "workers.preload_models",
}
NOT_SETTINGS = ("CLAIMSTREAM_BOOTSTRAP", "CLAIMSTREAM_CONFIG", "CLAIMSTREAM_DATA", "CLAIMSTREAM_REDIS")

# Kubernetes tells every pod of every Service in its namespace; one may be called `claimstream`, or `ml-…`.
_OF_A_SERVICE = re.compile(
    r"(CLAIMSTREAM|ML)(_[A-Z0-9]+)*_"
    r"(SERVICE_(HOST=.*|PORT(_[A-Z0-9_]+)?=\d+)"
    r"|PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://.*"
    r"|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=.*)"
)

_VARIABLE_OF = {setting: variable for variable, setting in NAMED.items()}


def of_process() -> Mapping[str, str]:
    """The variables of this process."""
    return dict(os.environ)


def variable_of(name: str) -> str:
    """The environment variable of a setting, by its dotted name."""
    return _VARIABLE_OF.get(name) or PREFIX + name.replace(".", "__").upper()


def values(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """Dotted name to (value, variable), whole maps before their options.

    Raises ConfigurationError for a variable that is no setting, or whose text cannot be read as one.
    """
    settings = {variable_of(name): name for name, _ in leaves(Settings())}
    found: dict[str, tuple[Any, str]] = {}
    for variable in sorted(environ):
        if variable in NOT_SETTINGS or not variable.startswith((PREFIX, OLD_PREFIX)):
            continue
        if variable in settings:
            name = settings[variable]
            found[name] = (_parsed(variable, environ[variable], annotation_of(name)), variable)
        elif not _OF_A_SERVICE.fullmatch(f"{variable}={environ[variable]}"):
            found[_option_of(variable, settings)] = (environ[variable], variable)
    return found


def annotation_of(name: str) -> Any:
    """Type of a setting, by its dotted name."""
    section: type[BaseModel] = Settings
    *sections, last = name.split(".")
    for key in sections:
        section = section.model_fields[key].annotation  # type: ignore[assignment]
    return section.model_fields[last].annotation


def _option_of(variable: str, settings: Mapping[str, str]) -> str:
    """Dotted name of a client's option: after the map's name, an underscore stands for a dot."""
    for option_map in OPTION_MAPS:
        start = variable_of(option_map) + "__"
        if variable.startswith(start) and len(variable) > len(start):
            return f"{option_map}.{variable[len(start) :].lower().replace('_', '.')}"
    # Settings that have a variable of their own are looked for by the common spelling, too.
    spellings = {PREFIX + name.replace(".", "__").upper(): known for known, name in settings.items()}
    spellings |= {known: known for known in (*settings, *NOT_SETTINGS)}
    near = spellings[difflib.get_close_matches(variable, spellings, 1, 0.0)[0]]
    raise ConfigurationError(
        f"environment {variable}: no setting of claimstream; the nearest is {near}. Rename it or unset it"
    )


def _parsed(variable: str, text: str, annotation: Any) -> Any:
    """A list may be written with commas, a map as YAML or JSON; empty text is no value where one may lack."""
    kind = get_origin(annotation)
    if kind is dict or (kind is list and text.strip().startswith("[")):
        return _flow(variable, text)
    if kind is list:
        (item,) = get_args(annotation)
        return [_typed(part.strip(), item) for part in text.split(",") if part.strip()]
    return None if not text and type(None) in get_args(annotation) else _typed(text, annotation)


def _typed(text: str, annotation: Any) -> Any:
    """The text as a number or truth value; unchanged where it is none: the check of the whole refuses it."""
    try:
        return TypeAdapter(annotation).validate_python(text.strip())
    except ValidationError:
        return text


def _flow(variable: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"environment {variable}: neither YAML nor JSON") from error
    return {} if value is None else value
