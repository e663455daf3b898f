"""Writes `stream.yaml` and `docs/configuration.md` from the settings: `python -m config.reference`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.environment import NOT_SETTINGS, variable_of
from config.kafka_settings import OWN_OPTIONS
from config.model_catalog import ModelEntry
from config.section import Options, Section
from config.settings import Settings

_ROOT = Path(__file__).resolve().parent.parent
FILES = {"yaml": _ROOT / "config" / "stream.yaml", "markdown": _ROOT / "docs" / "configuration.md"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}

_YAML_HEAD = """\
# Settings of claimstream, all at their defaults. Take the # away from what you change: a value that is
# set here is binding, while a default gives way, with one warning, where the machine cannot hold it.
# `claimstream config check --config FILE` shows what is in force. Explained in docs/configuration.md.
"""

_INTRODUCTION = """\
# Configuration

Generated from `config/settings.py` by `python -m config.reference`; a test keeps both equal.

A value comes from the first of these that has it:

1. an option of the command line,
2. an environment variable,
3. the YAML file named by `--config` or `CLAIMSTREAM_CONFIG` (`config/stream.yaml` has every key),
4. the default.

Settings are read when a command starts: after a change, start the instances again, one after the other. Schema
files and the model catalog are read again by each worker that is restarted, so do not edit them in place.

`claimstream config check` prints each value with its origin and without secrets; with `--json` as one object.
A wrong file, variable or value ends a command with exit code 2 and a message that names the place; for an
unknown key or variable it names the nearest known one.

In the environment a list may be written with commas (`ML_GPU_DEVICE_IDS=0,1`) and a map as YAML or JSON
(`CLAIMSTREAM_ROUTES='{"*": ["null"]}'`). An option of a client has a variable of its own, in which each
underscore stands for a dot: `CLAIMSTREAM_KAFKA__CLIENT__SASL_PASSWORD` sets `sasl.password`. All other names
that start with `CLAIMSTREAM_` or `ML_` are refused, except these, which are no settings:
{not_settings}; and those by which Kubernetes
tells of a Service (`CLAIMSTREAM_SERVICE_HOST`, `CLAIMSTREAM_PORT=tcp://…`).

In YAML the model `null` has to be quoted: `"null"`. So has a password that looks like a number, or that begins
with `&`, `*` or `!`. Secrets are masked in `config check`, in errors and in logs: options whose name speaks of a
password, secret, token, credential, private or API key, also in the query of a URL, and the user in a URL.

## TLS and SASL

Every option of librdkafka passes through `kafka.client` (both clients), `kafka.consumer` or `kafka.producer`:

```yaml
kafka:
  bootstrap_servers: kafka.example.org:9093
  client:
    security.protocol: SASL_SSL
    sasl.mechanism: SCRAM-SHA-512
    sasl.username: claimstream
    ssl.ca.location: /etc/claimstream/ca.pem
    # sasl.password comes from CLAIMSTREAM_KAFKA__CLIENT__SASL_PASSWORD
```

claimstream sets these itself, because its guarantees rest on them; setting one is an error:
{own_options}.
"""

_MODELS = """\
## ml_models.yaml

Says of each model, by name and version, what the cache cannot know before it has loaded it.
`config/ml_models.yaml` is the shipped one; a file that `cache.catalog` names replaces it, all of it. An entry
is found by its name exactly as a route or `workers.preload_models` writes it: `claims_filter_v2.1` and
`claims_filter:production` are two entries.

"""


def markdown() -> str:
    """The page about the configuration."""
    introduction = _INTRODUCTION.replace("{not_settings}", _code(NOT_SETTINGS))
    parts = [
        introduction.replace("{own_options}", textwrap.fill(_code(OWN_OPTIONS), 110, break_on_hyphens=False))
    ]
    for name, section in _sections(Settings):
        parts.append(f"## {name}\n\n{_summary(section)}\n\n{_rows(section, f'{name}.')}")
    parts.insert(-1, f"## routes\n\n{_table([_row('routes', Settings.model_fields['routes'])])}")
    return "\n".join([*parts, _MODELS + _model_rows()])


def stream_yaml() -> str:
    """The shipped file: sections live, values commented out."""
    return "\n".join([_YAML_HEAD, *_yaml_lines(Settings, "")])


def _sections(model: type[BaseModel]) -> Iterator[tuple[str, type[Section]]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation


def _summary(section: type[Section]) -> str:
    return (section.__doc__ or "").strip()


def _rows(section: type[Section], prefix: str) -> str:
    return _table(_fields(section, prefix))


def _fields(section: type[Section], prefix: str) -> Iterator[tuple[str, ...]]:
    nested = dict(_sections(section))
    for name, field in section.model_fields.items():
        if name in nested:
            yield from _fields(nested[name], f"{prefix}{name}.")
        else:
            yield _row(prefix + name, field)


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    default = f"`{json.dumps(field.default)}`"
    return f"`{name}`", default, _kind(field), f"`{variable_of(name)}`", field.description or ""


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    head = ("Setting", "Default", "Values", "Environment", "Meaning")
    return _grid(head, rows)


def _grid(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _model_rows() -> str:
    rows = [
        (
            f"`{name}`",
            "required" if field.is_required() else f"`{field.default}`",
            _kind(field),
            field.description or "",
        )
        for name, field in ModelEntry.model_fields.items()
    ]
    return _grid(("Key", "Default", "Values", "Meaning"), rows)


def _kind(field: FieldInfo) -> str:
    bounds = [
        f"{words} {getattr(bound, key):g}"
        for bound in field.metadata
        for key, words in _BOUNDS.items()
        if hasattr(bound, key)
    ]
    kind = _kind_name(field.annotation)
    lengths = [getattr(bound, "min_length", 1) for bound in field.metadata if kind != "list"]
    return ", ".join([kind, *bounds, *(f"at least {least} characters" for least in lengths if least > 1)])


def _kind_name(annotation: Any) -> str:
    if annotation == Options:
        return "options"
    if get_origin(annotation) is Literal:
        return ", ".join(get_args(annotation))
    if get_origin(annotation) in (list, dict):
        return "list" if get_origin(annotation) is list else "map"
    names = {str: "text", int: "whole number", float: "number", bool: "true, false"}
    return names.get(annotation, "text or null")


def _yaml_lines(section: type[Section], indent: str) -> Iterator[str]:
    nested = dict(_sections(section))
    for name, field in section.model_fields.items():
        if name in nested:
            yield f"{indent}{name}:  # {_summary(nested[name])}"
            yield from _yaml_lines(nested[name], indent + "  ")
        else:
            yield from (f"{indent}# {line}" for line in _wrapped_description(field, indent))
            yield f"{indent}# {name}: {json.dumps(field.default)}"
        if not indent:
            yield ""


def _wrapped_description(field: FieldInfo, indent: str) -> list[str]:
    return textwrap.wrap(field.description or "", 108 - len(indent))


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main() -> None:
    """Write both files."""
    FILES["yaml"].write_text(stream_yaml(), encoding="utf-8")
    FILES["markdown"].write_text(markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
