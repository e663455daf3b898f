"""From files, environment and command line to settings that know where each value comes from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from config import environment
from config.errors import ConfigurationError
from config.settings import Origin, Settings

Lines = dict[str, int]


def load_settings(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """Defaults, then the file, then the environment, then the command line's `overrides` (dotted names).

    Raises ConfigurationError that names the place of what is wrong.
    """
    tree: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    if path is not None:
        tree, lines = _read(path)
        _check_keys(tree, Settings, "", path, lines)
        origins |= {name: Origin(text=f"{path}:{line}") for name, line in lines.items()}
    for name, (value, variable) in environment.overrides(environ).items():
        _put(tree, name, value)
        origins[name] = Origin(text=f"environment {variable}")
    for name, value in overrides.items():
        _put(tree, name, value)
        origins[name] = Origin(text="command line")
    try:
        return Settings.model_validate(tree).with_origins(origins)
    except ValidationError as error:
        raise ConfigurationError(_explained(error, origins)) from error


def _read(path: Path) -> tuple[dict[str, Any], Lines]:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not YAML: {error}") from error
    if node is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path}:1: expected sections such as `kafka:`, found {type(tree).__name__}")
    lines: Lines = {}
    _note_lines(node, "", lines)
    return tree, lines


def _note_lines(node: yaml.Node, prefix: str, lines: Lines) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        lines[name] = key.start_mark.line + 1
        _note_lines(value, f"{name}.", lines)


def _check_keys(tree: Mapping[str, Any], section: type[BaseModel], prefix: str, path: Path, lines: Lines) -> None:
    for key, value in tree.items():
        field = section.model_fields.get(str(key))
        name = f"{prefix}{key}"
        if field is None:
            near = difflib.get_close_matches(str(key), section.model_fields, 1, 0.0)[0]
            raise ConfigurationError(f"{path}:{lines[name]}: unknown key {name!r}; the nearest is {prefix + near!r}")
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, dict):
            _check_keys(value, inner, f"{name}.", path, lines)


def _put(tree: dict[str, Any], name: str, value: object) -> None:
    *sections, last = name.split(".") if not _is_option(name) else _split_option(name)
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[last] = value


def _is_option(name: str) -> bool:
    return any(name.startswith(f"{option_map}.") for option_map in environment.OPTION_MAPS)


def _split_option(name: str) -> list[str]:
    section, option_map, option = name.split(".", 2)
    return [section, option_map, option]


def _explained(error: ValidationError, origins: Mapping[str, Origin]) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"]))
        place = next((origins[n] for n in _outwards(name) if n in origins), Origin())
        given = "" if isinstance(problem["input"], dict | BaseModel) else f" (given: {problem['input']!r})"
        lines.append(f"{place.text}: {name}: {problem['msg']}{given}")
    return "\n".join(lines)


def _outwards(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
