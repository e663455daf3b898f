"""From defaults, file, environment and command line to settings that know where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from config import environment, yaml_file
from config.errors import ConfigurationError
from config.explain import explain
from config.origins import Origin
from config.settings import Settings, split_name


def load_settings(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """Each source goes over the ones before it: defaults, file, environment, `overrides` by dotted name.

    Raises ConfigurationError that names the place, the value and what was expected.
    """
    tree, origins = ({}, {}) if path is None else _from_file(path)
    for name, (value, variable) in environment.values(environ).items():
        _put(tree, name, value)
        _note(origins, name, Origin.of_environment(variable))
    for name, value in overrides.items():
        _put(tree, name, value)
        _note(origins, name, Origin.of_command_line())
    try:
        return Settings.model_validate(tree).with_origins(origins, path)
    except ValidationError as error:
        raise ConfigurationError(explain(error, origins, Settings)) from error


def _from_file(path: Path) -> tuple[dict[str, Any], dict[str, Origin]]:
    file = yaml_file.read(path)
    tree = _without_empty(file.tree, Settings)
    present = {keys: line for keys, line in file.lines.items() if _has(tree, keys)}
    return tree, {".".join(keys): Origin.of_file(path, line) for keys, line in present.items()}


def _has(tree: Any, keys: tuple[str, ...]) -> bool:
    return not keys or (isinstance(tree, dict) and keys[0] in tree and _has(tree[keys[0]], keys[1:]))


def _without_empty(tree: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """A section or map whose every line is commented out says nothing."""
    kept: dict[str, Any] = {}
    for key, value in tree.items():
        field = model.model_fields.get(key)
        annotation: Any = None if field is None else field.annotation
        section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        if value is None and (section or get_origin(annotation) in (dict, list)):
            continue
        kept[key] = _without_empty(value, annotation) if section and isinstance(value, dict) else value
    return kept


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = split_name(name)
    for section in sections:
        inner = tree.get(section)
        tree = tree.setdefault(section, {}) if isinstance(inner, dict) or inner is None else {}
    tree[last] = value


def _note(origins: dict[str, Origin], name: str, origin: Origin) -> None:
    """A value that is replaced as a whole takes the origins of its parts with it."""
    for part in [part for part in origins if part.startswith(f"{name}.")]:
        del origins[part]
    origins[name] = origin
