"""Names for versions that may change: which versions an alias means, in which shares, and what it meant before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from models import durable
from models.errors import ManifestError, PublishError
from models.manifest import NAME_PATTERN, VERSION_PATTERN, Strict, parse_json

FILE = "aliases.json"
LATEST = "latest"
PRODUCTION = "production"
WHOLE = 100

_REMEMBERED = 20

Version = Annotated[str, Field(pattern=f"^{VERSION_PATTERN}$")]
AliasName = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]


class State(Strict):
    """What an alias means since a moment: percent by version."""

    shares: dict[Version, Annotated[int, Field(ge=1, le=WHOLE)]]
    since: str = Field(description="When it was set, in ISO 8601.")

    @field_validator("shares")
    @classmethod
    def _whole(cls, shares: dict[str, int]) -> dict[str, int]:
        if sum(shares.values()) != WHOLE:
            raise ValueError(f"shares add up to {sum(shares.values())}, not to {WHOLE}")
        return shares


class Alias(Strict):
    """The present state and the earlier ones, oldest first."""

    now: State
    before: tuple[State, ...] = ()


class Aliases(Strict):
    """All aliases of one model."""

    format: Literal[1] = 1
    aliases: dict[AliasName, Alias] = Field(default={}, description="By name.")

    def protected(self) -> set[str]:
        """Versions that an alias names, or would name after a rollback."""
        states = [state for alias in self.aliases.values() for state in (alias.now, *alias.before[-1:])]
        return {version for state in states for version in state.shares}

    def naming(self, version: str) -> list[str]:
        """Aliases that name a version now."""
        return [name for name, alias in self.aliases.items() if version in alias.now.shares]


def promoted(aliases: Aliases, alias: str, version: str, weight: int, since: str) -> Aliases:
    """The aliases after `version` got `weight` percent of one; the rest stays with what was there, in proportion.

    Raises PublishError when there is nothing to take the rest.
    """
    found = aliases.aliases.get(alias)
    others = {key: share for key, share in found.now.shares.items() if key != version} if found else {}
    if weight < WHOLE and not others:
        raise PublishError(
            f"{alias} names nothing but {version} that could keep {WHOLE - weight} %; promote it without a weight"
        )
    shares = {key: share for key, share in divided(others, WHOLE - weight).items() if share} | {
        version: weight
    }
    before = (*found.before, found.now)[-_REMEMBERED:] if found else ()
    changed = Alias(now=State(shares=shares, since=since), before=before)
    return Aliases(aliases={**aliases.aliases, alias: changed})


def rolled_back(aliases: Aliases, alias: str) -> Aliases:
    """The aliases with one as it was before its last promotion. Raises PublishError when there is no before."""
    found = aliases.aliases.get(alias)
    if found is None or not found.before:
        known = ", ".join(name for name, one in aliases.aliases.items() if one.before) or "none"
        raise PublishError(
            f"{alias} has nothing to go back to; promote a version instead (can go back: {known})"
        )
    changed = Alias(now=found.before[-1], before=found.before[:-1])
    return Aliases(aliases={**aliases.aliases, alias: changed})


def divided(parts: dict[str, int], total: int) -> dict[str, int]:
    """Whole shares of `total` in the proportion of `parts`, by largest remainder (Hamilton's method)."""
    whole = sum(parts.values())
    shares = {key: total * part // whole for key, part in parts.items()}
    remainders = sorted(parts, key=lambda key: (-(total * parts[key] % whole), key))
    for key in remainders[: total - sum(shares.values())]:
        shares[key] += 1
    return shares


def read_aliases(folder: Path) -> Aliases:
    """The aliases in a model's folder; none where there is no file. Raises ManifestError or OSError."""
    path = folder / FILE
    try:
        return Aliases.model_validate(parse_json(path.read_bytes()))
    except FileNotFoundError:
        return Aliases()
    except (ValidationError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ManifestError(f"{path}: does not hold aliases: {reason}; write it anew with promote") from error


def write_aliases(folder: Path, aliases: Aliases) -> None:
    """Atomically, and for stages of other users to read. Raises OSError; then the file is as it was."""
    content = json.dumps(aliases.model_dump(mode="json"), indent=2) + "\n"
    durable.write(folder / FILE, content.encode(), for_all=True)
