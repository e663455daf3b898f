"""A YAML file together with the line of each of its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from config.errors import ConfigurationError, printable
from config.secrets import MASK, without_secrets

Keys = tuple[str, ...]

_KINDS = {yaml.ScalarNode: "a single value", yaml.SequenceNode: "a list"}


# What YAML's own messages quote of a file. Single characters and names of its grammar tell nothing and stay.
_QUOTED = re.compile(r"""(?P<harmless>'.'|'<[a-z ]+>')|(?P<quote>['"]).+(?P=quote)""")


class _Constructor(yaml.SafeLoader):
    """Names the line of a value that looks like a date or a number and is none."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError:
            raise yaml.MarkedYAMLError(
                problem="neither a date nor a number, though it looks like one; write it in quotes",
                problem_mark=node.start_mark,
            ) from None


@dataclass(frozen=True, slots=True)
class YamlFile:
    """What a file says; `lines` has the line, from 1, of each key by the keys that lead to it."""

    path: Path
    tree: dict[str, Any]
    lines: dict[Keys, int]


def read(path: Path) -> YamlFile:
    """Raises ConfigurationError when the file is unreadable, not YAML, no mapping, or has a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text (byte {error.start})") from error
    try:
        return _parse(path, text)
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        raise ConfigurationError(f"{path}:{line}: not YAML: {_problem(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not YAML: {printable(str(error))}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: nested too deep, or an anchor that contains itself") from error


def _parse(path: Path, text: str) -> YamlFile:
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None:
        return YamlFile(path, {}, {})
    if not isinstance(root, yaml.MappingNode):
        line = root.start_mark.line + 1
        raise ConfigurationError(
            f"{path}:{line}: expected keys such as `kafka:`, found {_KINDS.get(type(root), 'something else')}"
        )
    _refuse_duplicates(path, root)
    tree = _Constructor("").construct_document(root)
    # Construction has put the keys of merges (<<) in their place.
    return YamlFile(path, _with_text_keys(tree), dict(_lines(root, ())))


def _problem(error: yaml.MarkedYAMLError) -> str:
    """YAML's message without what it quotes: a password that begins with one of YAML's own characters."""
    said = printable(str(error.problem))
    hidden = _QUOTED.sub(lambda found: found["harmless"] or MASK, said)
    return said if hidden == said else f"{hidden}; text that begins with & * or ! needs quotes"


def _refuse_duplicates(path: Path, node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            line = key.start_mark.line + 1
            if key.value in seen:
                raise ConfigurationError(
                    f"{path}:{line}: {printable(without_secrets(key.value))}"
                    f" is set in line {seen[key.value]} already"
                )
            seen[key.value] = line
        if isinstance(value, yaml.MappingNode):
            _refuse_duplicates(path, value)


def _with_text_keys(tree: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(key): _with_text_keys(value) if isinstance(value, dict) else value for key, value in tree.items()
    }


def _lines(node: yaml.MappingNode, above: Keys) -> Iterator[tuple[Keys, int]]:
    constructor = _Constructor("")
    for key, value in node.value:
        keys = (*above, str(constructor.construct_object(key)))
        yield keys, key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            yield from _lines(value, keys)
