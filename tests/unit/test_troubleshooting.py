"""Every message that a person can meet is in the documentation, with its cause and cure; and nothing else is."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from tests.documents import ROOT, text_of

PAGES = ("docs/troubleshooting.md", "docs/models.md")
SOURCES = ("config", "models", "stream")
HOLE = "…"
# Documented by class, because their messages travel with the record and say all that is known of it.
BY_CLASS = {"DecodeError", "NoRouteError", "OversizeError", "ScoringError"}
# Words of Kafka's client and of the command line's library; they appear in brackets or behind our own.
OF_OTHERS = {"SASL authentication error", "certificate verify failed", "No such option"}
# What an operator reads only with the log at `debug`, or what is caught and answered by the program itself.
NEVER_SEEN = {"unreachable", "the producer is not open", "batch_size … is no size"}

Message = tuple[str, str]


def template(node: ast.expr) -> str:
    """The text with a hole for whatever is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(?:\.\d+)?[sdrgf]", HOLE, node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return template(node.left) + template(node.right)
    return HOLE


@cache
def nodes() -> list[tuple[Path, ast.AST]]:
    """Every node of the source."""
    return [
        (path, node)
        for source in SOURCES
        for path in sorted((ROOT / source).rglob("*.py"))
        if "simulated" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]


def error_classes() -> set[str]:
    """Names of the classes of the three trees of errors."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for _, node in nodes()
        if isinstance(node, ast.ClassDef)
    }
    known = {"ClaimstreamError", "ConfigurationError", "ModelError"}
    while more := {name for name, above in bases.items() if above & known} - known:
        known |= more
    return known


def said(node: ast.Call, classes: set[str]) -> str:
    """The message of an error that is made here, or of a warning or error that is logged; of other calls nothing."""
    called = node.func
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        logged = called.value.id == "log" and called.attr in ("warning", "error", "exception")
        return template(node.args[0]) if logged else ""
    made = isinstance(called, ast.Name) and called.id in classes - BY_CLASS and node.args
    return template(node.args[0]) if made else ""


def messages() -> set[Message]:
    """Each message that has words of its own, with where it is."""
    classes = error_classes()
    found = set()
    for path, node in nodes():
        if isinstance(node, ast.Call) and len(re.findall(r"[a-z]{2,}", text := said(node, classes))) > 1:
            found.add((text, f"{path.relative_to(ROOT)}:{node.lineno}"))
    return found


def documented(*pages: str) -> list[str]:
    """What stands in the first column of the tables of messages."""
    cells = [
        row.split("|")[1]
        for page in pages or PAGES
        for table in re.findall(r"^\| message \|.*?\n\n", text_of(page) + "\n\n", re.DOTALL | re.MULTILINE)
        for row in table.splitlines()[2:]
        if row
    ]
    return [
        excerpt
        for cell in cells
        for excerpt in re.findall(r"`` (.+?) ``|`([^`]+)`", cell)
        for excerpt in excerpt
        if excerpt
    ]


def fits(excerpt: str, message: str) -> bool:
    """Whether the excerpt is of this message; `…` stands for anything in both."""
    parts = [re.escape(part.strip()) for part in excerpt.split(HOLE) if part.strip()]
    return re.search(".*?".join(parts), message) is not None


def test_every_message_is_documented() -> None:
    # A single word says too little to find a message by.
    excerpts = {text for text in documented() if len(re.findall(r"\w+", text)) > 1} | NEVER_SEEN
    missing = sorted(
        f"{place}: {text}"
        for text, place in messages()
        if not any(fits(excerpt, text) for excerpt in excerpts)
    )
    assert not missing, "add them to docs/troubleshooting.md:\n" + "\n".join(missing)


def test_every_documented_message_is_said_somewhere() -> None:
    texts = "\n".join(
        template(node)
        for _, node in nodes()
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    )
    stale = [excerpt for excerpt in set(documented()) - OF_OTHERS if not fits(excerpt, texts)]
    assert not stale


def test_a_message_stands_in_one_row_of_the_page() -> None:
    told = Counter(documented("docs/troubleshooting.md"))
    assert [excerpt for excerpt, rows in told.items() if rows > 1] == []


def test_every_class_of_dead_letters_is_documented() -> None:
    page = text_of("docs/troubleshooting.md")
    assert [name for name in BY_CLASS if f"| `{name}` |" not in page] == []


def test_a_message_that_nobody_documented_is_found() -> None:
    assert fits("no topic … at", "no topic … at …; create with: claimstream …")
    assert not fits("no topics … at", "no topic … at …")
