"""CSV files become claims; what does not is rejected with its row and reason."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from stream.errors import UsageError
from stream.publishing import ClaimsFile, load_claims, write_rejects
from stream.publishing.mapping import load_mapping, parse_mapping
from stream.publishing.supply import from_file

MAPPING = """
claim:
  claim_id: ID
  claim_type: {column: KIND, case: lower, values: {pro: professional, hosp: institutional}}
  member_id: MEMBER
  service_date: {column: DAY, formats: ["%Y-%m-%d", "%m/%d/%Y"]}
codes:
  - {system: {column: SYSTEM, default: icd-10-cm}, columns: "DX_{1..2}"}
line: {order: LINE, procedure_code: CPT, units: {column: UNITS, default: "1"}, charge: CHARGE}
attributes: {place: PLACE, source: {constant: test}}
"""
HEADER = "ID,LINE,KIND,MEMBER,DAY,SYSTEM,DX_1,DX_2,CPT,UNITS,CHARGE,PLACE"
ROW = "A,1,PRO,M1,2024-01-02,,I10,,99213,1,100.00,11"


def load(folder: Path, *rows: str, header: str = HEADER, mapping: str = MAPPING) -> ClaimsFile:
    path = folder / "claims.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    loaded = load_claims(path, parse_mapping(mapping, "test.yaml"))
    counts = loaded.counts
    assert counts.rows == counts.claims + counts.rejected + counts.merged
    assert counts.rejected == len(loaded.rejects)
    loaded.claims.validate(full=True)
    return loaded


def only(loaded: ClaimsFile) -> dict[str, Any]:
    (claim,) = loaded.claims.to_pylist()
    return claim


def test_lines_of_a_claim_find_each_other_and_are_ordered(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        'A,10,PRO,M1,2024-01-03,,I10,E119,85025,2,"$1,234.50",11',
        "B,1,HOSP,M2,01/05/2024,,,,,,,",
        "A,2,PRO,M1,2024-01-02,,E119,J449,99213,,100,",
    )
    first, second = loaded.claims.to_pylist()
    assert (loaded.counts.claims, loaded.counts.merged) == (2, 1)
    assert [line["procedure_code"] for line in first["lines"]] == ["99213", "85025"]
    assert first["lines"][1] == {
        "procedure_code": "85025",
        "revenue_code": None,
        "units": 2.0,
        "charge": 1234.5,
    }
    assert [code["code"] for code in first["codes"]] == ["E119", "J449", "I10"]
    assert {code["system"] for code in first["codes"]} == {"icd-10-cm"}
    assert str(first["service_date"]) == "2024-01-02"
    assert dict(first["attributes"]) == {"place": "11", "source": "test"}
    assert (second["claim_type"], str(second["service_date"])) == ("institutional", "2024-01-05")
    assert second["lines"] == [{"procedure_code": None, "revenue_code": None, "units": 1.0, "charge": 0.0}]
    assert second["codes"] == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW.replace("2024-01-02", "2024-02-30"), "'2024-02-30' is not a date like %Y-%m-%d or %m/%d/%Y"),
        (ROW.replace("2024-01-02", ""), "claim.service_date: nothing in DAY"),
        (ROW.replace("100.00", "1e999"), "line.charge: '1e999' is not a number"),
        (ROW.replace("100.00", "nan"), "line.charge: 'nan' is not a number"),
        (ROW.replace("100.00", '"80,00"'), "line.charge: '80,00' is not a number"),
        (ROW.replace("100.00", '"€ 1.234,50"'), "line.charge: '€ 1.234,50' is not a number"),
        (ROW.replace("100.00", "1 2"), "line.charge: '1 2' is not a number"),
        (ROW.replace("100.00", "9" * 400), f"line.charge: '{'9' * 400}' is not a number"),
        (ROW.replace("PRO", "dental"), "'dental' is not among the mapping's values"),
        (ROW.replace("M1", "  "), "claim.member_id: nothing in MEMBER"),
        (ROW.replace("A,1", ",1"), "claim.claim_id: nothing in ID"),
        (ROW + ",extra", "13 values where the header has 12"),
        ("", "blank row"),
        (",,,,,,,,,,,", "blank row"),
    ],
)
def test_a_bad_row_costs_itself_and_says_why(tmp_path: Path, row: str, reason: str) -> None:
    loaded = load(tmp_path, ROW.replace("A,1", "B,1"), row, ROW.replace("A,1", "C,1"))
    assert [claim["claim_id"] for claim in loaded.claims.to_pylist()] == ["B", "C"]
    (reject,) = loaded.rejects
    assert reject.row == 3
    assert reason in reject.reason


def test_signs_of_currency_and_thousands_are_read(tmp_path: Path) -> None:
    texts = ("$1,234,567.5", "-$5", "($ 1.50)", "(2 €)", "- 5 USD", "usd 7", "+.5", "1e2")
    loaded = load(
        tmp_path,
        *(ROW.replace("A", f"C{place}").replace("100.00", f'"{text}"') for place, text in enumerate(texts)),
    )
    charges = [claim["lines"][0]["charge"] for claim in loaded.claims.to_pylist()]
    assert charges == [1234567.5, -5.0, -1.5, -2.0, -5.0, 7.0, 0.5, 100.0]


def test_a_claim_with_a_bad_line_is_rejected_whole(tmp_path: Path) -> None:
    loaded = load(tmp_path, ROW, "B,1,PRO,M1,2024-01-02,,,,,,,", ROW.replace("100.00", "much"))
    assert only(loaded)["claim_id"] == "B"
    assert [(reject.row, reject.claim_id) for reject in loaded.rejects] == [(2, "A"), (4, "A")]
    assert loaded.rejects[0].reason == "row 4 of the same claim is rejected"


def test_a_damaged_line_costs_its_claim(tmp_path: Path) -> None:
    other = "B,1,PRO,M1,2024-01-02,,,,,,,"
    loaded = load(tmp_path, ROW, other, ROW.replace("100.00", "100,00"), ROW.replace("A,1", " A ,2"))
    assert only(loaded)["claim_id"] == "B"
    assert [(reject.row, reject.claim_id) for reject in loaded.rejects] == [(2, "A"), (4, "A"), (5, "A")]
    assert loaded.rejects[0].reason == "row 4 of the same claim is rejected"
    damaged = "\n".join((HEADER, ROW, other, ROW.replace("M1", "M\udcff"))).encode(errors="surrogateescape")
    (tmp_path / "claims.csv").write_bytes(damaged)
    loaded = load_claims(tmp_path / "claims.csv", parse_mapping(MAPPING, "test.yaml"))
    assert only(loaded)["claim_id"] == "B"
    cased = MAPPING.replace("claim_id: ID", "claim_id: {columns: [OLD, ID], case: lower}")
    cased += "headers: {optional: [OLD]}\n"
    assert only(load(tmp_path, ROW, other, ROW + ",extra", mapping=cased))["claim_id"] == "b"


def test_lines_of_one_claim_cannot_belong_to_two_members(tmp_path: Path) -> None:
    loaded = load(tmp_path, ROW, ROW.replace("M1", "M2"), "B,1,PRO,M1,2024-01-02,,,,,,,")
    assert only(loaded)["claim_id"] == "B"
    assert "claim.member_id differs" in loaded.rejects[1].reason


def test_what_one_line_leaves_out_another_may_give(tmp_path: Path) -> None:
    loaded = load(tmp_path, ROW.replace("M1", ""), ROW.replace("A,1", "A,2"))
    assert only(loaded)["member_id"] == "M1"
    assert len(only(loaded)["lines"]) == 2


def test_bytes_that_are_no_text_cost_their_row(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_bytes(
        f"{HEADER}\n{ROW}\n".encode()
        + ROW.replace("A,1", "B,1").replace("M1", "M\udcff").encode(errors="surrogateescape")
    )
    loaded = load_claims(path, parse_mapping(MAPPING, "test.yaml"))
    assert (loaded.counts.claims, loaded.counts.rejected) == (1, 1)
    assert (loaded.rejects[0].row, loaded.rejects[0].reason) == (3, "not UTF-8 text")


def test_rejects_are_written_as_csv(tmp_path: Path) -> None:
    loaded = load(tmp_path, ROW, ROW.replace("A,1,PRO", "B,1,x"))
    write_rejects(tmp_path / "rejects.csv", loaded.rejects)
    lines = (tmp_path / "rejects.csv").read_text().splitlines()
    assert lines[0] == "row,claim_id,reason"
    assert lines[1].startswith("3,B,")
    with pytest.raises(UsageError, match="rejects file"):
        write_rejects(tmp_path / "no" / "rejects.csv", loaded.rejects)


def test_batches_are_bounded_and_complete(tmp_path: Path) -> None:
    loaded = load(tmp_path, *(ROW.replace("A,1", f"C{number},1") for number in range(25)))
    batches = list(loaded.batches(10))
    assert [batch.num_rows for batch in batches] == [10, 10, 5]
    assert batches[2].column("claim_id").to_pylist()[-1] == "C24"


def test_a_missing_column_names_file_key_and_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        load(tmp_path, ROW, header=HEADER.replace("MEMBER", "Member_Id"))
    for part in ("claims.csv", "no column MEMBER (claim.member_id)", "nearest column: Member_Id"):
        assert part in str(raised.value)


def test_an_open_quote_does_not_swallow_rows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a quote is left open"):
        load(tmp_path, ROW.replace(",11", ',"11'), ROW, ROW)


def test_line_breaks_in_values_are_read_when_the_mapping_says_so(tmp_path: Path) -> None:
    mapping = MAPPING + "format: {line_breaks_in_values: true}\n"
    loaded = load(tmp_path, ROW.replace(",11", ',"1\n1"'), mapping=mapping)
    assert dict(only(loaded)["attributes"])["place"] == "1\n1"


def _file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.csv", b"", "is empty"),
        ("empty.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("header.csv", HEADER.encode() + b"\n", "no rows"),
        ("text.csv.gz", HEADER.encode(), "not a gzip file"),
        ("cut.csv.gz", gzip.compress(f"{HEADER}\n{ROW}\n".encode() * 500, mtime=0)[:-20], "damaged"),
        ("twice.csv", HEADER.replace("PLACE", "ID").replace("SYSTEM", "PLACE,SYSTEM").encode(), "ID twice"),
        ("binary.csv", b"\xff\xfe\x00\x01", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = _file(tmp_path, name, content)
    with pytest.raises(UsageError, match=reason) as raised:
        load_claims(path, parse_mapping(MAPPING, "test.yaml"))
    assert name in str(raised.value)


def test_a_directory_and_a_missing_file_are_named(tmp_path: Path) -> None:
    mapping = parse_mapping(MAPPING, "test.yaml")
    with pytest.raises(UsageError, match=r"cannot read .*: File name too long"):
        load_claims(tmp_path / ("x" * 300), parse_mapping(MAPPING, "test.yaml"))
    with pytest.raises(UsageError, match=r"cannot read .*: File name too long"):
        load_mapping("x" * 300)
    os.mkfifo(tmp_path / "claims.jsonl")
    with pytest.raises(UsageError, match="no regular file"):
        load_claims(tmp_path / "claims.jsonl", parse_mapping(MAPPING, "test.yaml"))
    with pytest.raises(UsageError, match="is a directory"):
        load_claims(tmp_path, mapping)
    _file(tmp_path, "claims.csv", b"x")
    with pytest.raises(UsageError, match=r"did you mean .*claims\.csv"):
        load_claims(tmp_path / "claim.csv", mapping)


def test_gzip_is_recognised_whatever_its_name(tmp_path: Path) -> None:
    path = _file(tmp_path, "claims.csv", gzip.compress(f"{HEADER}\n{ROW}\n".encode()))
    assert load_claims(path, parse_mapping(MAPPING, "test.yaml")).counts.claims == 1


def test_a_tab_stands_between_values_and_a_blank_between_codes(tmp_path: Path) -> None:
    row = ROW.replace("I10", " I10  E119 ")
    path = _file(tmp_path, "claims.tsv", f"{HEADER}\n{row}\n".replace(",", "\t").encode())
    mapping = MAPPING.replace('"DX_{1..2}"', '"DX_{1..2}", separator: " "') + 'format: {delimiter: "\\t"}\n'
    claim = only(load_claims(path, parse_mapping(mapping, "test.yaml")))
    assert [code["code"] for code in claim["codes"]] == ["I10", "E119"]
    assert claim["lines"][0]["charge"] == 100.0


def test_a_file_without_any_claim_is_an_error_with_a_reason(tmp_path: Path) -> None:
    path = _file(tmp_path, "claims.csv", f"{HEADER}\n{ROW.replace('M1', '')}\n".encode())
    mapping = _file(tmp_path, "mine.yaml", MAPPING.encode())
    with pytest.raises(UsageError, match=r"no row of .* makes a claim.*nothing in MEMBER"):
        from_file(path, str(mapping), tmp_path / "rejects.csv")
    assert (tmp_path / "rejects.csv").exists()
