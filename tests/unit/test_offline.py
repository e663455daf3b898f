"""Scoring a file: what is written, what survives a broken run, and what is refused."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest

import schemas
from config import Settings
from models import durable, open_model
from models.errors import FeatureError
from models.locks import FileLock
from stream.admission import Admission, ClaimFields
from stream.app import build_rooms
from stream.clock import SystemClock
from stream.codec import Decoder, Encoder
from stream.errors import ClaimstreamError, UsageError
from stream.metrics import StageMetrics
from stream.offline import Fleet, Layout, OfflineScorer, Portions, Store
from stream.offline.fleet import open_fleet
from stream.records import CloseReason, MicroBatch, Polled
from stream.roster import LaneModel, LaneShare
from stream.scoring import Scorer
from tests.offline import (
    LAYOUT,
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


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


class Broken(BaseException):
    """The process ends here."""


class Steps:
    """Lets so many changes of files happen, and no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**6
        for owner, name in ((durable, "write"), (Path, "replace"), (Path, "unlink"), (Path, "rmdir")):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **options: Any) -> Any:
            if self.left == 0:
                raise Broken
            self.left -= 1
            return change(*given, **options)

        return counted


def test_a_run_that_is_broken_off_anywhere_goes_on_and_ends_with_the_same_output(
    tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = generated(5_000)
    scored(tmp_path / "unbroken.parquet", claims, fleet)
    unbroken = read(tmp_path / "unbroken.parquet")
    steps, refused = Steps(monkeypatch), 0
    for allowed in range(100):
        output = tmp_path / f"{allowed}.parquet"
        steps.left = allowed
        try:
            scored(output, claims, fleet)
        except Broken:
            steps.left = 10**6
        else:
            break
        try:
            scored(output, claims, fleet)
        except UsageError:
            refused += 1
        assert read(output) == unbroken
    assert allowed > 10
    # Where all was done but the last few removals, the output is one that is there already.
    assert refused <= 3


def test_portions_that_are_durable_are_not_scored_again(tmp_path: Path, fleet: Fleet) -> None:
    claims = generated(5_000)
    scorer = OfflineScorer(fleet, NULL, LAYOUT, "claims.csv", SystemClock())
    portion = Portions(Memory(claims), LAYOUT.portion).take()
    assert portion is not None
    with opened(tmp_path / "out.csv", claims, fleet) as store:
        store.keep(portion, scorer.score(scorer.admit(portion)))
    told: list[int] = []
    with opened(tmp_path / "out.csv", claims, fleet) as store:
        assert store.done == 2_048
        score_into(store, claims, fleet, advance=told.append)
    assert told == [2_048, 904]


def test_an_output_of_another_input_model_batch_or_key_is_refused_and_left_alone(
    tmp_path: Path, fleet: Fleet, filter_fleet: Fleet
) -> None:
    claims, output = generated(100), tmp_path / "out.parquet"
    opened(output, claims, fleet).close()
    before = tree(tmp_path)
    cases: list[tuple[str, Callable[[], Store]]] = [
        ("from claims.csv", lambda: opened(output, generated(100, 6), fleet)),
        ("null:1.0.0", lambda: opened(output, claims, filter_fleet)),
        ("the routes", lambda: opened(output, claims, fleet, {"professional": ["null"]})),
        (
            "in batches of 256; this run is in batches of 64",
            lambda: opened(output, claims, fleet, layout=Layout(64)),
        ),
        ("the key member_id", lambda: opened(output, claims, fleet, layout=Layout(256, "claim_id"))),
    ]
    for said, attempt in cases:
        with pytest.raises(UsageError, match=said) as refused:
            attempt()
        assert "name another --output" in str(refused.value)
        assert tree(tmp_path) == before
    opened(output, claims, fleet).close()


def test_an_output_that_is_there_is_never_overwritten(tmp_path: Path, fleet: Fleet) -> None:
    claims, output = generated(100), tmp_path / "out.csv"
    output.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        opened(output, claims, fleet)
    assert tree(tmp_path) == {"out.csv": b"mine"}
    output.unlink()
    with opened(output, claims, fleet) as store:
        score_into(store, claims, fleet)
        output.write_text("mine again")
        with pytest.raises(UsageError, match="is there already"):
            store.deliver()
    with pytest.raises(UsageError, match="is there already"):
        opened(output, claims, fleet)
    assert output.read_text() == "mine again"


def test_a_folder_of_somebody_elses_is_not_taken_for_that_of_a_run(tmp_path: Path, fleet: Fleet) -> None:
    (tmp_path / "out.csv.partial").mkdir()
    (tmp_path / "out.csv.partial" / "thesis.txt").write_text("mine")
    (tmp_path / "other.csv.partial").write_text("mine")
    before = tree(tmp_path)
    for name, said in (("out.csv", "it holds thesis.txt"), ("other.csv", "cannot be read: Not a directory")):
        with pytest.raises(UsageError, match=said):
            opened(tmp_path / name, generated(10), fleet)
    assert tree(tmp_path) == before


def test_what_a_run_cannot_remove_is_told_and_its_output_is_whole(
    tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> NoReturn:
        raise OSError(errno.EACCES, "Permission denied")

    claims = generated(100)
    folder = tmp_path / "out.csv.partial"
    with opened(tmp_path / "out.csv", claims, fleet) as store:
        score_into(store, claims, fleet)
        (folder / ".nfs000001").write_text("theirs")
        said = store.deliver()
    assert (
        said == f"{folder} cannot be removed: Directory not empty; nothing in it is needed, remove it by hand"
    )
    assert [path.name for path in folder.iterdir()] == [".nfs000001"]
    assert len(read_lines(tmp_path / "out.csv")) == 100
    with opened(tmp_path / "other.csv", claims, fleet) as store, monkeypatch.context() as patch:
        score_into(store, claims, fleet)
        patch.setattr(Path, "rmdir", refused)
        assert "other.csv.partial cannot be removed: Permission denied" in str(store.deliver())
    assert (tmp_path / "other.csv").read_bytes()


def test_nothing_in_the_folder_is_open_when_it_is_removed(
    tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, held = Path.rmdir, []

    def looked(folder: Path) -> None:
        held.extend(_open_files(folder))
        remove(folder)

    claims = generated(3_000)
    with opened(tmp_path / "out.csv", claims, fleet) as store:
        score_into(store, claims, fleet)
    monkeypatch.setattr(Path, "rmdir", looked)
    with opened(tmp_path / "out.csv", claims, fleet) as store:
        assert _open_files(tmp_path / "out.csv.partial")
        assert store.deliver() is None
    with opened(tmp_path / "none.csv", claims, fleet) as store:
        score_into(store, claims, fleet)
        assert store.discard() is None
    assert held == []


def _open_files(folder: Path) -> list[str]:
    """Files in the folder, removed ones too, that this process has open."""
    links = list(Path("/proc/self/fd").iterdir())
    targets = [str(link.readlink()) for link in links if link.is_symlink()]
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [name for name in [*targets, *maps] if f"{folder}/" in name]


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


def test_two_runs_for_one_output_do_not_mix(tmp_path: Path, fleet: Fleet) -> None:
    claims = generated(100)
    with opened(tmp_path / "out.csv", claims, fleet), pytest.raises(UsageError, match="another run writes"):
        opened(tmp_path / "out.csv", claims, fleet)
    opened(tmp_path / "out.csv", claims, fleet).close()


def test_a_run_that_comes_between_a_new_folder_and_its_lock_keeps_its_name_on_what_it_scored(
    tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, theirs = tmp_path / "out.csv", generated(3_000)
    make = Path.mkdir

    def overtaken(folder: Path, **options: Any) -> None:
        make(folder, **options)
        monkeypatch.setattr(Path, "mkdir", make)
        with opened(output, theirs, fleet) as store:
            score_into(store, theirs, fleet)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    with pytest.raises(UsageError, match=r"was begun from claims\.csv"):
        opened(output, generated(3_000, 6), fleet)
    with opened(output, theirs, fleet) as store:
        assert store.done == 3_000


def test_what_was_begun_and_cannot_be_gone_on_with_is_refused(
    tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EROFS, "Read-only file system")

    claims, output = generated(100), tmp_path / "out.csv"
    opened(output, claims, fleet).close()
    told = r"out.csv.partial cannot be gone on with: Read-only file system; call it as whoever began it"
    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "attempt", refused)
        with pytest.raises(UsageError, match=told):
            opened(output, claims, fleet)
    (tmp_path / "out.csv.partial" / "run.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(durable, "write", refused)
        with pytest.raises(UsageError, match=told):
            opened(output, claims, fleet)
    opened(output, claims, fleet).close()


def test_a_full_disk_is_told_and_the_next_run_goes_on(
    tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, output = generated(5_000), tmp_path / "out.parquet"
    with opened(output, claims, fleet) as store, monkeypatch.context() as patch:
        write = durable.write

        def full(path: Path, content: bytes) -> None:
            if path.name.startswith("000000002048"):
                raise OSError(errno.ENOSPC, "No space left on device")
            write(path, content)

        patch.setattr(durable, "write", full)
        with pytest.raises(ClaimstreamError, match=r"No space left on device; .* goes on at claim 2,048"):
            score_into(store, claims, fleet)
    scored(output, claims, fleet)
    assert len(read(output)) == 5_000
