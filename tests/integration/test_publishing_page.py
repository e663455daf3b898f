"""The commands and mappings of docs/publishing.md, as they stand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from stream.publishing import shipped_mappings
from stream.publishing.mapping import parse_mapping
from tests.integration.test_publish import claimstream

PAGE = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_commands_do_what_the_page_says(kafka: Any, topic: Any, tmp_path: Path) -> None:
    name = topic(partitions=1)
    said = []
    for line in "".join(blocks("sh")).splitlines():
        command = line.replace("out/", f"{tmp_path}/").replace("mkdir -p out", "true")
        if not command.startswith("claimstream "):
            done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
            said.append(done.stdout)
            continue
        words = command.replace("127.0.0.1:9092", kafka.bootstrap).split()[1:]
        ended = claimstream(*words, "--topic", name)
        assert ended.returncode == 0, ended.stderr
        said.append(ended.stdout)
    assert "1 rows = 1 claims + 0 rejected + 0 merged" in said[2]
    assert "3 rows = 1 claims + 1 rejected + 1 merged" in said[4]
    assert said[5] == blocks("text")[0]


def test_the_mappings_are_valid_and_the_shipped_ones_are_named() -> None:
    for text in blocks("yaml"):
        parse_mapping(text, "docs/publishing.md")
    for name in shipped_mappings():
        assert f"| `{name}` |" in PAGE
