"""Names to versions, read again every few seconds: what was promoted is seen, what is missing is asked for once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from models.errors import ModelError, UnknownModelError, UnreachableError
from models.release import Release
from models.repository import Repository, Target

log = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
_MOST_NAMES = 1_000


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the repository said, and until when that is good."""

    target: Target | None
    error: UnknownModelError | None
    until: float


@dataclass(frozen=True, slots=True)
class _Known:
    """A version as it was read last, and until when nothing is said of a repository that cannot be read."""

    release: Release
    quiet_until: float


class Resolver:
    """Answers from memory for `refresh` seconds, errors too. A repository that fails later leaves the last answer."""

    def __init__(
        self, repository: Repository, now: Callable[[], float], refresh: float = REFRESH_SECONDS
    ) -> None:
        self._repository = repository
        self._now = now
        self._refresh = refresh
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._releases: dict[tuple[str, str], _Known] = {}
        self._lock = threading.Lock()

    def target(self, reference: str, version: str = "latest") -> Target:
        """The versions that a name means now. Raises UnknownModelError."""
        known = self._answers.get((reference, version))
        if known is None or self._now() >= known.until:
            known = self._ask(reference, version, known)
        if known.target is None:
            raise known.error or UnknownModelError(reference)
        return known.target

    def release(self, reference: str, version: str = "latest") -> Release:
        """The version that a name means now; of shares the oldest. Raises UnknownModelError or ManifestError."""
        target = self.target(reference, version)
        return self.exactly(target.name, target.oldest)

    def exactly(self, name: str, version: str) -> Release:
        """That version; as it was read last where the repository cannot be read.

        Raises UnknownModelError, ManifestError, or UnreachableError where it was never read.
        """
        try:
            release = self._repository.release(name, version)
        except UnreachableError as error:
            if (known := self._releases.get((name, version))) is None:
                raise
            if (now := self._now()) >= known.quiet_until:
                log.warning("%s: what was read before goes on: %s", known.release.key, error)
                self._releases[name, version] = _Known(known.release, now + self._refresh)
            return known.release
        self._releases[name, version] = _Known(release, 0.0)
        return release

    def _ask(self, reference: str, version: str, known: _Answer | None) -> _Answer:
        until = self._now() + self._refresh
        try:
            answer = _Answer(self._repository.resolve(reference, version), None, until)
        except UnknownModelError as error:
            answer = _Answer(None, error, until)
        except (ModelError, OSError) as error:
            if known is None:
                raise
            log.warning("%s: the repository cannot be read, the last answer stays: %s", reference, error)
            answer = _Answer(known.target, known.error, until)
        with self._lock:
            if len(self._answers) >= _MOST_NAMES:
                self._answers.clear()
            self._answers[reference, version] = answer
        return answer
