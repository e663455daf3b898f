"""Files of models: told apart by content, checked before they are parsed, never unpickled."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from models import artifact, tensor_header
from models.errors import ArtifactError
from models.tensor_header import LIMIT


def buffer(content: bytes) -> memoryview:
    return memoryview(bytearray(content))


def with_header(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def tensor(start: int, end: int, dtype: str = "F32", shape: list[int] | None = None) -> dict[str, object]:
    size = [(end - start) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": size, "data_offsets": [start, end]}


def test_tensors_are_views_of_the_buffer() -> None:
    content = buffer(
        safetensors.torch.save({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.int64)})
    )
    found = artifact.tensors(content, "x")
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].dtype == torch.int64
    found["a"][0, 0] = 7.0
    assert artifact.tensors(content, "x")["a"][0, 0] == 7.0


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "float16", "bfloat16", "float64", "float8_e4m3fn"]
)
def test_every_type_comes_back_as_it_was(dtype: str) -> None:
    tensor = torch.tensor([0, 1, 1]).to(getattr(torch, dtype))
    found = artifact.tensors(buffer(safetensors.torch.save({"a": tensor, "none": tensor[:0]})), "x")
    assert found["a"].dtype == tensor.dtype
    assert found["a"].float().tolist() == [0, 1, 1]
    assert found["none"].shape == (0,)


def test_a_tensor_that_is_not_aligned_is_read_all_the_same() -> None:
    header = {"a": tensor(0, 1, "U8", [1]), "b": tensor(1, 5)}
    content = with_header(header, b"\1" + torch.tensor([2.5]).numpy().tobytes())
    assert artifact.tensors(buffer(content), "x")["b"].tolist() == [2.5]


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580])
def test_a_header_whose_length_looks_like_a_pickle_is_read(length: int) -> None:
    plain = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    content = length.to_bytes(8, "little") + plain.ljust(length) + b"\0\0\0\0"
    assert artifact.tensors(buffer(content), "x")["a"].tolist() == [0.0]


TWICE = b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"abc", "too few"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "its header claims"),
        ((LIMIT + 1).to_bytes(8, "little") + b"{" + b" " * LIMIT, "at most"),
        (with_header([1]), "not one of safetensors, at byte 0"),
        (with_header({"a": 1}), "not one of safetensors, at byte 1"),
        (with_header({"a": tensor(0, 8)}, b"1234"), "truncated"),
        (with_header({"a": tensor(0, 4)}, b"123456"), "padded"),
        (with_header({"a": tensor(0, 4, shape=[3])}, b"1234"), "contradicts itself"),
        (with_header({"a": tensor(0, 4, "F64", [1])}, b"1234"), "contradicts itself"),
        (with_header({"a": tensor(0, 4, "?")}, b"1234"), "is of type '.'"),
        (with_header({"a": tensor(4, 0, shape=[1])}, b"1234"), "no start and end"),
        (with_header({"a": tensor(0, 4), "b": tensor(0, 4)}, b"1234"), "overlaps the one before"),
        (with_header({"a": tensor(0, 4), "b": tensor(8, 12)}, b"1" * 12), "leaves a gap"),
        (with_header({"a": tensor(0, 8), "b": tensor(4, 12)}, b"1" * 12), "overlaps"),
        (with_header({"a": tensor(-4, 0)}), "not one of safetensors"),
        (
            with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, "x"]}}),
            "not one of safetensors",
        ),
        (with_header({"a": tensor(0, 0, shape=[0] * 9)}), "at most 8 dimensions"),
        (with_header({"a": tensor(0, 4) | {"more": [1]}}, b"1234"), "has data_offsets, dtype, more, shape"),
        (with_header({"a": {"dtype": "F32"}}), "a tensor has dtype, shape, data_offsets"),
        (with_header({"a\0": tensor(0, 4)}, b"1234"), "cannot be printed"),
        (with_header(TWICE), "lists 'a' twice"),
        (
            with_header(b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
            "same thing twice",
        ),
        (with_header(b'{"a":' * 100_000), "not one of safetensors"),
        (with_header(b'{"__metadata__":' + b"[" * 100_000), "not one of safetensors"),
        (with_header(b"{} {}"), "goes on after its end"),
        (with_header(b'{"\xff":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), "not one of safetensors"),
    ],
)
def test_a_lying_header_is_refused_before_anything_is_built(content: bytes, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        artifact.tensors(buffer(content), "x")


def test_metadata_is_passed_over() -> None:
    content = safetensors.torch.save({"a": torch.zeros(1)}, metadata={"format": "pt", "brace": "}"})
    assert list(artifact.tensors(buffer(content), "x")) == ["a"]


def test_a_header_of_many_entries_costs_a_small_multiple_of_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = 50_000
    monkeypatch.setattr(tensor_header, "LIMIT", limit)
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    content = buffer(with_header({f"{n:07}": entry for n in range(650)}, b"padding"))
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="padded"):
        artifact.check(content, "x", "safetensors")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * limit


def saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


class Bomb:
    """Leaves a trace wherever it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.putenv, ("UNPICKLED", "yes"))


@pytest.mark.parametrize("kind", ["safetensors", "pt2", "json"])
@pytest.mark.parametrize(
    "content",
    [
        *(pickle.dumps(Bomb(), protocol) for protocol in range(6)),
        saved({"a": torch.zeros(1)}),
        zlib.compress(pickle.dumps([1])),
        gzip.compress(b"x", mtime=0),
        b"ZF0x1a",
    ],
    ids=[
        "pickle0",
        "pickle1",
        "pickle2",
        "pickle3",
        "pickle4",
        "pickle5",
        "torch",
        "joblib",
        "gzip",
        "old-joblib",
    ],
)
def test_a_pickle_in_any_wrapping_is_refused_whatever_it_is_called(content: bytes, kind: Any) -> None:
    with pytest.raises(ArtifactError, match=r"model\.safetensors: "):
        artifact.check(buffer(content), "model.safetensors", kind)


def test_a_pickle_is_called_one() -> None:
    with pytest.raises(
        ArtifactError, match="looks like a pickle; safetensors is wanted, and pickles are never"
    ):
        artifact.tensors(buffer(pickle.dumps([1])), "x")
    with pytest.raises(ArtifactError, match=r"an archive of torch\.save, which is a pickle"):
        artifact.program(buffer(saved([1])), "x")


def test_opening_refuses_links_special_files_and_other_sizes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"1234")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in" / "file")
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    os.mkfifo(tmp_path / "in" / "pipe")
    os.close(artifact.opened(tmp_path, "in", "file", size=4))
    for parts, said in [
        (("in", "link"), "links are not followed"),
        (("linked", "file"), "links are not followed"),
        (("in", "pipe"), "not a regular file"),
        (("in",), "not a regular file"),
        (("in", "absent"), "No such file"),
    ]:
        with pytest.raises(ArtifactError, match=said):
            artifact.opened(tmp_path, *parts, size=4)
    with pytest.raises(ArtifactError, match="4 bytes, the manifest says 5"):
        artifact.opened(tmp_path, "in", "file", size=5)
