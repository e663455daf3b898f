"""What README and docs point at is there, and their commands are commands."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
import yaml

from stream.cli.main import claimstream
from stream.metrics import DEFINITIONS, PREFIX
from tests.documents import PAGES, ROOT, commands, files

TARGETS = {
    target
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    if (found := re.match(r"([\w./-]+):", line)) and (target := found[1])
}
ALERTS = ROOT / "docs" / "alerts.yaml"
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in IDS if name != "README.md" and f"({name})" not in readme] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_are_understood(page: Path) -> None:
    for command in commands(page.read_text(encoding="utf-8")):
        words = shlex.split(command.removesuffix(" &"))
        if Path(words[0]).name == "claimstream":
            understood(words[1:])
        elif words[0] == "make":
            assert words[-1] in TARGETS, command
        else:
            assert (
                words[0].startswith(("kafka-", ".venv/bin/"))
                or words[0] == "export"
                or shutil.which(words[0])
            ), command


def understood(words: list[str]) -> None:
    """Parsed as the command line would, without running it."""
    command: click.Command = claimstream
    while isinstance(command, click.Group):
        name, *words = words
        inner = command.get_command(click.Context(command), name)
        assert inner is not None, name
        command = inner
    try:
        command.make_context(command.name, words)
    except click.BadParameter as error:
        # What an earlier command of the page makes is not there.
        if "does not exist" not in error.message:
            raise


def test_inline_commands_are_commands() -> None:
    """`claimstream models list` in running text, as far as its words are names."""
    for page in PAGES:
        for text in re.findall(r"`(?:\.venv/bin/)?claimstream ([a-z ]+)", page.read_text(encoding="utf-8")):
            command: click.Command = claimstream
            for name in text.split():
                if not isinstance(command, click.Group):
                    break
                inner = command.get_command(click.Context(command), name)
                assert inner is not None, f"{page.name}: {text}"
                command = inner


def test_tests_that_pages_name_exist() -> None:
    """As files or as functions; a page may name a helper's file of the same folder by its name alone."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for page in PAGES:
        for name in re.findall(r"`(?:tests/\w+/)?(test_\w+)(?:\.py)?`", page.read_text(encoding="utf-8")):
            exists = f"def {name}(" in source or any((ROOT / "tests").rglob(f"{name}.py"))
            assert exists, f"{page.name}: {name}"


def test_the_map_of_the_house_has_every_room() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "stream").iterdir()
        if path.name not in ("__init__.py", "__pycache__")
    }
    named = set(re.findall(r"`(\w+(?:\.py|/))`", page.split("| beside it |")[0]))
    assert named - {"stream/", "simulated/"} == rooms


def test_metrics_that_pages_name_exist() -> None:
    known = {PREFIX + name: metric.buckets for name, metric in DEFINITIONS.items()}
    parts = {
        f"{name}_{part}" for name, buckets in known.items() if buckets for part in ("bucket", "count", "sum")
    }
    named = {
        name
        for page in (*PAGES, ALERTS)
        for name in re.findall(r"\bclaimstream_\w+", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert named - known.keys() - parts == set()


def test_every_alert_says_what_it_sees_and_is_explained() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    assert all(rule["expr"].strip() and rule["annotations"]["summary"] for rule in group["rules"])
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    explained = {
        name
        for line in re.findall(r"^\| (`[A-Z].*?) \|", page, re.MULTILINE)
        for name in re.findall(r"\w+", line)
    }
    assert {rule["alert"] for rule in group["rules"]} == explained


def test_programs_in_pages_are_whole() -> None:
    programs = {
        name: text
        for page in PAGES
        for name, text in files(page.read_text(encoding="utf-8")).items()
        if name.endswith(".py")
    }
    assert {"publish.py", "consume.py"} <= programs.keys()
    for name, text in programs.items():
        compile(text, name, "exec")


def test_yaml_in_pages_is_yaml() -> None:
    documents = [
        yaml.safe_load(text)
        for page in PAGES
        for text in re.findall(
            r"^```yaml[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
    ]
    assert all(isinstance(document, dict) for document in documents)


def test_figures_of_the_readme_are_those_of_their_page() -> None:
    readme, page = (
        re.findall(r"^\| .*\|$", (ROOT / name).read_text(encoding="utf-8").split(head)[1], re.MULTILINE)
        for name, head in (("README.md", "\n## Figures\n"), ("docs/figures.md", "# Figures\n"))
    )
    assert len(readme) > 4
    assert [row for row in readme if row not in page] == []
