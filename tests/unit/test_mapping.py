"""Mappings are data, and their mistakes are explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import UsageError
from stream.publishing import load_mapping, shipped_mappings
from stream.publishing.mapping import parse_mapping

GOOD = """
claim:
  claim_id: ID
  claim_type: {constant: professional}
  member_id: {columns: [MEMBER, "PERSON_{1..2}"]}
  service_date: {column: DAY, formats: ["%m/%d/%Y"]}
"""


def test_every_shipped_mapping_is_valid() -> None:
    assert "tuva" in shipped_mappings()
    for name in shipped_mappings():
        load_mapping(name)


def test_shorthand_spans_and_constants() -> None:
    mapping = parse_mapping(GOOD, "mine.yaml")
    assert mapping.claim.claim_id.columns == ("ID",)
    assert mapping.claim.claim_type.constant == "professional"
    assert mapping.claim.member_id.columns == ("MEMBER", "PERSON_1", "PERSON_2")
    assert mapping.columns()["PERSON_2"] == "claim.member_id"
    assert len(load_mapping("tuva").codes[0].columns) == 25


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("claim_id", "claim_idd"), ["claim.claim_idd", "did you mean claim_id?"]),
        (GOOD + "lines: {}\n", ["lines", "did you mean line?"]),
        (GOOD.replace("formats", "format"), ["claim.service_date.format", "did you mean formats?"]),
        (GOOD.replace("  claim_id: ID\n", ""), ["claim.claim_id", "required"]),
        (GOOD.replace("{constant: professional}", "{case: lower}"), ["claim.claim_type", "constant"]),
        (GOOD.replace("{constant: professional}", "3"), ["claim.claim_type"]),
        (GOOD + "line: {units: {column: A, columns: [B]}}\n", ["line.units", "not both"]),
        (GOOD + "codes: [{system: {constant: x}, columns: []}]\n", ["codes.0.columns"]),
        ("claim: [", ["not YAML", "line 1"]),
        (GOOD + "d: 2026-99-99\n", ["not YAML", "month must be in 1..12"]),
        ("[" * 50_000, ["not YAML"]),
        (GOOD + "tables: {x: {file: a/b, key: K, matches: M}}\n", ["tables.x.file", "folder of the claims"]),
        (GOOD + "tables: {x: {file: .., key: K, matches: M}}\n", ["tables.x.file", "folder of the claims"]),
        (GOOD + 'format: {delimiter: ""}\n', ["format.delimiter", "at least 1 character"]),
        (GOOD + 'format: {delimiter: "||"}\n', ["format.delimiter", "at most 1 character"]),
        (GOOD + 'format: {delimiter: "\\n"}\n', ["format.delimiter", "cannot stand between two"]),
        ("", ["needs a `claim` section"]),
    ],
)
def test_a_wrong_mapping_names_file_and_key(text: str, expected: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        parse_mapping(text, "mine.yaml")
    for part in ["mine.yaml", *expected]:
        assert part in str(raised.value)


def test_an_unknown_mapping_names_the_nearest_and_all() -> None:
    with pytest.raises(UsageError, match="Did you mean tuva") as raised:
        load_mapping("tuwa")
    assert "YAML file" in str(raised.value)


def test_a_mapping_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        load_mapping(str(path))
