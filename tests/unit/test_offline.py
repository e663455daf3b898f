"""Scoring a file: what is written, and that it is what the stage gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import schemas
from config import Settings
from models import open_model
from models.errors import FeatureError
from stream.admission import Admission, ClaimFields
from stream.app import build_rooms
from stream.clock import SystemClock
from stream.codec import Decoder, Encoder
from stream.errors import UsageError
from stream.metrics import StageMetrics
from stream.offline import Fleet, Layout, Portions
from stream.offline.fleet import open_fleet
from stream.records import CloseReason, MicroBatch, Polled
from stream.roster import LaneModel, LaneShare
from stream.scoring import Scorer
from tests.offline import (
    NULL,
    Memory,
    fleet_of,
    generated,
    opened,
    read,
    read_lines,
    score_into,
    scored,
)
from tests.scripted_stage import Poisoned, ScriptedModels
from tests.unit.test_pipeline_models import SECOND, Renamed

FILTER = {"*": ["claims_filter"]}


@pytest.mark.parametrize("skip", [0, 1, 699, 700, 1_500, 2_999])
def test_portions_are_of_one_size_and_in_the_order_of_the_file(skip: int) -> None:
    claims = generated(3_000)
    portions = Portions(Memory(claims), 512, skip)
    taken = list(iter(portions.take, None))
    assert pa.concat_batches([each.claims for each in taken]).equals(claims.slice(skip))
    assert [len(each.rows) for each in taken[:-1]] == [512] * (len(taken) - 1)
    assert [each.first for each in taken] == list(range(skip, 3_000, 512))
    assert np.concatenate([each.rows for each in taken]).tolist() == list(range(skip + 2, 3_002))
    assert portions.counts.claims == 3_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of(tmp_path_factory.mktemp("null"), NULL) as opened:
        yield opened


@pytest.fixture(scope="module")
def filter_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of(tmp_path_factory.mktemp("filter"), FILTER) as opened:
        yield opened


def stage_scores(claims: pa.RecordBatch, fleet: Fleet, size: int) -> list[np.ndarray[Any, Any]]:
    """What the stage makes of the same claims as records, in micro-batches of that size."""
    rooms = build_rooms(Settings(routes=FILTER), SystemClock())
    rooms.lanes.add()
    model = fleet.leases[0].model
    rooms.roster.add(LaneModel(model.identity, model.spec_digest, model.features, model.decisions))
    rooms.roster.serve("claims_filter", [LaneShare(0, 1)])
    admission = Admission(
        Decoder(schemas.load("claim_event")),
        rooms.router,
        rooms.roster,
        rooms.arena,
        rooms.lanes,
        rooms.orders,
        ClaimFields("claim_id", "claim_type"),
        0.2,
        rooms.clock,
        StageMetrics(),
    )
    values = Encoder(schemas.load("claim_event")).encode(claims)
    count = len(values)
    zero, keys = np.zeros(count, np.int64), [b"k"] * count
    assert admission.admit(Polled(list(values), list(keys), {}, zero, np.arange(count), zero, zero)) == []
    rows, scorer = rooms.lanes.empty(0), Scorer(rooms.arena, rooms.clock)
    for start in range(0, count, size):
        scorer.score(MicroBatch(0, rows[start : start + size], CloseReason.SIZE), model)
    return [rooms.arena.score[rows, 0]]


def test_scores_are_the_stages_bit_for_bit_in_the_same_batches_and_close_in_others(
    tmp_path: Path, filter_fleet: Fleet
) -> None:
    claims = generated(500)
    (theirs,) = stage_scores(claims, filter_fleet, 64)
    found = {}
    for size in (64, 500):
        scored(tmp_path / f"{size}.parquet", claims, filter_fleet, FILTER, Layout(size))
        records = read(tmp_path / f"{size}.parquet")
        assert [record["claim_id"] for record in records] == claims.column("claim_id").to_pylist()
        found[size] = np.array([record["scores"][0]["score"] for record in records], np.float32)
    assert found[64].tobytes() == theirs.tobytes()
    np.testing.assert_allclose(found[500], theirs, rtol=0, atol=1e-5)


def test_each_format_holds_the_same_results_in_the_fields_of_the_schema(tmp_path: Path, fleet: Fleet) -> None:
    claims = generated(3_000)
    for suffix in ("parquet", "avro", "csv"):
        scored(tmp_path / f"out.{suffix}", claims, fleet)
    parquet, avro = read(tmp_path / "out.parquet"), read(tmp_path / "out.avro")
    assert parquet == avro
    assert len(parquet) == 3_000
    assert parquet[7] | {"scores": []} == {
        "claim_id": claims.column("claim_id")[7].as_py(),
        "claim_type": claims.column("claim_type")[7].as_py(),
        "input_topic": "claims.csv",
        "input_partition": 0,
        "input_offset": 7,
        "scores": [],
        "outcome": "scored",
        "deadline_missed": False,
    }
    assert read_lines(tmp_path / "out.csv") == [
        {name: value for name, value in (record | record["scores"][0]).items() if name != "scores"}
        for record in parquet
    ]
    assert list(tmp_path.glob("*.partial")) == []


def test_a_route_of_two_models_gives_two_scores_and_two_lines(tmp_path: Path) -> None:
    routes = {"*": ["null"], "professional": ["null", "claims_filter"]}
    claims = generated(60)
    with fleet_of(tmp_path, routes) as fleet:
        scored(tmp_path / "out.parquet", claims, fleet, routes, Layout(16))
        scored(tmp_path / "out.csv", claims, fleet, routes, Layout(16))
    records = read(tmp_path / "out.parquet")
    models = [[score["model"] for score in record["scores"]] for record in records]
    expected = [
        ["null", "claims_filter"] if kind == "professional" else ["null"]
        for kind in claims.column("claim_type").to_pylist()
    ]
    assert models == expected
    alone = open_model("claims_filter", threads=1)
    theirs = alone.score(alone.features.encode(claims))
    for place, record in enumerate(records):
        assert abs(record["scores"][-1]["score"] - theirs[place]) < 1e-5 or len(record["scores"]) == 1
    lines = read_lines(tmp_path / "out.csv")
    assert [line["model"] for line in lines] == [name for names in models for name in names]


def test_weighted_versions_are_chosen_by_the_key_as_in_the_stage(tmp_path: Path) -> None:
    scripted = ScriptedModels(open_model("null"))
    scripted.versions[SECOND] = Renamed(open_model("null"), "2.0.0")
    scripted.on_device.add(SECOND)
    scripted.meaning = ((scripted.first, 70), (SECOND, 30))
    claims = generated(400)
    with open_fleet(scripted, ["null"]) as fleet:
        scored(tmp_path / "out.parquet", claims, fleet)
        keys = [member.encode() for member in claims.column("member_id").to_pylist()]
        lanes = fleet.roster.plan([0], keys, np.full(len(keys), "", object))[:, 0].tolist()
    assert {0, 1} == set(lanes)
    versions = [record["scores"][0]["version"] for record in read(tmp_path / "out.parquet")]
    assert versions == [("1.0.0", "2.0.0")[lane] for lane in lanes]
    assert scripted.leases.total() == 0


def test_claims_without_a_route_or_that_a_model_fails_on_are_lost_alone(tmp_path: Path) -> None:
    claims = generated(300)
    charges = open_model("null").features.encode(claims)["totals"][:, 0]
    scripted = ScriptedModels(Poisoned(open_model("null"), [float(charges[9])]))
    types = claims.column("claim_type").to_pylist()
    routes = {kind: ["null"] for kind in set(types) - {"pharmacy"}}
    with (
        open_fleet(scripted, ["null"]) as fleet,
        opened(tmp_path / "out.avro", claims, fleet, routes) as store,
    ):
        score_into(store, claims, fleet, routes)
        lost = store.lost()
        store.deliver()
    poisoned = np.flatnonzero(charges == charges[9]).tolist()
    unrouted = [place for place, kind in enumerate(types) if kind == "pharmacy"]
    assert [each.row - 2 for each in lost] == sorted({*poisoned, *unrouted})
    assert [each.claim_id for each in lost] == [
        claims.column("claim_id")[each.row - 2].as_py() for each in lost
    ]
    reasons = {each.row - 2: each.reason for each in lost}
    assert "null failed on this claim: RuntimeError: cannot take this one" in reasons[9]
    assert all("no route for claim type 'pharmacy'" in reasons[place] for place in unrouted)
    rest = [number for number in range(300) if number not in reasons]
    assert [record["input_offset"] for record in read(tmp_path / "out.avro")] == rest


def test_a_model_whose_feature_spec_claims_do_not_fit_is_refused_at_the_start() -> None:
    class Weather:
        def encode(self, _: pa.RecordBatch) -> Any:
            raise FeatureError("the feature spec needs the columns ['weather']")

    model = Renamed(open_model("null"), "1.0.0")
    model.features = Weather()
    scripted = ScriptedModels(model)
    with pytest.raises(UsageError, match=r"null: the feature spec needs the columns \['weather'\]"):
        open_fleet(scripted, ["null"])
    assert scripted.leases.total() == 0
