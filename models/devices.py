"""The devices that models can be on: which there are, and how busy they are."""

from __future__ import annotations

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
    return wanted


def fault_of(error: RuntimeError, device: str) -> MemoryError | DeviceError | None:
    """What a device is to blame for; None for an error of the model or its input.

    Told by the text: the interpreter of compiled networks raises every operator's error as a plain RuntimeError.
    """
    text = f"{device}: {error}"
    if any(words in text for words in _OUT_OF_MEMORY):
        return MemoryError(text)
    return DeviceError(text) if any(words in text for words in _FAILED) else None


def occupation(device: str) -> tuple[float, float, float]:
    """Of a GPU, by its driver: bytes available and in all, load in per cent."""
    import torch

    available, total = torch.cuda.mem_get_info(device)
    return float(available), float(total), float(torch.cuda.utilization(device))
