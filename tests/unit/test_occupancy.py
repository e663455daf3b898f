"""Where models go, and how full that is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest
import torch

from config import load_settings
from models import UnavailableError
from models.appraisal import Appraisals
from models.assembly import CacheOptions, _device_tier, sharers
from models.demand import Demand
from models.devices import place
from stream.backpressure import scarcity
from stream.batch_sizer import DeviceLoad
from stream.occupancy import Occupancy
from stream.options import cache_options

GIGABYTE = 1_000_000_000


def _gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_what_was_asked_for_has_to_be_there_and_auto_takes_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _gpus(monkeypatch, 0)
    assert [place("cpu"), place("auto"), place("auto:1")] == ["cpu", "cpu", "cpu"]
    with pytest.raises(UnavailableError, match="no device 'cuda:0' on this machine, which has no GPUs"):
        place("cuda:0")
    _gpus(monkeypatch, 2)
    assert [place("auto"), place("auto:1"), place("auto:2"), place("cuda:1")] == [
        "cuda:0",
        "cuda:1",
        "cuda:0",
        "cuda:1",
    ]
    # Tensors that are there name its number.
    assert place("cuda") == "cuda:0"
    with pytest.raises(UnavailableError, match="'cuda:2' on this machine, which has 2 GPUs"):
        place("cuda:2")


def test_workers_take_the_gpus_in_turn() -> None:
    asked = load_settings(None, {"ML_GPU_DEVICE_IDS": "3,5"}, {})
    assert [cache_options(asked, slot).device for slot in range(3)] == ["cuda:3", "cuda:5", "cuda:3"]
    assert [cache_options(load_settings(None, {}, {}), slot).device for slot in (0, 1)] == [
        "auto:0",
        "auto:1",
    ]
    assert cache_options(load_settings(None, {"ML_GPU_DEVICE_IDS": ""}, {})).device == "cpu"


def test_the_workers_on_a_gpu_divide_its_budget_and_on_a_cpu_share_the_pages() -> None:
    assert cache_options(load_settings(None, {}, {})).devices == ("auto:0", "auto:1", "auto:0", "auto:1")

    def one(_: str) -> str:
        return "cuda:0"

    def two(name: str) -> str:
        return f"cuda:{int(name.removeprefix('auto:')) % 2}"

    four = ("auto:0", "auto:1", "auto:0", "auto:1")
    assert [sharers("cuda:0", four, one), sharers("cuda:0", four, two), sharers("cuda:1", four, two)] == [
        4,
        2,
        2,
    ]
    assert sharers("cuda:3", ("cuda:3", "cuda:5", "cuda:3"), one) == 2
    assert [sharers("cpu", four, one), sharers("cuda:0", (), one)] == [1, 1]
    options = CacheOptions(device_bytes=4_000, devices=("cuda:0", "cuda:1", "cuda:0"))
    budgets = [
        _device_tier(options, device, Appraisals(Demand(), lambda: 0.0), lambda: 0.0).budget
        for device in ("cuda:0", "cuda:1")
    ]
    assert budgets == [2_000, 4_000]


def test_memory_is_what_the_control_group_allows(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{GIGABYTE}\n")
    (tmp_path / "memory.current").write_text(f"{7 * GIGABYTE // 10}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {GIGABYTE // 10}\n")
    readings = Occupancy(group=tmp_path).read()
    assert readings.device is readings.host
    assert (readings.host.available, readings.host.total) == (pytest.approx(0.4 * GIGABYTE), GIGABYTE)
    (tmp_path / "memory.max").write_text("max\n")
    assert Occupancy(group=tmp_path).read().host.total > GIGABYTE
    assert Occupancy(group=tmp_path / "none").read().host.total > GIGABYTE


def test_memory_presses_from_nine_tenths_on() -> None:
    shares = (0.5, 0.9, 0.95, 1.0)
    assert [scarcity(DeviceLoad(1.0 - share, 1.0, 0.0)) for share in shares] == pytest.approx(
        [0.0, 0.5, 0.75, 1.0]
    )


class Gpu:
    """What torch and the driver say of one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says: Callable[[], int] = lambda: 40
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIGABYTE, 16 * GIGABYTE))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 12 * GIGABYTE)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * GIGABYTE)
        monkeypatch.setattr(torch.cuda, "utilization", lambda _: self.says())


def test_memory_of_a_gpu_that_was_freed_is_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Gpu(monkeypatch)
    assert Occupancy("cuda:0").read().device == DeviceLoad(13.0 * GIGABYTE, 16.0 * GIGABYTE, 40.0)


@pytest.mark.parametrize(
    "error",
    [
        pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED),
        pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND),
        RuntimeError("device 0 is not visible (CUDA_VISIBLE_DEVICES=[])"),
        ModuleNotFoundError("nvidia-ml-py does not seem to be installed or it can't be imported."),
    ],
)
def test_a_driver_that_does_not_tell_the_load_is_said_once_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fails() -> int:
        raise error

    gpu, occupancy = Gpu(monkeypatch), Occupancy("cuda:0")
    gpu.says = fails
    readings = [occupancy.read().device for _ in range(3)]
    assert readings == 3 * [DeviceLoad(13.0 * GIGABYTE, 16.0 * GIGABYTE, 0.0)]
    assert [record.getMessage() for record in caplog.records] == [
        f"the driver does not tell the load of cuda:0: {error}; it counts as 0"
    ]
    gpu.says = lambda: 70
    assert occupancy.read().device.load == 70.0
