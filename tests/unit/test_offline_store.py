"""The folder of a run: what survives a broken one, what is refused, and what is left behind."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from models import durable
from models.locks import FileLock
from stream.clock import SystemClock
from stream.errors import ClaimstreamError, UsageError
from stream.offline import Fleet, Layout, OfflineScorer, Portions, Store
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

FILTER = {"*": ["claims_filter"]}


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
