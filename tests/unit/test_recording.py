"""What was published is published again at the same times."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream.cli import main
from stream.errors import UsageError
from stream.publishing import Recorder, read_recording, write_recording


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "times.parquet"


def refusal(file: Path) -> str:
    with pytest.raises(UsageError) as raised:
        read_recording(file)
    assert str(file) in str(raised.value)
    return str(raised.value)


def test_each_claim_has_the_time_of_its_step(file: Path) -> None:
    recorder = Recorder(file)
    for elapsed, count in ((0.0, 2), (0.25, 0), (0.5, 1)):
        recorder.note(elapsed, count)
    recorder.save()
    assert read_recording(file).tolist() == [0.0, 0.0, 0.5]


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        Recorder(tmp_path / "absent" / "times.parquet")


def test_what_is_no_whole_recording_is_refused(file: Path) -> None:
    assert "No such file" in refusal(file)
    write_recording(file, np.arange(1_000.0))
    whole = file.read_bytes()
    for length in (0, 3, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert "not a whole one" in refusal(file)
    file.write_text("seconds\n0.0\n0.1\n")
    assert "claimstream publish --record" in refusal(file)


def test_a_damaged_time_is_not_replayed(file: Path) -> None:
    write_recording(file, np.array([0.1, 0.3]))
    whole = file.read_bytes()
    other = whole.replace(struct.pack("<d", 0.3), struct.pack("<d", 0.4))
    assert other != whole
    file.write_bytes(other)
    assert "not a whole one" in refusal(file)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"seconds": ["0.1"]}), "it holds seconds string"),
        (pa.table({"claim_id": ["a"], "seconds": [0.1]}), "it holds claim_id string, seconds double"),
        (pa.table({"seconds": pa.array([], pa.float64())}), "holds no arrival"),
        (pa.table({"seconds": [0.0, 2.0, 1.5]}), "its time 3, 1.5 s, lies before 2 s"),
        (pa.table({"seconds": [-1.0, 2.0]}), "its time 1, -1 s, lies before the start"),
        (pa.table({"seconds": [0.0, float("inf")]}), "its time 2, inf s, is not a number of seconds"),
        (pa.table({"seconds": [0.0, None]}), "its time 2, nan s, is not a number of seconds"),
    ],
)
def test_times_that_are_none_are_refused(file: Path, table: pa.Table, message: str) -> None:
    pq.write_table(table, file)
    assert message in refusal(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--replay", "FILE", "--rate", "5"), "leave out --rate and --arrivals"),
        (("--replay", "FILE", "--arrivals", "even"), "leave out --rate and --arrivals"),
        (("--replay", "FILE", "--repeat", "2"), "holds 3 arrivals, and 4 claims"),
        (("--replay", "absent"), "No such file"),
        (("--arrivals", "even"), "give --rate as well"),
        (("--rate", "5", "--arrivals", "evn"), "did you mean even?"),
    ],
)
def test_options_that_do_not_go_together_are_bad_usage(
    file: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    write_recording(file, np.arange(3.0))
    chosen = [str(file) if option == "FILE" else option for option in options]
    assert main.run(["publish", "--generate", "2", "--bootstrap", "127.0.0.1:1", *chosen]) == 2
    assert message in capsys.readouterr().err
