"""What all parts of the configuration share: strict, frozen, secrets masked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from config.secrets import is_secret, masked

Options = dict[str, str | int | float | bool]

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def with_secrets_as_text(options: Options) -> Options:
    """Refuses what YAML turned into another text's value: a password 0123 would become 83."""
    for option, value in options.items():
        if is_secret(option) and not isinstance(value, str):
            raise PydanticCustomError("unquoted", "a secret that is no text", {"key": option})
    return options


def refusal(key: str | None, detail: str) -> PydanticCustomError:
    """A sentence of its own about a value, or about the one under `key` of it."""
    return PydanticCustomError(
        "detail", "{detail}", {"detail": detail, **({} if key is None else {"key": key})}
    )


def with_scheme(schemes: str) -> Callable[[str | None], str | None]:
    """A check of URLs, which may be empty: without a scheme a password in one is not known, and would be shown."""

    def checked(url: str | None) -> str | None:
        if url and not _SCHEME.match(url):
            raise refusal(None, f"its scheme is missing; it has to begin with {schemes}")
        return url

    return checked


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values never change, secrets do not print."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, masked(name or "", value)) for name, value in super().__repr_args__()]
