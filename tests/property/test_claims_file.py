"""Whatever the rows are, each is accounted for and no line is lost or invented."""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.publishing import load_claims
from stream.publishing.mapping import parse_mapping

MAPPING = parse_mapping(
    """
claim: {claim_id: ID, claim_type: {constant: professional}, member_id: MEMBER, service_date: DAY}
codes: [{system: {constant: icd-10-cm}, columns: [DX]}]
line: {order: LINE, procedure_code: CPT, charge: CHARGE}
format: {line_breaks_in_values: true}
""",
    "test.yaml",
)
HEADER = ["ID", "MEMBER", "DAY", "DX", "LINE", "CPT", "CHARGE"]

cells = st.tuples(
    st.sampled_from(["A", "B", "C", "D", " A ", ""]),
    st.sampled_from(["M", "M", "M", "N", ""]),
    st.sampled_from(["2024-01-01", "2024-01-01", "2023-12-31", "2024-13-01", ""]),
    st.sampled_from(["I10", "E119", ""]),
    st.sampled_from(["1", "2", "10", "x", ""]),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=4),
    st.sampled_from(["1", "2.5", "$1,000", "-3", "abc", ""]),
)
rows = st.lists(st.one_of(cells.map(list), st.just(["too", "short"]), st.just([])), min_size=1, max_size=25)


@settings(max_examples=150)
@given(rows)
def test_rows_are_claims_plus_rejected_plus_merged(drawn: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(drawn)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "claims.csv"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        loaded = load_claims(path, MAPPING)
    counts, claims = loaded.counts, loaded.claims.to_pylist()
    assert counts.rows == len(drawn)
    assert counts.rows == counts.claims + counts.rejected + counts.merged
    assert counts.claims == len(claims) == len({claim["claim_id"] for claim in claims})
    rejected = {reject.row for reject in loaded.rejects}
    assert len(rejected) == counts.rejected
    kept = [row for number, row in enumerate(drawn, start=2) if number not in rejected]
    lines = Counter(
        (claim["claim_id"], line["procedure_code"]) for claim in claims for line in claim["lines"]
    )
    assert lines == Counter((row[0].strip(), row[5].strip() or None) for row in kept)
