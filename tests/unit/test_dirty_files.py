"""Real files are dirty, differ from year to year, and come in several tables: small ones of that manner."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream.errors import UsageError
from stream.publishing import ClaimsFile, load_claims, load_mapping
from stream.publishing.arrow_calls import one_piece
from stream.publishing.mapping import parse_mapping
from tests.claim_files import write_avro, write_json, write_parquet

TSA_HEADER = (
    "Claim Number,Date Received,Incident Date,Airport Code,Airport Name,Airline Name,Claim Type,Claim Site,"
    "Item Category,Close Amount,Disposition"
)
TSA_ROWS = """\
2010010567154,2010-01-04 00:00:00,2010-01-03 14:30:00,slc,Salt Lake City International,Delta Air Lines  ,\
Property Damage,Checked Baggage,Cosmetics & Grooming,0,Deny
,,,,,,,,,,
 2010010567158 ,1/5/10,1/2/2010 9:15,LAX,Los Angeles International Airport ,-,PASSENGER PROPERTY LOSS,Checkpoint,\
Cameras; Cameras;Clothing ; ,"$1,579.40",Settle

"""
ALIKE = {"Item Category": "Item", "Incident Date": "INCIDENT D", "Claim Number": "claim_number"}


def load(folder: Path, text: str, mapping: str = "tsa", name: str = "claims.csv") -> ClaimsFile:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    loaded = load_claims(path, load_mapping(mapping))
    counts = loaded.counts
    assert counts.rows == counts.claims + counts.rejected + counts.merged
    return loaded


def told(loaded: ClaimsFile) -> list[tuple[int, str]]:
    return [(reject.row, reject.reason) for reject in loaded.rejects]


def test_a_dirty_file_of_the_tsa(tmp_path: Path) -> None:
    again = TSA_HEADER.upper()
    loaded = load(tmp_path, f"{TSA_HEADER}\n{TSA_ROWS}{again}\n<BR>,,,,,,,,,,\n")
    first, second = loaded.claims.to_pylist()
    assert [str(claim["service_date"]) for claim in (first, second)] == ["2010-01-03", "2010-01-02"]
    assert str(second["received_date"]) == "2010-01-05"
    assert (first["claim_type"], second["claim_type"]) == ("property-damage", "property-loss")
    assert [code["code"] for code in second["codes"]] == ["cameras", "clothing"]
    assert dict(first["attributes"])["airport"] == "SLC"
    assert dict(first["attributes"])["airline"] == "delta air lines"
    assert "airline" not in dict(second["attributes"])
    assert told(loaded) == [
        (3, "blank row"),
        (5, "blank row"),
        (6, "the header again"),
        (7, "claim.service_date: nothing in Incident Date, Date Received"),
    ]


def test_nothing_of_an_outcome_travels_with_a_claim(tmp_path: Path) -> None:
    loaded = load(tmp_path, f"{TSA_HEADER}\n{TSA_ROWS}")
    assert "1579" not in str(loaded.claims.to_pylist())
    assert "Settle" not in str(loaded.claims.to_pylist())
    bad = "claim: {claim_id: A, claim_type: B, member_id: C, service_date: D}\nattributes: {paid: P}\n"
    with pytest.raises(UsageError, match=r"attributes\.paid is read from P, which is among the outcomes"):
        parse_mapping(bad + "outcomes: [P]\n", "mine.yaml")


@pytest.mark.parametrize(
    ("outcomes", "headers"),
    [
        ("[Paid Amount]", "{match: loose}"),
        ("[SETTLED]", "{also: {paid_amount: [SETTLED]}}"),
        ("[PAID]", "{also: {PAID: [paid_amount]}}"),
    ],
)
def test_an_outcome_is_known_by_all_its_names(outcomes: str, headers: str) -> None:
    fields = "claim: {claim_id: A, claim_type: B, member_id: C, service_date: D}\n"
    read = fields + f"attributes: {{x: paid_amount}}\nheaders: {headers}\noutcomes: "
    name = outcomes.strip("[]")
    with pytest.raises(UsageError, match=f"attributes.x is read from paid_amount, .* outcomes as {name}:"):
        parse_mapping(read + outcomes, "mine.yaml")


def test_a_file_of_another_year_is_read_under_its_own_headers(tmp_path: Path) -> None:
    header = TSA_HEADER
    for name, other in ALIKE.items():
        header = header.replace(name, other)
    older = header.replace("Close Amount", "Claim Amount,Status,Close Amount")
    rows = TSA_ROWS.replace(",0,Deny", ',"$ 1,250.00 ",Denied,0,Deny').replace('"$1,579.40"', "(20.5),x,1")
    loaded = load(tmp_path, f"{older}\n{rows.replace(',,,,,,,,,,', ',,,,,,,,,,,,')}")
    assert [claim["lines"][0]["charge"] for claim in loaded.claims.to_pylist()] == [1250.0, -20.5]
    assert loaded.claims.to_pylist()[1]["codes"][0] == {"system": "tsa-item", "code": "cameras"}
    short = "Claim Number,Date Received,Incident Date,Claim Type\n1,1/2/2015,1/1/2015,Complaint\n"
    assert load(tmp_path, short).claims.column("claim_type").to_pylist() == ["complaint"]


def test_a_column_that_a_year_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        load(tmp_path, TSA_HEADER.replace("Claim Type", "Type") + "\n" + TSA_ROWS)
    for part in ("claims.csv does not fit", "no column Claim Type (claim.claim_type)", "nearest column"):
        assert part in str(raised.value)
    twice = TSA_HEADER.replace("Claim Site", "claim_type").replace("Claim Type", "CLAIM TYPE")
    with pytest.raises(UsageError, match=r"column Claim Type twice \(CLAIM TYPE and claim_type\)"):
        load(tmp_path, f"{twice}\n{TSA_ROWS}")


def test_other_names_and_optional_columns_must_be_of_the_mapping() -> None:
    text = "claim: {claim_id: A, claim_type: B, member_id: C, service_date: Day}\n"
    with pytest.raises(UsageError, match=r"headers names Dai, which nothing is read from; did you mean Day"):
        parse_mapping(text + "headers: {also: {Dai: [Date]}}\n", "mine.yaml")


CLAIMS = """\
Id,PATIENTID,PROVIDERID,PRIMARYPATIENTINSURANCEID,APPOINTMENTID,SERVICEDATE,LASTBILLEDDATE1,DIAGNOSIS1,DIAGNOSIS2,\
DIAGNOSIS3,DIAGNOSIS4,DIAGNOSIS5,DIAGNOSIS6,DIAGNOSIS7,DIAGNOSIS8,HEALTHCARECLAIMTYPEID1
C1,P1,D1,I1,E1,2014-05-06T08:34:30Z,2014-05-06T08:49:30Z,195662009,195662009,,,,,,,2
C2,P1,D9,,E2,2014-05-31T18:34:30Z,,65363002,,,,,,,,1
"""
TRANSACTIONS = """\
CLAIMID,CHARGEID,TYPE,AMOUNT,FROMDATE,PLACEOFSERVICE,PROCEDURECODE,UNITS
C1,2,CHARGE,20.5,2014-05-06T08:34:30Z,O1,1111,1
C1,1,CHARGE,85.55,2014-05-06T08:34:30Z,O1,185345009,1
C1,3,PAYMENT,,2014-05-06T08:34:30Z,O1,185345009,1
"""
TABLES = {
    "claims_transactions.csv": TRANSACTIONS,
    "encounters.csv": "Id,ENCOUNTERCLASS\nE2,wellness\nE1,ambulatory\n",
    "providers.csv": "Id,SPECIALITY\nD1,GENERAL PRACTICE\n",
    "payers.csv": "Id,NAME\nI1,Medicaid\n",
}


def load_tables(folder: Path, **tables: str) -> ClaimsFile:
    for name, text in {**TABLES, **{f"{name}.csv": text for name, text in tables.items()}}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return load(folder, CLAIMS, "synthea")


def test_several_tables_make_one_claim(tmp_path: Path) -> None:
    loaded = load_tables(tmp_path)
    first, second = loaded.claims.to_pylist()
    assert [(line["procedure_code"], line["charge"]) for line in first["lines"]] == [
        ("185345009", 85.55),
        ("1111", 20.5),
    ]
    assert first["codes"] == [{"system": "snomed-ct", "code": "195662009"}]
    assert dict(first["attributes"]) == {
        "encounter_class": "ambulatory",
        "specialty": "general practice",
        "payer": "Medicaid",
        "place_of_service": "O1",
        "source": "synthea",
    }
    assert (first["claim_type"], second["claim_type"]) == ("institutional", "professional")
    assert dict(second["attributes"]) == {"encounter_class": "wellness", "source": "synthea"}
    assert second["lines"] == [{"procedure_code": None, "revenue_code": None, "units": 1.0, "charge": 0.0}]
    assert (loaded.counts.rows, loaded.counts.merged, loaded.rejects) == (3, 1, ())
    assert loaded.rows.tolist() == [2, 3]


def test_a_bad_line_of_a_table_is_told_with_its_place(tmp_path: Path) -> None:
    wrong = TRANSACTIONS.replace("20.5", "much") + "C7,1,CHARGE,1,2014-05-06,O1,1,1\n"
    loaded = load_tables(tmp_path, claims_transactions=wrong)
    assert loaded.claims.column("claim_id").to_pylist() == ["C2"]
    assert told(loaded) == [
        (2, "line.charge: 'much' is not a number (claims_transactions.csv row 2)"),
        (2, "row 2 of the same claim is rejected (claims_transactions.csv row 3)"),
        (5, "claims_transactions.csv: no row of claims.csv has this Id"),
    ]


def test_a_damaged_line_of_a_table_costs_its_claim(tmp_path: Path) -> None:
    loaded = load_tables(tmp_path, claims_transactions=TRANSACTIONS.replace("20.5", "20,5"))
    assert loaded.claims.column("claim_id").to_pylist() == ["C2"]
    assert (
        2,
        "claims_transactions.csv row 2 of the same claim is rejected (claims_transactions.csv row 3)",
    ) in (told(loaded))
    assert (2, "C1") in [(reject.row, reject.claim_id) for reject in loaded.rejects]


def test_a_table_is_found_in_any_kind_and_missed_by_name(tmp_path: Path) -> None:
    load_tables(tmp_path)
    (tmp_path / "payers.csv").unlink()
    pq.write_table(pa.table({"Id": ["I1"], "NAME": ["Humana"]}), tmp_path / "payers.parquet")
    packed = gzip.compress((tmp_path / "encounters.csv").read_bytes())
    (tmp_path / "encounters.csv").unlink()
    (tmp_path / "encounters.csv.gz").write_bytes(packed)
    loaded = load(tmp_path, CLAIMS, "synthea")
    assert dict(loaded.claims.to_pylist()[0]["attributes"])["payer"] == "Humana"
    (tmp_path / "payers.parquet").unlink()
    with pytest.raises(
        UsageError, match=r"claims\.csv needs payers\.csv beside it \(tables\.payer of the map"
    ):
        load(tmp_path, CLAIMS, "synthea")


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"payers": "Id,NAME\nI1,A\nI1,B\n"}, r"payers\.csv has the Id I1 twice \(rows 2 and 3\)"),
        ({"payers": "Key,NAME\nI1,A\n"}, r"payers\.csv does not fit.*no column Id \(tables\.payer\.key\)"),
        ({"encounters": "Id\nE1\n"}, r"encounters\.csv.*no column ENCOUNTERCLASS \(attributes\.encounter_cl"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path: Path, tables: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_tables(tmp_path, **tables)


TYPED = """
claim:
  claim_id: id
  claim_type: {constant: dental}
  member_id: who.member
  service_date: {column: day, formats: ["%d/%m/%Y"]}
