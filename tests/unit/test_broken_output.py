"""Where standard output cannot be written, or has not all characters, what a command did is told all the same."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import click
import pytest

from stream.cli import main, publish
from stream.cli.output import emit_json
from stream.errors import UsageError
from stream.publishing import DeliveryError

LOST = "2 of 5 claims were not delivered"


def ended(monkeypatch: pytest.MonkeyPatch, body: Any) -> object:
    """The exit code of a command that does this."""
    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: click.Command("demo", callback=body))
    with pytest.raises(SystemExit) as end:
        main.main(["demo"])
    return end.value.code


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with Path("/dev/full").open("w", encoding="utf-8") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        yield


@pytest.mark.parametrize("length", [1, 10_000])
def test_an_output_that_takes_nothing_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    with full_disk(monkeypatch):
        assert ended(monkeypatch, lambda: click.echo("scores" * length)) == main.FAILED
        # What was dropped is not tried again when the interpreter ends.
        sys.stdout.flush()
    told = "claimstream: standard output cannot be written: No space left on device\n"
    assert capsys.readouterr().err == told


def test_an_error_of_the_system_that_is_none_of_the_output_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def body() -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: click.Command("demo", callback=body))
    with pytest.raises(PermissionError):
        main.run(["demo"])


def test_a_character_that_the_terminal_lacks_is_shown_as_its_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding="iso-8859-1"))
    assert ended(monkeypatch, lambda: click.echo("1.5 → 2.5 é")) == 0
    assert kept.getvalue() == rb"1.5 \u2192 2.5 " + b"\xe9\n"


@pytest.mark.parametrize("encoding", ["iso-8859-1", "iso-8859-2", "utf-8"])
def test_json_is_json_whatever_characters_the_output_has(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    kept, said = io.BytesIO(), {"claim_id": "ñ → 😀"}
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding=encoding))
    assert ended(monkeypatch, lambda: emit_json(said)) == 0
    assert json.loads(kept.getvalue().decode(encoding)) == said


class Recording:
    def __init__(self, *, full: bool) -> None:
        self.saved = 0
        self._full = full

    def save(self) -> None:
        self.saved += 1
        if self._full:
            raise UsageError("cannot write the recorded times to times.parquet")


def publishing(monkeypatch: pytest.MonkeyPatch, recording: Recording, lost: str) -> None:
    """Five claims, of which some are not delivered."""

    def flush() -> None:
        if lost:
            raise DeliveryError(lost)

    counts = SimpleNamespace(rows=5, claims=5, rejected=0, merged=0)
    supply = SimpleNamespace(batches=list, expected=5, counts=counts, ignored=(), rejects=())
    publisher: Any = SimpleNamespace(flush=flush, acknowledged=3)
    monkeypatch.setattr(publish, "publish_all", lambda *_, **__: iter((5,)))
    made: Any = (supply, publisher, None, "claims", 1, recording)
    publish._run(publish.Plan(*made), as_json=False)


@pytest.mark.parametrize("full", [False, True])
def test_claims_that_were_not_delivered_are_told_though_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, full: bool
) -> None:
    recording = Recording(full=full)
    with full_disk(monkeypatch):
        with pytest.raises(DeliveryError, match=LOST):
            publishing(monkeypatch, recording, LOST)
        main._drop_unwritten()
    assert recording.saved == 1
    assert ("cannot write the recorded times" in capsys.readouterr().err) == full


def test_a_summary_that_cannot_be_written_costs_no_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(full=False)
    with full_disk(monkeypatch):
        with pytest.raises(OSError, match="No space left"):
            publishing(monkeypatch, recording, "")
        main._drop_unwritten()
    assert recording.saved == 1


def test_a_recording_that_cannot_be_written_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="cannot write the recorded times"):
        publishing(monkeypatch, Recording(full=True), "")
