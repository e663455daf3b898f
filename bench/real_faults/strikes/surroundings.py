"""Disks that are full, a registry that is down, a model that takes long to load."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from bench.real_faults.levers import Lever
from bench.real_faults.registry import OneSchemaRegistry
from bench.real_faults.scene import Scene, UnavailableError
from bench.real_faults.stage import await_that
from bench.real_faults.strikes.records import DAMAGED
from bench.real_faults.strikes.workers import replaced

MODEL = "claims_filter_v2.1"
_TOKEN = "a-token-of-the-faults"  # noqa: S105 - of a stage that lives for a minute
_CONFLUENT, _SINGLE_OBJECT_HEADER = b"\x00", 10
_DOWN_SECONDS, _LOAD_SECONDS = 3.0, 6.0
_DISK_BYTES = 2_000_000


def with_registry(scene: Scene) -> Mapping[str, str]:
    """A registry for the stage."""
    registry = OneSchemaRegistry()
    scene.registry = registry
    scene.at_end.append(registry.down)
    return {"CLAIMSTREAM_SCHEMAS__REGISTRY_URL": registry.url}


def registry_down(scene: Scene) -> None:
    """Claims of a schema that nobody can look up wait, and no others overtake them."""
    registry = scene.registry
    if registry is None:
        raise ValueError("the scene has no registry")
    registry.down()
    (value,) = scene.flow.samples(1)
    number = scene.random.randrange(1, 1 << 31)
    scene.flow.put(_CONFLUENT + number.to_bytes(4, "big") + value[_SINGLE_OBJECT_HEADER:], b"registered")
    await_that(
        lambda: "the schema registry gave no answer" in scene.stage.said(), "somebody misses the registry"
    )
    time.sleep(scene.random.uniform(0.0, _DOWN_SECONDS))
    registry.up()


def with_two_models(_: Scene) -> Mapping[str, str]:
    """A model that has to be loaded beside one that is always there."""
    return {
        "CLAIMSTREAM_ROUTES": f'{{"institutional": ["{MODEL}"], "*": ["null"]}}',
        "CLAIMSTREAM_HTTP__TOKEN": _TOKEN,
    }


def slow_load(scene: Scene) -> None:
    """A model takes longer to load than a transaction may last; the other model's claims go on meanwhile."""
    scene.levers.pull(Lever("load", "before", "sleep", _LOAD_SECONDS))
    await_that(lambda: _evicted(scene), "the model is let go, and its load begins", 20.0)
    before = scene.flow.answered
    time.sleep(0.8 * _LOAD_SECONDS)
    scene.expect(scene.flow.answered > before + 100, "the other model's claims waited, too")


def _evicted(scene: Scene) -> bool:
    scene.stage.order("evict", MODEL, _TOKEN)
    return not scene.levers.pulled(Lever("load", "before", "sleep"))


def with_small_disk(scene: Scene) -> Mapping[str, str]:
    """Copies of models lie on a disk of their own, which has just room for one. Raises UnavailableError."""
    disk = scene.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={2 * _DISK_BYTES}", "tmpfs", str(disk)]
    umount = ["umount", "-l", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        raise UnavailableError("a small disk needs the right to mount one")
    scene.at_end.append(lambda: subprocess.run(umount, check=False))
    return {
        "CLAIMSTREAM_CACHE__MEMORY_FOLDER": str(disk),
        "ML_CACHE_L1_MEMORY_GB": str(_DISK_BYTES / 1e9),
        "CLAIMSTREAM_BATCHING__SPEEDS_FILE": str(disk / "speeds.json"),
        "CLAIMSTREAM_ROUTES": f'{{"*": ["{MODEL}"]}}',
    }


def cache_disk_full(scene: Scene) -> None:
    """The disk of the cache is full while a new worker has to load its model."""
    filler = scene.folder / "disk" / "filler"
    for copy in [file for file in (scene.folder / "disk").rglob("*") if file.stat().st_size > 100_000]:
        copy.unlink(missing_ok=True)
    _fill(filler)
    workers = scene.stage.workers()
    os.kill(workers[0], signal.SIGKILL)
    replaced(scene, len(workers))
    scene.stage.await_ready()
    scene.await_calm()
    filler.unlink()


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as sink:
        try:
            while True:
                sink.write(b"\0" * 65_536)
        except OSError:
            return


def log_disk_full(scene: Scene) -> None:
    """Nothing can be logged, while there is much to say: a worker dies, records are damaged."""
    workers = scene.stage.workers()
    for _ in range(5):
        scene.flow.put(b"no claim", DAMAGED)
    os.kill(workers[0], signal.SIGKILL)
    replaced(scene, len(workers))
