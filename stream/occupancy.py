"""How busy this machine is, and the GPU that models are on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from models import CPU, UnavailableError, device_load, device_memory
from stream.batch_sizer import IDLE, DeviceLoad

log = logging.getLogger(__name__)

_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Readings:
    """`device` is the host itself where models are on its CPU."""

    host: DeviceLoad
    device: DeviceLoad


class SeesOccupancy(Protocol):
    """Looks at the machine."""

    def read(self) -> Readings: ...


class Unoccupied:
    """Nothing else runs here, as in a simulation."""

    def read(self) -> Readings:
        return Readings(IDLE, IDLE)


class Occupancy:
    """Memory in bytes, as far as this process may have it; load in per cent since the last reading."""

    def __init__(self, device: str = CPU, group: Path = _GROUP) -> None:
        self._device = device
        self._group = group
        self._silent = False
        psutil.cpu_percent()

    def read(self) -> Readings:
        host = self._host()
        if self._device == CPU:
            return Readings(host, host)
        available, total = device_memory(self._device)
        return Readings(host, DeviceLoad(available, total, self._load()))

    def _load(self) -> float:
        """Of the GPU; 0 where nobody tells, so that batches are as large as if it were idle."""
        try:
            return device_load(self._device)
        except UnavailableError as error:
            if not self._silent:
                log.warning("%s; it counts as 0", error)
            self._silent = True
            return 0.0

    def _host(self) -> DeviceLoad:
        memory, load = psutil.virtual_memory(), psutil.cpu_percent()
        available, total = float(memory.available), float(memory.total)
        if (limited := _within(self._group)) is not None and limited[1] < total:
            available, total = min(available, limited[0]), limited[1]
        return DeviceLoad(available, total, load)


def _within(group: Path) -> tuple[float, float] | None:
    """Bytes available and in all of a control group with a limit (cgroup v2); pages of files can be given back."""
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((group / "memory.current").read_text())
        pages = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    return max(float(limit) - used + int(pages["inactive_file"]), 0.0), float(limit)
