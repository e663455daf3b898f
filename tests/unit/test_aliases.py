"""Aliases: shares that add up, promotions that can be undone, files that say what is wrong with them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from models.aliases import FILE, Aliases, divided, promoted, read_aliases, rolled_back, write_aliases
from models.errors import ManifestError, PublishError


def shares(aliases: Aliases, alias: str = "production") -> dict[str, int]:
    return aliases.aliases[alias].now.shares


def steps(*promotions: tuple[str, int]) -> Aliases:
    aliases = Aliases()
    for version, weight in promotions:
        aliases = promoted(aliases, "production", version, weight, "2026-01-01T00:00:00+00:00")
    return aliases


@pytest.mark.parametrize(
    ("promotions", "expected"),
    [
        ([("1.0.0", 100)], {"1.0.0": 100}),
        ([("1.0.0", 100), ("2.0.0", 10)], {"1.0.0": 90, "2.0.0": 10}),
        ([("1.0.0", 100), ("2.0.0", 10), ("2.0.0", 50)], {"1.0.0": 50, "2.0.0": 50}),
        ([("1.0.0", 100), ("2.0.0", 10), ("2.0.0", 100)], {"2.0.0": 100}),
        ([("1.0.0", 100), ("2.0.0", 50), ("3.0.0", 10)], {"1.0.0": 45, "2.0.0": 45, "3.0.0": 10}),
        ([("1.0.0", 100), ("2.0.0", 33), ("3.0.0", 99)], {"1.0.0": 1, "3.0.0": 99}),
        ([("1.0.0", 100), ("1.0.0", 100)], {"1.0.0": 100}),
    ],
)
def test_a_promotion_takes_its_weight_and_leaves_the_rest_in_proportion(
    promotions: list[tuple[str, int]], expected: dict[str, int]
) -> None:
    assert shares(steps(*promotions)) == expected


@pytest.mark.parametrize("promotions", [[], [("1.0.0", 100)]])
def test_a_part_needs_something_that_keeps_the_rest(promotions: list[tuple[str, int]]) -> None:
    with pytest.raises(PublishError, match=r"names nothing but 1\.0\.0 that could keep 90 %"):
        promoted(steps(*promotions), "production", "1.0.0", 10, "now")


def test_rollbacks_undo_promotions_one_by_one() -> None:
    aliases = steps(("1.0.0", 100), ("2.0.0", 10), ("2.0.0", 100))
    once = rolled_back(aliases, "production")
    assert shares(once) == {"1.0.0": 90, "2.0.0": 10}
    twice = rolled_back(once, "production")
    assert shares(twice) == {"1.0.0": 100}
    with pytest.raises(PublishError, match=r"production has nothing to go back to.*can go back: none"):
        rolled_back(twice, "production")
    with pytest.raises(PublishError, match=r"staging has nothing.*can go back: production"):
        rolled_back(aliases, "staging")


def test_other_aliases_stay() -> None:
    aliases = promoted(steps(("1.0.0", 100)), "staging", "2.0.0", 100, "now")
    assert shares(
        rolled_back(promoted(aliases, "production", "3.0.0", 100, "now"), "production"), "staging"
    ) == {"2.0.0": 100}


def test_what_a_rollback_would_name_is_protected() -> None:
    aliases = steps(("1.0.0", 100), ("2.0.0", 100), ("3.0.0", 20))
    assert aliases.protected() == {"2.0.0", "3.0.0"}
    assert aliases.naming("2.0.0") == ["production"]
    assert aliases.naming("1.0.0") == []


def test_the_memory_of_an_alias_is_bounded() -> None:
    assert len(steps(*[(f"1.0.{n}", 100) for n in range(50)]).aliases["production"].before) == 20


def test_division_is_by_largest_remainder() -> None:
    assert divided({"a": 1, "b": 1, "c": 1}, 100) == {"a": 34, "b": 33, "c": 33}
    assert divided({}, 0) == {}


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    aliases = steps(("1.0.0", 100), ("2.0.0", 10))
    write_aliases(tmp_path, aliases)
    assert read_aliases(tmp_path) == aliases
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[", "Expecting value"),
        (b'{"aliases": {"production": {"now": {"shares": {"1.0.0": 50}, "since": "x"}}}}', "add up to 50"),
        (b'{"aliases": {"production": {"now": {"shares": {"1.0": 100}, "since": "x"}}}}', "pattern"),
        (b'{"aliases": {}, "colour": 1}', "Extra inputs"),
        (b'{"aliases": {}, "aliases": {}}', "there twice"),
    ],
)
def test_a_file_that_holds_no_aliases_says_so(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ManifestError, match=rf"aliases\.json: does not hold aliases: .*{said}.*promote"):
        read_aliases(tmp_path)


def test_stages_of_other_users_may_read_what_a_promotion_writes(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_aliases(tmp_path, steps(("1.0.0", 100)))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o644
