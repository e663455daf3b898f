"""How busy this machine is, for models that run on its CPU."""

from __future__ import annotations

import psutil

from stream.batch_sizer import DeviceLoad


class HostLoad:
    """Memory in bytes, and the load of all processors in per cent since the last reading."""

    def __init__(self) -> None:
        psutil.cpu_percent()

    def read(self) -> DeviceLoad:
        memory = psutil.virtual_memory()
        return DeviceLoad(float(memory.available), float(memory.total), psutil.cpu_percent())
