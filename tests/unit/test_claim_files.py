"""Claims as they are, out of every kind of file that can hold them; each fault says where it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import schemas
from stream.codec import Encoder
from stream.errors import UsageError
from stream.publishing import ClaimSource, Kind, load_claims, load_mapping, open_claims
from stream.publishing.mapping import Source
from stream.publishing.supply import from_file
from tests.claim_files import (
    bare,
    claims,
    records,
    varint,
    write_avro,
    write_blocks,
    write_json,
    write_parquet,
)

COUNT = 5_300
TABLE = claims(COUNT)


def read(path: Path) -> tuple[ClaimSource, pa.Table, list[Any]]:
    source = open_claims(path)
    stretches = list(source.batches())
    table = pa.Table.from_batches([stretch.claims for stretch in stretches])
    table.validate(full=True)
    rows = np.concatenate([stretch.rows for stretch in stretches])
    assert len(rows) == table.num_rows
    assert (np.diff(rows) > 0).all()
    return source, table, [reject for stretch in stretches for reject in stretch.rejects]


WRITERS: dict[str, Callable[[Path], Path]] = {
    "avro": lambda folder: write_avro(folder / "claims.avro", records(TABLE)),
    "deflate": lambda folder: write_avro(folder / "claims", records(TABLE), codec="deflate", block=100_000),
    "json": lambda folder: write_json(folder / "claims.jsonl", records(TABLE)),
    "parquet": lambda folder: write_parquet(folder / "claims.parquet", TABLE, row_group_size=1_500),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_claims_come_back_as_they_were(tmp_path: Path, kind: str) -> None:
    source, table, rejects = read(WRITERS[kind](tmp_path))
    assert (source.expected, rejects, source.ignored) == (COUNT, [], ())
    assert table.equals(TABLE)
    assert sum(stretch.claims.num_rows for stretch in source.batches()) == COUNT


def test_what_an_avro_file_holds_goes_out_byte_for_byte(tmp_path: Path) -> None:
    source = open_claims(WRITERS["deflate"](tmp_path))
    written = [stretch.written for stretch in source.batches()]
    encoder = Encoder(schemas.load("claim_event"))
    framed = [value for values in written if values is not None for value in encoder.framed(values)]
    assert framed == [value for batch in TABLE.to_batches() for value in encoder.encode(batch)]


def test_a_count_that_the_bytes_do_not_bear_out_is_damage(tmp_path: Path) -> None:
    one, two = bare(claims(2))
    for count, data in ((1 << 40, one), (3, one + two), (1, one + two), (2, one + two[:-1])):
        with pytest.raises(UsageError, match=r"a\.avro is damaged in the blocks from record 1 on"):
            read(write_blocks(tmp_path / "a.avro", [(count, data)]))


def test_the_kind_is_told_by_content_first(tmp_path: Path) -> None:
    for writer, kind in ((write_avro, Kind.AVRO), (write_json, Kind.JSON_LINES)):
        path = writer(tmp_path / "claims", records(claims(3)))
        assert open_claims(path).kind is kind
    assert open_claims(write_parquet(tmp_path / "a", claims(3))).kind is Kind.PARQUET
    packed = tmp_path / "claims.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "claims").read_bytes()))
    assert open_claims(packed).expected == 3


def test_an_older_schema_is_resolved_and_what_is_no_part_of_a_claim_is_named(tmp_path: Path) -> None:
    schema = schemas.load("claim_event")
    older = {**schema, "fields": [f for f in schema["fields"] if f["name"] not in ("lines", "provider_id")]}
    older["fields"].append({"name": "label", "type": "int"})
    rows = [{**row, "label": 1} for row in records(claims(20))]
    source, table, _ = read(write_avro(tmp_path / "a.avro", rows, older))
    assert source.ignored == ("label",)
    assert table.column("lines").to_pylist() == [[]] * 20
    assert table.column("codes").to_pylist() == claims(20).column("codes").to_pylist()
    source, table, _ = read(write_parquet(tmp_path / "a.parquet", claims(20).drop(["lines", "provider_id"])))
    assert table.column("lines").to_pylist() == [[]] * 20
    assert open_claims(write_json(tmp_path / "a.jsonl", rows)).ignored == ("label",)


def test_what_is_no_part_of_a_line_is_named(tmp_path: Path) -> None:
    rows = records(claims(3))
    line = {**rows[0]["lines"][0], "charge_amount": 80.0}
    odd = [*rows[:2], {**rows[2], "lines": [line]}]
    assert open_claims(write_json(tmp_path / "a.jsonl", odd)).ignored == ("lines.charge_amount",)
    assert open_claims(write_parquet(tmp_path / "a.parquet", _with_modifier())).ignored == ("lines.modifier",)
    schema = json.loads(json.dumps(schemas.load("claim_event")))
    (lines,) = (field for field in schema["fields"] if field["name"] == "lines")
    lines["type"]["items"]["fields"].append({"name": "modifier", "type": "string", "default": ""})
    assert open_claims(write_avro(tmp_path / "a.avro", rows, schema)).ignored == ("lines.modifier",)


def _with_modifier() -> pa.Table:
    schema = claims(3).schema
    line = schema.field("lines").type.value_type
    wider = pa.list_(pa.struct([*line, pa.field("modifier", pa.string())]))
    wide = schema.set(schema.get_field_index("lines"), pa.field("lines", wider, nullable=False))
    return pa.Table.from_pylist(claims(3).to_pylist(), wide)


def test_columns_that_a_mapping_does_not_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    header = "claim_id,claim_type,member_id,service_date,charges,paid"
    path.write_text(f"{header}\nA,dental,M,2024-01-02,80.00,70.00\n")
    mapping = load_mapping("plain")
    assert open_claims(path, mapping).ignored == ("charges", "paid")
    paid = mapping.model_copy(update={"outcomes": ("PAID",)})
    assert open_claims(path, paid).ignored == ("charges",)
    rows = [{**GOOD, "more": {"a": 1, "b": 2}, "lines": 3}]
    nested = mapping.model_copy(update={"attributes": {"a": Source(columns=("more.a",))}})
    assert open_claims(write_json(tmp_path / "a.jsonl", rows), nested).ignored == ("more.b", "lines")
    assert open_claims(write_json(tmp_path / "a.jsonl", rows), mapping).ignored == ("more", "lines")


def test_a_text_that_is_no_number_costs_its_claim_alone(tmp_path: Path) -> None:
    lines = [[{"charge": text}] for text in ("80.00", "n/a", "12.5")]
    table = pa.Table.from_pylist(
        [{**GOOD, "claim_id": name, "lines": own} for name, own in zip("ABC", lines, strict=True)]
    )
    _, claimed, rejects = read(write_parquet(tmp_path / "a.parquet", table))
    assert [(claim["claim_id"], claim["lines"][0]["charge"]) for claim in claimed.to_pylist()] == [
        ("A", 80.0),
        ("C", 12.5),
    ]
    assert [(each.row, each.reason) for each in rejects] == [(2, "lines[0].charge: 'n/a' is not a number")]


def test_a_block_larger_than_its_file_is_damage_for_a_mapping_too(tmp_path: Path) -> None:
    whole = write_blocks(tmp_path / "a.avro", []).read_bytes()
    for size in (1 << 40, (1 << 62) - 1):
        (tmp_path / "a.avro").write_bytes(whole + varint(1) + varint(size) + b"x")
        with pytest.raises(UsageError, match=r"a\.avro is damaged or cut off at record 1"):
            open_claims(tmp_path / "a.avro", load_mapping("plain"))


def test_blocks_that_are_not_in_the_shortest_form_are_read_record_by_record(tmp_path: Path) -> None:
    """An array whose block says its size, and one in two blocks: allowed by Avro, seldom written."""
    one, two = bare(claims(2))
    codes = len(claims(1).column("codes")[0])
    assert 0 < codes < 64
    start = one.index(bytes([codes << 1, 18]) + b"icd-10-cm")
    end = start + 1
    for code in claims(1).column("codes")[0].as_py():
        end += 2 + len("icd-10-cm") + len(code["code"])
    sized = one[:start] + bytes([(codes << 1) - 1]) + varint(end - start - 1) + one[start + 1 :]
    path = write_blocks(tmp_path / "a.avro", [(1, sized), (2, two + one)])
    _, table, rejects = read(path)
    assert rejects == []
    assert table.to_pylist() == [claims(2).to_pylist()[place] for place in (0, 1, 0)]
    # Where one record ends is not known from its columns alone, so that nothing goes out as it lies there.
    assert [stretch.written for stretch in open_claims(path).batches()] == [None]


def test_a_text_that_is_not_utf8_costs_its_record(tmp_path: Path) -> None:
    one, two = bare(claims(2))
    path = write_blocks(tmp_path / "a.avro", [(2, one + two.replace(b"icd-10-cm", b"icd-10-c\xff", 1))])
    with pytest.raises(UsageError, match=r"a\.avro is damaged in the blocks from record 1 on.*not UTF-8"):
        read(path)


def test_a_date_beyond_all_calendars_is_no_damage(tmp_path: Path) -> None:
    table = claims(2)
    place = table.schema.get_field_index("service_date")
    days = pa.array([19_000, 10_000_000], pa.int32()).cast(pa.date32())
    path = write_blocks(
        tmp_path / "a.avro", [(2, b"".join(bare(table.set_column(place, table.field(place), days))))]
    )
    assert read(path)[1].column("service_date").cast(pa.int32()).to_pylist() == [19_000, 10_000_000]
    said = r"a\.avro: record 2 holds a date.*out of range\): correct it or leave that record out"
    with pytest.raises(UsageError, match=said):
        open_claims(path, load_mapping("plain"))


@pytest.mark.parametrize("cut", [1, 20, 100, 3_000])
def test_a_container_that_is_cut_off_is_refused_before_the_first_claim(tmp_path: Path, cut: int) -> None:
    path = write_avro(tmp_path / "a.avro", records(claims(200)), block=2_000)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(
        UsageError, match=r"a\.avro is damaged or cut off at record \d+.*write or copy it again"
    ):
        open_claims(path)


def test_a_container_without_records_or_of_other_records_is_named(tmp_path: Path) -> None:
    assert open_claims(write_avro(tmp_path / "none.avro", [])).expected == 0
    other = {"type": "record", "name": "Invoice", "fields": [{"name": "number", "type": "string"}]}
    path = write_avro(tmp_path / "a.avro", [{"number": "1"}], other)
    with pytest.raises(UsageError, match=r"no claim_id, claim_type.*columns are number\. Name a --mapping"):
        open_claims(path)
    dated = schemas.load("claim_event")
    dated["fields"][4] = {"name": "service_date", "type": "string"}
    path = write_avro(tmp_path / "b.avro", [{**records(claims(1))[0], "service_date": "2024-01-02"}], dated)
    _, table, rejects = read(path)
    assert table.num_rows == 0
    assert "does not fit" in rejects[0].reason


@pytest.mark.parametrize("cut", [1, 4, 500])
def test_a_parquet_file_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    path = write_parquet(tmp_path / "a.parquet", claims(200))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UsageError, match=r"a\.parquet is no whole Parquet file .*cut off or damaged"):
        open_claims(path)


def test_what_a_parquet_column_holds_must_be_a_claims(tmp_path: Path) -> None:
    wrong = claims(3).set_column(4, "service_date", pa.array([[1], [2], [3]]))
    with pytest.raises(UsageError, match=r"column service_date holds list.*date32"):
        open_claims(write_parquet(tmp_path / "a.parquet", wrong))
    texts = claims(3).set_column(4, "service_date", pa.array(["2024-01-02", "soon", "2024-01-03"]))
    _, table, rejects = read(write_parquet(tmp_path / "b.parquet", texts))
    assert [str(day) for day in table.column("service_date").to_pylist()] == ["2024-01-02", "2024-01-03"]
    assert [(reject.row, reject.reason) for reject in rejects] == [
        (2, "service_date: 'soon' is not a date like 2024-01-31")
    ]


def test_a_parquet_row_without_what_it_needs_costs_itself(tmp_path: Path) -> None:
    table = claims(4)
    table = table.set_column(2, "member_id", pa.array(["M1", None, "", "M4"]))
    found, read_back, rejects = read(write_parquet(tmp_path / "a.parquet", table))
    assert found.expected == 4
    assert read_back.column("member_id").to_pylist() == ["M1", "M4"]
    assert [(reject.row, reject.reason) for reject in rejects] == [
        (2, "member_id is missing"),
        (3, "member_id is empty"),
    ]


GOOD = {"claim_id": "A", "claim_type": "professional", "member_id": "M1", "service_date": "2024-01-02"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON list, not an object"),
        ("", "blank row"),
        (json.dumps({**GOOD, "claim_id": 7}), "claim_id: '7' is not text"),
        (json.dumps({**GOOD, "claim_id": ""}), "claim_id is empty"),
        (json.dumps({**GOOD, "member_id": None}), "member_id is missing"),
        (json.dumps({**GOOD, "service_date": "02/01/2024"}), "service_date: '02/01/2024' is not a date like"),
        (json.dumps({**GOOD, "lines": [{}, {"charge": "1"}]}), "lines[1].charge: '1' is not a number"),
        (json.dumps({**GOOD, "lines": [{"charge": float("nan")}]}), "NaN is no number"),
        (json.dumps({**GOOD, "codes": [{"code": "I10"}]}), "codes[0].system is missing"),
        (json.dumps({**GOOD, "attributes": {"a": 1}}), "attributes.a: '1' is not text"),
        (json.dumps({**GOOD, "attributes": [1]}), "attributes: '[1]' is not an object"),
        (json.dumps({**GOOD, "attributes": ["ab"]}), "is not an object"),
        (json.dumps({**GOOD, "attributes": [["a", "b"]]}), "is not an object"),
        ("\udcff", "not UTF-8 text"),
        (json.dumps({**GOOD, "claim_id": "A\ud800"}), "not text: half a surrogate pair"),
        (json.dumps({**GOOD, "more": {"\udfff": 1}}).replace("ud", "uD"), "not text: half a surrogate pair"),
    ],
)
def test_a_bad_line_costs_itself_and_says_why(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "claims.jsonl"
    lines = [json.dumps(GOOD), line, json.dumps({**GOOD, "claim_id": "B"})]
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    _, table, rejects = read(path)
    assert table.column("claim_id").to_pylist() == ["A", "B"]
    assert table.column("lines").to_pylist() == [[], []]
    (reject,) = rejects
    assert reject.row == 2
    assert reason in reject.reason


def test_half_a_surrogate_pair_costs_its_row_and_a_whole_pair_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "claims.jsonl"
    rows = [{**GOOD, "claim_id": name} for name in ("A\U0001f4a5", "B\ud83d", "C\\ud800")]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    loaded = load_claims(path, load_mapping("plain"))
    assert loaded.claims.column("claim_id").to_pylist() == ["A\U0001f4a5", "C\\ud800"]
    assert [(reject.row, reject.reason[:29]) for reject in loaded.rejects] == [
        (2, "not text: half a surrogate pa")
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.parquet", b"claim_id,x\n", "no Parquet file, whatever its name says"),
        ("a.avro", b"{}", "no Avro file, whatever its name says"),
        ("a.json", b"[{}]", "one JSON array: write one object a line"),
        ("a.avro", b"Obj\x01rubbish", "no whole Avro file"),
        ("a.avro.gz", gzip.compress(b"Obj\x01", mtime=0), "Avro inside gzip: unpack it first"),
        ("a.csv", b"claim_id\n1\n", "--mapping is missing"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as raised:
        open_claims(path)
    assert name in str(raised.value)


@pytest.mark.parametrize("kind", ["avro", "parquet"])
def test_where_every_row_is_rejected_the_pass_ends_with_the_reason(tmp_path: Path, kind: str) -> None:
    table = claims(5)
    table = table.set_column(2, table.schema.field("member_id"), pa.array([""] * 5))
    if kind == "avro":
        path = write_avro(tmp_path / "claims.avro", records(table))
    else:
        path = write_parquet(tmp_path / "claims.parquet", table)
    supply = from_file(path, None, tmp_path / "rejects.csv")
    with pytest.raises(UsageError, match=r"no row of .* all 5 are rejected, .* member_id is empty"):
        list(supply.batches())
    assert len((tmp_path / "rejects.csv").read_text().splitlines()) == 6
