"""Exit codes, messages, help and what commands print."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from config import ConfigurationError
from models.errors import UnknownModelError
from stream.cli import main, output
from stream.cli.config import command as config_command
from stream.errors import ClaimstreamError, RetryError, UsageError


def run_raising(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None, result: int | None = None
) -> int:
    def body() -> int | None:
        if error is not None:
            raise error
        return result

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: click.Command("demo", callback=body))
    return main.run(["demo"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such mapping"), 2),
        (ConfigurationError("stream.yaml:1: wrong"), 2),
        (RetryError("no broker at x:1"), 1),
        (ClaimstreamError("failed"), 1),
        (UnknownModelError("no model x"), 1),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    assert run_raising(monkeypatch, error) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"claimstream: {error}\n")


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_raising(monkeypatch, KeyboardInterrupt()) == 130


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_command_may_return_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, result: int | None, code: int
) -> None:
    assert run_raising(monkeypatch, None, result) == code


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_raising(monkeypatch, ZeroDivisionError())


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["config", "check", "--nonsense"]])
def test_bad_usage_exits_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main.run(arguments) == 2
    assert "Error: No such" in capsys.readouterr().err


def test_a_wrong_file_exits_with_2_and_names_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "stream.yaml"
    file.write_text("kafka:\n  bootstrap_server: x\n", encoding="utf-8")
    assert main.run(["config", "check", "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"claimstream: {file}:2: unknown key kafka.bootstrap_server; the nearest is kafka.bootstrap_servers\n"
    )


def test_help_lists_exactly_the_commands_that_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(main.COMMANDS, "absent", "A command without a module.")
    assert main.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert "  config " in text
    assert "absent" not in text
    assert main.run(["absent"]) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("claimstream, version ")


def every_command() -> list[tuple[str, click.Command]]:
    context = click.Context(main.claimstream)
    found = []
    for name in main.claimstream.list_commands(context):
        command = main.claimstream.get_command(context, name)
        assert command is not None
        inner = command.commands.items() if isinstance(command, click.Group) else [("", command)]
        found += [(f"{name} {sub}".strip(), leaf) for sub, leaf in inner]
    return found


def test_every_command_shows_an_example_in_its_help() -> None:
    for name, command in every_command():
        text = CliRunner().invoke(command, ["--help"]).output
        assert f"  claimstream {name}" in text, name


def test_help_comes_without_loading_the_heavy_libraries() -> None:
    code = (
        "import sys; from stream.cli.main import run; run(['--help']); "
        "sys.exit(len({'torch', 'pyarrow', 'confluent_kafka', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_config_check_prints_values_with_origin_and_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMSTREAM_KAFKA__CLIENT__SASL_PASSWORD", "hush")
    monkeypatch.setenv("ML_BATCH_SIZE_MAX", "100")
    text = CliRunner().invoke(config_command, ["check"], catch_exceptions=False).output
    document = json.loads(CliRunner().invoke(config_command, ["check", "--json"]).output)
    assert "hush" not in text + json.dumps(document)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert document["batching.size_max"] == {"value": 100, "origin": "environment ML_BATCH_SIZE_MAX"}
    assert document["batching.size_min"] == {"value": 32, "origin": "default"}
    assert document["kafka.client.sasl.password"]["value"] == "********"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["host", "--real"], "--real belongs to the benchmark faults"),
        (["host", "--seeds", "3"], "--seeds belongs to the benchmark faults"),
        (["faults", "--strikes", "3"], "--strikes belongs to the benchmark faults --real"),
        (["faults", "--real", "--seeds", "3"], "--seeds belongs to the benchmark faults"),
        (["delivery", "--minutes", "3"], "--minutes belongs to the benchmark faults --real or soak"),
        (["soak", "--fault", "kill"], "--fault belongs to the benchmark faults --real"),
    ],
)
def test_an_option_of_another_benchmark_is_bad_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main.run(["bench", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_progress_is_silent_without_a_terminal() -> None:
    screen = io.StringIO()
    with output.progress("publishing", 10, Console(file=screen, force_terminal=False)) as bar:
        bar.advance(10)
    assert screen.getvalue() == ""


def test_progress_shows_on_a_terminal() -> None:
    screen = io.StringIO()
    with output.progress("publishing", 10, Console(file=screen, force_terminal=True, width=80)) as bar:
        bar.advance(4)
        bar.advance(6)
    assert "publishing" in screen.getvalue()
    assert "10/10" in screen.getvalue()


def test_a_notice_is_for_a_terminal_alone() -> None:
    for terminal, shown in ((True, "loading a_v1 …\n"), (False, "")):
        screen = io.StringIO()
        output.notice("loading a_v1", Console(file=screen, force_terminal=terminal, no_color=True))
        assert screen.getvalue() == shown


def test_json_is_one_line_of_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json({"p99_ms": float("nan"), "list": [1.5, float("inf")], "name": "é"})
    assert capsys.readouterr().out == '{"p99_ms": null, "list": [1.5, null], "name": "é"}\n'


def test_a_long_cell_goes_on_below_itself() -> None:
    text = output.table([("name", "one two three", "x")], ("A", "B", "C"), width=18)
    assert text == "A     B          C\nname  one two    x\n      three"
    # A word is cut only where the other columns have no spaces left to break at.
    wide = output.table([("claims_filter:2.1.0", "one two three four")], ("A", "B"), width=33)
    assert wide == "A                    B\nclaims_filter:2.1.0  one two\n                     three four"


def test_a_table_holds_nothing_that_a_terminal_acts_on() -> None:
    assert output.table([("a\x1b[2Jb\x9b",)], ("A",)) == "A\na\\x1b[2Jb\\x9b"


WITHOUT_FILELOCK = """
import sys
sys.modules["filelock"] = None
from stream.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["demo", "broker"])
def test_what_needs_the_extra_says_how_to_install_it(command: str) -> None:
    words = [sys.executable, "-c", WITHOUT_FILELOCK, command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == main.USAGE, done.stderr
    cure = "pip install --require-hashes -r requirements.txt, in the clone"
    assert done.stderr == f"claimstream: filelock is not installed; the {command} needs: {cure}\n"


def test_the_demo_misses_what_draws_its_picture_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main.run(["demo", "--bootstrap", "127.0.0.1:1"]) == main.USAGE
    assert "matplotlib is not installed; the demo needs" in capsys.readouterr().err
