"""Generated claims: the same for everyone, plausible, labelled."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream.publishing import generate
from stream.publishing.claim_schema import claim_schema

CLAIMS = 8_000


@cache
def claims(count: int = CLAIMS, seed: int = 7, start: int = 0) -> list[dict[str, Any]]:
    rows = pa.Table.from_batches(generate(count, seed, start=start)).to_pylist()
    for row in rows:
        row["attributes"] = dict(row["attributes"])
    return rows


def labels() -> Counter[str]:
    return Counter(row["attributes"]["anomaly"] for row in claims())


@pytest.mark.parametrize(("count", "start"), [(100, 50), (300, 1_900), (1, 3_999), (2_000, 2_000)])
def test_a_row_depends_on_seed_and_number_alone(count: int, start: int) -> None:
    assert claims(count, 7, start) == claims()[start : start + count]


def test_another_seed_gives_other_claims() -> None:
    first, second = claims(50, 1), claims(50, 2)
    assert [row["lines"] for row in first] != [row["lines"] for row in second]
    assert first[3]["claim_id"] == "G1-00000003"


def test_batches_have_the_types_of_the_schema_and_are_whole() -> None:
    batches = list(generate(4_500, 3, start=10))
    assert sum(batch.num_rows for batch in batches) == 4_500
    for batch in batches:
        assert batch.num_rows <= 2_000
        assert batch.schema.equals(claim_schema())
        batch.validate(full=True)


def test_nothing_comes_of_a_count_of_zero_and_negative_numbers_are_refused() -> None:
    assert list(generate(0, 1)) == []
    with pytest.raises(ValueError, match="negative"):
        list(generate(-1, 1))


def test_each_kind_of_anomaly_is_planted_and_most_claims_are_honest() -> None:
    shares = {kind: count / CLAIMS for kind, count in labels().items()}
    assert set(shares) == {"none", "upcoding", "duplicate", "unbundling", "impossible"}
    assert 0.06 < 1 - shares["none"] < 0.10
    assert min(shares.values()) > 0.01


def test_claims_are_skewed_as_claims_are() -> None:
    sizes = np.asarray([len(row["lines"]) for row in claims()])
    assert sizes.min() >= 1
    assert sizes.max() <= 20
    assert 2.4 < sizes.mean() < 3.6
    assert np.percentile(sizes, 99) > 3 * np.median(sizes)
    codes = Counter(code["code"] for row in claims() for code in row["codes"])
    assert 300 < len(codes) <= 2_500
    assert sum(count for _, count in codes.most_common(50)) > 0.3 * codes.total()
    kinds = Counter(row["claim_type"] for row in claims())
    assert kinds["professional"] > kinds["pharmacy"] > 500
    assert kinds["institutional"] > 500


def test_a_member_keeps_its_sex_and_age() -> None:
    people: dict[str, set[tuple[str, str]]] = {}
    for row in claims():
        people.setdefault(row["member_id"], set()).add((row["attributes"]["sex"], row["attributes"]["age"]))
    assert all(len(person) == 1 for person in people.values())


def test_diagnoses_fit_the_sex_unless_the_claim_is_impossible() -> None:
    for row in claims():
        if row["attributes"]["anomaly"] == "impossible":
            continue
        codes = {code["code"] for code in row["codes"]}
        if row["attributes"]["sex"] == "male":
            assert not codes & {"Z3400", "O80", "Z90710"}
        else:
            assert not codes & {"N400", "N401", "C61"}


def test_only_institutional_lines_carry_revenue_codes() -> None:
    for row in claims():
        hospital = row["claim_type"] == "institutional"
        assert all((line["revenue_code"] is not None) == hospital for line in row["lines"])
        assert all(line["charge"] > 0 and line["units"] >= 1 for line in row["lines"])


def test_duplicates_repeat_a_line_nearly_to_the_cent() -> None:
    for row in claims():
        if row["attributes"]["anomaly"] == "duplicate":
            assert _repeats(row["lines"])
    honest = [row for row in claims() if row["attributes"]["anomaly"] == "none"]
    assert sum(_repeats(row["lines"]) for row in honest) < 0.02 * len(honest)


def _repeats(lines: list[dict[str, Any]]) -> bool:
    return any(
        one["procedure_code"] == other["procedure_code"]
        and one["revenue_code"] == other["revenue_code"]
        and abs(one["charge"] - other["charge"]) <= 0.04 * one["charge"] + 0.02
        for number, one in enumerate(lines)
        for other in lines[number + 1 :]
    )
