"""The container files agree with the program; no Docker is needed to see that."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import yaml

from config import environment
from stream.cli.main import claimstream

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))[
    "services"
]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def parsed(arguments: list[str]) -> None:
    """Raises click.UsageError for a command or an option that does not exist; runs nothing."""
    command: click.Command | None = claimstream
    context = click.Context(claimstream)
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.get_command(context, name)
    assert command is not None
    command.make_context("claimstream", list(arguments))


def test_commands_of_the_services_exist() -> None:
    own = [service for service in SERVICES.values() if service.get("build")]
    assert len(own) == 3
    for service in own:
        parsed(service["command"])


def test_variables_of_the_services_are_settings() -> None:
    for service in SERVICES.values():
        if service.get("build"):
            environment.values(service.get("environment", {}))
    environment.values(dict(re.findall(r"^ENV (CLAIMSTREAM_\S+)=(\S+)$", DOCKERFILE, re.MULTILINE)))


def test_the_stage_has_time_to_drain() -> None:
    grace = int(SERVICES["stage"]["stop_grace_period"].removesuffix("s"))
    assert grace > 20 + 5


def test_the_image_installs_the_lock_and_runs_without_root() -> None:
    assert "pip install --require-hashes --requirement requirements.txt" in DOCKERFILE
    lines = DOCKERFILE.splitlines()
    assert lines.index("USER claimstream") < lines.index('ENTRYPOINT ["claimstream"]')
    assert json.loads(lines[-1].removeprefix("CMD ")) == ["run"]


def test_what_the_image_copies_is_in_its_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        name for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
