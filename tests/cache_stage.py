"""A cache over real tiers, with models that are only counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.models_fixture import Unhurried, make_release
from models.appraisal import Appraisals
from models.cache import ModelCache, Tiers
from models.demand import Demand
from models.eviction import Rules
from models.release import Content, Release
from models.repository import Repository
from models.tiers.budget import Budget
from models.tiers.device import DeviceTier
from models.tiers.memory import Lifetime, MemoryTier
from models.tiers.pool import Pool
from models.tiers.repository import RepositoryTier

SIZE = 200_000


class CountedCache(ModelCache):
    """Knows how often each version was built, and can be told to wait or to fail while building."""

    def __init__(
        self,
        folder: Path,
        *,
        device: int = 100_000_000,
        memory: int = 100_000_000,
        redis: Any = None,
        source: Callable[[Repository], Any] = RepositoryTier,
        now: Callable[[], float] = time.monotonic,
        shares_pages: bool = True,
    ) -> None:
        self.built: Counter[str] = Counter()
        self.may_build = threading.Event()
        self.may_build.set()
        self.failure: Exception | None = None
        self.while_building: Callable[[], None] = lambda: None
        self.appraisals = Appraisals(Demand(), now)
        (folder / "repository").mkdir(exist_ok=True)
        self.repository = Repository(folder / "repository", folder / "nothing")
        tiers = Tiers(
            DeviceTier(self._counted, self._budget("the device's budget", device, now), 600.0, now),
            MemoryTier(
                Pool(folder / "pool", memory),
                self._budget("the budget of RAM", memory, now),
                Lifetime(1_800.0, 600.0),
                time.time,
            ),
            redis,
            source(self.repository),
        )
        super().__init__(tiers, self.appraisals, now, shares_pages=shares_pages)

    def publish(
        self, name: str, version: str = "1.0.0", size: int = SIZE, files: Sequence[str] = ("weights.bin",)
    ) -> Release:
        """A version of random bytes in the repository; each of its files has that size."""
        release, content = make_release(name, version, dict.fromkeys(files, size))
        RepositoryTier(self.repository).store(release, content, Unhurried())
        return release

    def damage(self, release: Release) -> None:
        """One bit of its weights turns in the repository."""
        path = self.repository.folder(release.key) / "weights.bin"
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    def accounts(self) -> Mapping[str, int]:
        """Bytes by tier, those served without being cached among them."""
        return {
            "device": self.tiers.device.used(),
            "memory": self.tiers.memory.used(),
            "private": self.private_bytes,
        }

    def _counted(self, release: Release, content: Content) -> Any:
        assert self.may_build.wait(10.0)
        if self.failure is not None:
            raise self.failure
        self.while_building()
        self.built[release.key.name] += 1
        return SimpleNamespace(bytes=release.bytes, name=release.key.name, content=content)

    def _budget(self, setting: str, limit: int, now: Callable[[], float]) -> Budget:
        return Budget(setting, Rules(limit), self.appraisals.appraise, now)
