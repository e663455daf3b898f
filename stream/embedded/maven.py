"""Files from Maven Central by jgo, unchecked: `downloads` compares them with the committed sums."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from stream.errors import FatalError

_RESOLVE_SECONDS = 600
_ANSWER_SECONDS = 60


def resolve(name: str, target: Path) -> None:
    """Put the archives that `<name>.toml` names, and all that they need, into `target`."""
    environment = resources.files(__package__).joinpath(f"{name}.toml")
    with tempfile.TemporaryDirectory(dir=target.parent) as room, resources.as_file(environment) as file:
        command = [sys.executable, "-m", "jgo", "--ignore-config", "--resolver", "python"]
        command += ["--timeout", str(_ANSWER_SECONDS), "--links", "copy", "--file", str(file)]
        command += ["--repo-cache", f"{room}/repository", "--cache-dir", f"{room}/environment", "sync"]
        answer = _ran(name, command)
        if answer.returncode != 0:
            raise _failure(
                name, (answer.stderr.strip() or answer.stdout.strip() or "nothing").splitlines()[-1]
            )
        for archive in sorted(Path(room, "environment").rglob("*.jar")):
            shutil.move(archive, target / archive.name)


def download(coordinate: str, target: Path) -> None:
    """Put the one file `group:artifact:version:packaging:classifier` into `target`."""
    # Its import takes half a second, which only a first start has to pay.
    from jgo.maven import MavenContext

    group, artifact, version, packaging, classifier = coordinate.split(":")
    with tempfile.TemporaryDirectory(dir=target.parent) as room:
        component = MavenContext(repo_cache=Path(room), timeout=_ANSWER_SECONDS).project(group, artifact)
        try:
            file = component.at_version(version).artifact(classifier, packaging).resolve()
        except (OSError, RuntimeError) as error:
            raise _failure(artifact, str(error)) from error
        shutil.move(file, target / file.name)


def _ran(name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_RESOLVE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise _failure(name, f"nothing within {_RESOLVE_SECONDS} s") from error


def _failure(name: str, reason: str) -> FatalError:
    return FatalError(f"downloading {name} from Maven Central failed, is there a network? jgo said: {reason}")
