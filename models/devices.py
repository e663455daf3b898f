"""The devices that models can be on: which there are, and how busy they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import DeviceError, UnavailableError

CPU = "cpu"
_AUTO = "auto"
# Of the allocators of CPU and GPU, of cuBLAS and cuDNN, and of the C++ library.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED", "std::bad_alloc")
_FAILED = ("CUDA error", "device-side assert")


def place(wanted: str) -> str:
    """`cpu`, or a GPU such as `cuda:1`; `auto:N` is a GPU, counted round, or the CPU without any.

    Raises UnavailableError for a GPU that is not there.
    """
    if wanted == CPU:
        return CPU
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind, _, number = wanted.partition(":")
    if kind == _AUTO:
        return f"cuda:{int(number or 0) % there}" if there else CPU
    if kind != "cuda" or int(number or 0) >= there:
        raise UnavailableError(
            f"there is no device {wanted!r} on this machine, which has {there or 'no'} GPUs that torch can use"
        )
    # With its number, as tensors that are there name it.
    return f"cuda:{int(number or 0)}"


def fault_of(error: RuntimeError, device: str) -> MemoryError | DeviceError | None:
    """What a device is to blame for; None for an error of the model or its input.

    Told by the text: the interpreter of compiled networks raises every operator's error as a plain RuntimeError.
    """
    text = f"{device}: {error}"
    if any(words in text for words in _OUT_OF_MEMORY):
        return MemoryError(text)
    return DeviceError(text) if any(words in text for words in _FAILED) else None


@contextmanager
def told_apart(device: str) -> Iterator[None]:
    """Around work on a device: raises MemoryError or DeviceError for a RuntimeError that it is to blame for."""
    try:
        yield
    except RuntimeError as error:
        if (fault := fault_of(error, device)) is None:
            raise
        raise fault from error


def device_memory(device: str) -> tuple[float, float]:
    """Of a GPU, bytes available to this process, and in all.

    To the driver is taken whatever torch keeps of what was freed; the next forward has it all the same.
    """
    import torch

    available, total = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return float(available + kept), float(total)


def device_load(device: str) -> float:
    """Of a GPU, in per cent. Raises UnavailableError where its driver does not tell, as of a part of one (MIG)."""
    import torch

    try:
        from pynvml import NVMLError
    except ImportError as error:
        raise _silent(device, error) from error
    try:
        return float(torch.cuda.utilization(device))
    except (NVMLError, RuntimeError, ImportError) as error:
        raise _silent(device, error) from error


def _silent(device: str, error: Exception) -> UnavailableError:
    return UnavailableError(f"the driver does not tell the load of {device}: {error}")
