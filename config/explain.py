"""From what pydantic found wrong to sentences that say where, what, and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.errors import printable
from config.origins import Origin, nearest_origin
from config.secrets import MASK, masked, without_secrets
from config.settings import OPTION_MAPS

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_OWN = {
    "bootstrap.servers": "kafka.bootstrap_servers",
    "metadata.broker.list": "kafka.bootstrap_servers",
    "group.id": "kafka.group_id",
}


def explain(error: ValidationError, given: Mapping[str, Origin], model: type[BaseModel]) -> str:
    """One line for each wrong value."""
    return "\n".join(
        dict.fromkeys(printable(_sentence(problem, dict(given), model)) for problem in error.errors())
    )


def _sentence(problem: ErrorDetails, given: dict[str, Origin], model: type[BaseModel]) -> str:
    option = _union_option(problem["loc"])
    keys = [str(key) for key in (problem["loc"][:-1] if option else problem["loc"])]
    context = problem.get("ctx", {})
    name = ".".join([*keys, context["key"]] if "key" in context else keys)
    place = nearest_origin(name, given).text
    shown = without_secrets(name)
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key {shown}; the nearest is {without_secrets(nearest_key(keys, model))}"
    if problem["type"] == "missing":
        return f"{place}: {shown} is missing"
    if problem["type"] == "own_option":
        return f"{place}: {shown} is set by claimstream itself; {_instead(context['key'])}"
    if problem["type"] == "unquoted":
        return f"{place}: {shown} is a number or truth value to YAML; write it in quotes"
    if problem["type"] == "detail":
        return f"{place}: {shown}: {problem['msg']}"
    expected = "text, a number, true or false" if option else _expected(problem)
    return f"{place}: {shown} is {_shown(name, problem['input'])}; expected {expected}"


def _union_option(location: tuple[int | str, ...]) -> bool:
    """An option may have several types; pydantic complains of each of them, with its name at the end."""
    return len(location) > 2 and location[-1] in ("str", "int", "float", "bool")


def _instead(option: str) -> str:
    return f"use {_OWN[option]}" if option in _OWN else "its guarantees rest on it, leave it out"


def _expected(problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"a number {words} {context[bound]:g}"
    if problem["type"] == "string_too_short":
        least = context["min_length"]
        return "text that is not empty" if least == 1 else f"text of at least {least} characters"
    if problem["type"] == "literal_error":
        return str(context["expected"])
    if problem["type"] in ("too_short", "too_long"):
        return f"a list of {context.get('min_length') or context['max_length']}"
    return _EXPECTED.get(problem["type"]) or problem["msg"]


def _shown(name: str, value: Any) -> str:
    if value is None:
        return 'null (write "null" for the text)'
    if isinstance(value, Mapping | list | BaseModel):
        return f"a list of {len(value)}" if isinstance(value, list) else "a map of keys"
    # Text in the place of a client's options is most likely an option that lacks a space or a brace.
    return MASK if name in OPTION_MAPS else repr(masked(name, value))


def nearest_key(keys: list[str], model: type[BaseModel]) -> str:
    """The known key that an unknown one, given by the keys that lead to it, most likely means."""
    *above, unknown = keys
    start = "".join(f"{key}." for key in above)
    siblings = {name: start + name for name in _section_at(above, model).model_fields}
    everywhere = {name.rpartition(".")[2]: name for name in _known_keys(model)}
    for candidates, cutoff in ((siblings, 0.6), (everywhere, 0.6), (siblings, 0.0)):
        if near := difflib.get_close_matches(unknown, candidates, 1, cutoff):
            return candidates[near[0]]
    return start + unknown


def _section_at(keys: list[str], model: type[BaseModel]) -> type[BaseModel]:
    """The section that keys lead to; below a map of sections the key in between is the user's own."""
    for key in keys:
        field = model.model_fields.get(key)
        annotation: Any = None if field is None else field.annotation
        for inner in (annotation, *get_args(annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return model


def _known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all sections and settings."""
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _known_keys(field.annotation, f"{prefix}{name}.")
