"""Whatever a file holds, of whatever kind: each row is accounted for, and what is cut off is not published."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import UsageError
from stream.publishing import ClaimSource, open_claims
from stream.publishing.claim_source import NOTHING, Counts
from stream.publishing.mapping import parse_mapping
from tests.claim_files import claims, records, write_avro, write_json, write_parquet

MAPPING = parse_mapping(
    """
tables: {lines: {file: lines, key: CLAIM, matches: ID, many: true, where: {TYPE: [CHARGE]}}}
claim: {claim_id: ID, claim_type: {constant: dental}, member_id: MEMBER, service_date: DAY}
codes: [{system: {constant: item}, columns: [ITEMS], separator: ";"}]
line: {order: lines.NUMBER, charge: lines.AMOUNT}
""",
    "test.yaml",
)
heads = st.fixed_dictionaries(
    {
        "MEMBER": st.sampled_from(["M", "N", ""]),
        "DAY": st.sampled_from(["2024-01-01", "2024-13-01", None]),
        "ITEMS": st.sampled_from(["a; b;a", ";", None]),
    }
)
lines = st.fixed_dictionaries(
    {
        "CLAIM": st.sampled_from(["0", "1", "2", "9", None]),
        "TYPE": st.sampled_from(["CHARGE", "CHARGE", "PAYMENT"]),
        "NUMBER": st.integers(0, 9),
        "AMOUNT": st.sampled_from([1.5, "$2", "x", None]),
    }
)


def counted(source: ClaimSource) -> tuple[Counts, list[dict[str, Any]]]:
    counts, found = NOTHING, []
    for read in source.batches():
        counts = counts.with_rows(read)
        assert len(read.rows) == read.claims.num_rows
        found += read.claims.to_pylist()
    assert counts.rows == counts.claims + counts.rejected + counts.merged
    assert counts.claims == len(found) <= source.expected
    return counts, found


@settings(max_examples=60, deadline=None)
@given(st.lists(heads, min_size=1, max_size=4), st.lists(lines, max_size=8))
def test_rows_of_joined_tables_add_up(drawn: list[Any], charges: list[Any]) -> None:
    rows = [{"ID": str(number), **row} for number, row in enumerate(drawn)]
    with tempfile.TemporaryDirectory() as folder:
        path = write_json(Path(folder) / "claims.jsonl", rows)
        unused = {"CLAIM": "0", "TYPE": "PAYMENT", "NUMBER": 0, "AMOUNT": 0}
        write_json(Path(folder) / "lines.json", [*charges, unused])
        counts, found = counted(open_claims(path, MAPPING))
    owned = [line for line in charges if line["TYPE"] == "CHARGE"]
    known = {row["ID"] for row in rows}
    per_claim = {name: [line for line in owned if line["CLAIM"] == name] for name in known}
    orphans = sum(line["CLAIM"] not in known for line in owned)
    assert counts.rows == sum(max(len(own), 1) for own in per_claim.values()) + orphans
    for claim in found:
        own = per_claim[claim["claim_id"]]
        assert len(claim["lines"]) == max(len(own), 1)
        assert "x" not in [line["AMOUNT"] for line in own]
        assert [code["code"] for code in claim["codes"]] in (["a", "b"], [])


fields = st.fixed_dictionaries(
    {"claim_id": st.sampled_from(["A", "", None, 1])},
    optional={
        "claim_type": st.sampled_from(["dental", ""]),
        "member_id": st.just("M"),
        "service_date": st.sampled_from(["2024-01-01", "soon"]),
        "codes": st.sampled_from([None, [], [{"system": "s", "code": "c"}], [{}], "x"]),
        "lines": st.sampled_from([[{"units": 2, "charge": 1e400}], [{"units": 2}]]),
        "more": st.none(),
    },
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(fields, st.sampled_from([1, []])), min_size=1, max_size=6))
def test_lines_of_json_are_claims_or_rejects(drawn: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_json(Path(folder) / "claims", [{}, *drawn])
        source = open_claims(path)
        counts, found = counted(source)
    assert counts.rows == len(drawn) + 1
    assert all(claim["claim_id"] == "A" and claim["member_id"] == "M" for claim in found)


TABLE = claims(60)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["avro", "parquet"]), st.data())
def test_a_file_that_is_cut_off_is_refused_or_whole(kind: str, data: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"claims.{kind}"
        if kind == "avro":
            write_avro(path, records(TABLE), block=3_000)
        else:
            write_parquet(path, TABLE, row_group_size=20)
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            found = counted(open_claims(path))[1]
        except UsageError as error:
            assert str(path) in str(error)  # noqa: PT017 - either may be
            return
    # A container may well end behind a block.
    assert found == TABLE.to_pylist()[: len(found)]
    assert kind == "avro" or len(found) == TABLE.num_rows


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["null", "deflate"]), st.data())
def test_a_damaged_container_is_refused_or_costs_records(codec: str, data: Any) -> None:
    """Without a checksum a changed byte may be another value; it is never a crash, and the counts add up."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_avro(Path(folder) / "claims.avro", records(TABLE), codec=codec, block=3_000)
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(len(content) // 3, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        try:
            counted(open_claims(path))
        except UsageError as error:
            assert str(path) in str(error)  # noqa: PT017 - as above