line: {charge: cost}
"""
ROWS: list[dict[str, Any]] = [
    {"id": 7, "who": {"member": "M1"}, "day": date(2024, 1, 2), "cost": 12.5},
    {"id": 8, "who": {"member": None}, "day": date(2024, 1, 3), "cost": None},
    {"id": 9, "who": {"member": "M3"}, "day": date(2024, 1, 4), "cost": 1.25},
]
SCHEMA = {
    "type": "record",
    "name": "Bill",
    "fields": [
        {"name": "id", "type": "long"},
        {
            "name": "who",
            "type": {
                "type": "record",
                "name": "Who",
                "fields": [{"name": "member", "type": ["null", "string"]}],
            },
        },
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "cost", "type": ["null", "double"]},
    ],
}


def flat(path: Path) -> Path:
    rows = [{**row, "who.member": row["who"]["member"]} for row in ROWS]
    return write_parquet(path, pa.Table.from_pylist(rows).drop(["who"]))


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_json(folder / "a.jsonl", ROWS),
        lambda folder: write_avro(folder / "a.avro", ROWS, SCHEMA),
        lambda folder: flat(folder / "a.parquet"),
    ],
    ids=["json", "avro", "parquet"],
)
def test_a_mapping_reads_rows_of_every_kind(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    loaded = load_claims(write(tmp_path), parse_mapping(TYPED, "mine.yaml"))
    claims = loaded.claims.to_pylist()
    assert [(claim["claim_id"], claim["member_id"]) for claim in claims] == [("7", "M1"), ("9", "M3")]
    assert [str(claim["service_date"]) for claim in claims] == ["2024-01-02", "2024-01-04"]
    assert [claim["lines"][0]["charge"] for claim in claims] == [12.5, 1.25]
    assert [(reject.row, reject.claim_id) for reject in loaded.rejects] == [(2, "8")]
    assert "nothing in who.member" in loaded.rejects[0].reason


def test_a_list_where_a_mapping_reads_one_value(tmp_path: Path) -> None:
    mapping = parse_mapping(TYPED, "mine.yaml")
    rows = [*ROWS[:1], {**ROWS[0], "id": [1]}]
    loaded = load_claims(write_json(tmp_path / "a.jsonl", rows), mapping)
    assert told(loaded) == [(2, "id: list is no single value")]
    lost = load_claims(write_json(tmp_path / "c.jsonl", [*ROWS, {**ROWS[0], "cost": [1]}]), mapping)
    assert lost.claims.column("claim_id").to_pylist() == ["9"]
    assert (1, "row 4 of the same claim is rejected") in told(lost)
    listed = pa.table({"id": [[1]], "who.member": ["M"], "day": ["2024-01-02"], "cost": [1.0]})
    with pytest.raises(UsageError, match=r"column id holds list.*single values"):
        load_claims(write_parquet(tmp_path / "a.parquet", listed), mapping)
    with pytest.raises(UsageError, match=r"no column cost \(line\.charge\)"):
        load_claims(write_json(tmp_path / "b.jsonl", [{"id": 1, "who": {"member": 2}, "day": 3}]), mapping)


def test_more_text_than_one_column_holds_is_told(tmp_path: Path) -> None:
    size = 1_200_000_000
    # Twice that is more than the 2 GiB of Arrow's 32 bits; none of it is ever touched.
    buffers = [None, pa.py_buffer(np.array([0, size], np.int32)), pa.py_buffer(np.empty(size, np.uint8))]
    chunk: Any = pa.Array.from_buffers(pa.string(), 1, buffers)
    place = tmp_path / "claims.parquet"
    with pytest.raises(UsageError, match=r"claims.parquet: the column note holds more than 2 GiB: split"):
        one_piece(place, "note", pa.chunked_array([chunk, chunk]))
    small = pa.chunked_array([["a"], ["b"]])
    assert one_piece(place, "note", small).to_pylist() == ["a", "b"]
    assert one_piece(place, "note", pa.chunked_array([], pa.binary())).to_pylist() == []
