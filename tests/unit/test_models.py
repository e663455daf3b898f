"""Manifests and files of models as they are opened; what is refused; training."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import DeviceError, open_model
from models.devices import fault_of
from models.digests import digest_file
from models.errors import ArtifactError, ManifestError, UnavailableError
from models.features import FeatureSpec
from models.manifest import Architecture
from models.repository import SHIPPED
from models.runner import _compiled
from models.training import Labelled, Recipe, train
from stream.publishing import generate

SHIPPED_VERSION = SHIPPED / "claims_filter" / "2.1.0"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED_VERSION, tmp_path / "claims_filter" / "2.1.0")
    return tmp_path


def test_a_folder_that_is_not_its_manifests_is_refused(repository: Path) -> None:
    shutil.copytree(SHIPPED_VERSION, repository / "claims_filter" / "2.2.0")
    with pytest.raises(ManifestError, match=r"its manifest is that of claims_filter 2\.1\.0"):
        open_model("claims_filter:2.2.0", repository=repository)


@pytest.mark.parametrize("name", ["null", "claims_filter_v2.1"])
def test_an_absent_device_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match="no device 'cuda:0' on this machine, which has no GPUs"):
        open_model(name, device="cuda:0")


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", MemoryError),
        ("CUDA error: an illegal memory access was encountered", DeviceError),
    ],
)
def test_a_device_is_to_blame_for_what_it_fails_at_while_a_model_is_built(
    monkeypatch: pytest.MonkeyPatch, text: str, becomes: type[Exception]
) -> None:
    def failing(network: torch.nn.Module, device: str) -> torch.nn.Module:
        assert device == "cuda:1"
        raise RuntimeError(text)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.nn.Module, "to", failing)
    with pytest.raises(becomes, match=f"cuda:1: {text}"):
        open_model("claims_filter_v2.1", device="cuda:1")


def test_no_kernel_is_compiled_for_the_lengths_that_claims_happen_to_have() -> None:
    open_model("claims_filter_v2.1")
    assert not torch._C._jit_can_fuse_on_gpu()


def test_an_absent_precision_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"claims_filter 2\.1\.0 has no precision 'int8'; it has fp32"):
        open_model("claims_filter", precision="int8")


def changed(repository: Path, **changes: Any) -> Path:
    folder = repository / "claims_filter" / "2.1.0"
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"version": "2.1"}, "version: String should match"),
        ({"threshold": 2}, "threshold: Input should be less"),
        ({"files": {}}, "files: Dictionary should have at least 1"),
        ({"precisions": {"fp32": {"file": "other"}}}, "precisions.fp32 names 'other'"),
        ({"precisions": {"fp8": {"file": "model.safetensors"}}}, "precisions.fp8"),
        ({"bytes": {"device": -1, "memory": 0, "redis": 0, "repository": 0}}, "bytes.device: Input should"),
        ({"batch": {"min": 9, "max": 8, "recommended": 8}}, "which do not rise"),
        ({"parents": ["claims_filter"]}, "parents.0: String should match"),
        ({"architecture": {"width": 32, "heads": 4, "layers": 2}}, "not the tensors of this architecture"),
        ({"architecture": {"width": 64, "heads": 3, "layers": 2}}, "no multiple of heads"),
        ({"features": {"length": 4, "codes": 4, "buckets": 1}}, "4 codes exceed 4 tokens"),
        ({"features": {"length": 9, "codes": 4, "buckets": 1, "token_attributes": ["anomaly"]}}, "the label"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    repository: Path, changes: dict[str, Any], said: str
) -> None:
    changed(repository, **changes)
    with pytest.raises((ManifestError, ArtifactError), match=said):
        open_model("claims_filter:2.1.0", repository=repository)


def test_a_changed_byte_is_refused(repository: Path) -> None:
    weights = repository / "claims_filter" / "2.1.0" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.safetensors, bytes 0 to \d+: its BLAKE3 is"):
        open_model("claims_filter:2.1.0", repository=repository)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": 1}', "not a list of words"),
        (b"[1]", "not a list of words"),
        (b'["a", "a"]', "a word twice"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(repository: Path, content: bytes, said: str) -> None:
    folder = repository / "claims_filter" / "2.1.0"
    (folder / "vocabulary.json").write_bytes(content)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    changed(repository, files=files | {"vocabulary.json": asdict(digest_file(folder / "vocabulary.json"))})
    with pytest.raises(ArtifactError, match=rf"vocabulary\.json: {said}|vocabulary\.json: it holds {said}"):
        open_model("claims_filter:2.1.0", repository=repository)


@pytest.mark.parametrize("linked", ["2.1.0", "2.1.0/manifest.json"])
def test_a_linked_manifest_or_folder_is_refused(repository: Path, linked: str) -> None:
    link = repository / "claims_filter" / linked
    aside = link.rename(repository / "aside")
    link.symlink_to(aside)
    with pytest.raises(ManifestError, match="links are not followed"):
        open_model("claims_filter:2.1.0", repository=repository)


def test_a_link_is_refused(repository: Path) -> None:
    weights = repository / "claims_filter" / "2.1.0" / "model.safetensors"
    weights.unlink()
    weights.symlink_to(SHIPPED_VERSION / "model.safetensors")
    with pytest.raises(ArtifactError, match="not a regular file"):
        open_model("claims_filter:2.1.0", repository=repository)


def test_a_missing_file_is_named(repository: Path) -> None:
    (repository / "claims_filter" / "2.1.0" / "vocabulary.json").unlink()
    with pytest.raises(ArtifactError, match=r"vocabulary\.json: cannot be read: No such file"):
        open_model("claims_filter:2.1.0", repository=repository)


def tiny(folder: Path) -> dict[str, str]:
    recipe = Recipe(
        name="claims_filter",
        version="9.9.9",
        features=FeatureSpec(length=12, codes=3, buckets=4),
        architecture=Architecture(width=16, heads=2, layers=1),
        epochs=1,
        seed=3,
        data="a test",
    )
    claims = list(generate(600, 4))
    labels = np.arange(600) % 2
    train(recipe, *[Labelled(claims, labels.astype(np.float32))] * 2, folder, lambda _: None)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_training_twice_gives_the_same_bytes_and_a_loadable_version(tmp_path: Path) -> None:
    first, second = (tiny(tmp_path / run / "claims_filter" / "9.9.9") for run in ("a", "b"))
    assert first == second
    model = open_model("claims_filter_v9", repository=tmp_path / "a")
    assert model.identity.version == "9.9.9"


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        (
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB",
            MemoryError,
        ),
        ("CUDA error: out of memory", MemoryError),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", MemoryError),
        (
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory",
            MemoryError,
        ),
        ("CUDA error: device-side assert triggered", DeviceError),
        ("CUDA error: an illegal memory access was encountered", DeviceError),
        ("The size of tensor a (3) must match the size of tensor b (4)", None),
    ],
)
@pytest.mark.parametrize("around", ["{}", "in the TorchScript interpreter.\nRuntimeError: {}\n"])
def test_what_a_device_raises_is_told_apart(text: str, becomes: type[Exception] | None, around: str) -> None:
    fault = fault_of(RuntimeError(around.format(text)), "cuda:1")
    assert (type(fault) if fault else None) is becomes
    assert fault is None or str(fault).startswith("cuda:1: ")


class Greedy(torch.nn.Module):
    """Wants more memory than there is."""

    def forward(
        self, token: torch.Tensor, revenue: torch.Tensor, amount: torch.Tensor, number: torch.Tensor
    ) -> torch.Tensor:
        return torch.empty([1 << 28, 1 << 28]) + token + revenue + amount + number


def test_a_compiled_network_without_memory_is_out_of_memory() -> None:
    model = open_model("claims_filter_v2.1")
    model._network = _compiled(Greedy())  # type: ignore[attr-defined]
    with pytest.raises(MemoryError, match="can't allocate memory"):
        model.warm_up([2])


def test_models_are_built_by_several_threads_at_once() -> None:
    failures: list[BaseException] = []

    def build() -> None:
        try:
            for _ in range(4):
                open_model("claims_filter_v2.1", threads=1)
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
