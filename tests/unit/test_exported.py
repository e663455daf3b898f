"""Exported programs: what torch would unpickle, compile or evaluate is refused before torch sees it."""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import (
    CacheOptions,
    SyncModelCacheManager,
    artifact,
    open_model,
    program_guards,
    program_operators,
)
from models.digests import digest_file
from models.errors import ArtifactError, BuildError
from models.publishing import push
from models.repository import SHIPPED, Repository
from stream.arena import ClaimArena
from stream.publishing import generate
from tests.repositories import edited, empty


def buffer(content: bytes) -> memoryview:
    return memoryview(bytearray(content))


class Bomb:
    """Leaves a trace wherever it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.putenv, ("UNPICKLED", "yes"))


class Scorer(torch.nn.Module):
    """A little of everything that an archive may hold: parameters, a buffer, a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]))
        self.shift = torch.arange(3.0)

    def forward(self, number: torch.Tensor) -> torch.Tensor:
        return self.linear(number * self.scale + self.shift).squeeze(1)


class Encoder(torch.nn.Module):
    """What networks over tokens are made of: attention with a mask, convolution, norms, and reductions."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(9, 4, padding_idx=0)
        layer = torch.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.along = torch.nn.Sequential(torch.nn.Conv1d(4, 4, 3, padding=1), torch.nn.BatchNorm1d(4))
        self.outward = torch.nn.Sequential(torch.nn.GroupNorm(2, 4), torch.nn.GELU(), torch.nn.Linear(4, 1))

    def forward(self, token: torch.Tensor) -> torch.Tensor:
        padding = token == 0
        seen = self.encoder(self.words(token), src_key_padding_mask=padding)
        seen = torch.nn.functional.pad(self.along(seen.transpose(1, 2)), (0, 1)).transpose(1, 2)[:, :-1]
        seen = seen.masked_fill(padding.unsqueeze(2), -torch.inf).amax(1)
        return self.outward(seen).squeeze(1)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer().eval()


@pytest.fixture(scope="module")
def exported(scorer: Scorer) -> bytes:
    program = torch.export.export(scorer, (torch.ones(4, 3),), dynamic_shapes=({0: torch.export.Dim("n")},))
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def rewritten(
    content: bytes, change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED
) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"model/{name}", data)
    return file.getvalue()


def test_an_exported_program_scores_as_its_module_and_shares_the_buffer(
    scorer: Scorer, exported: bytes
) -> None:
    content = buffer(exported)
    module = artifact.program(content, "x")
    rows = torch.rand(7, 3)
    with torch.inference_mode():
        torch.testing.assert_close(module(rows), scorer(rows))
        first = next(module.parameters())
        start = torch.frombuffer(content, dtype=torch.uint8).data_ptr()
        assert start <= first.data_ptr() < start + len(content)
    held = [*module.parameters(), *module.buffers()]
    assert sum(tensor.nbytes for tensor in held) == 4 * (3 + 1 + 3 + 3)
    assert artifact.check(content, "x", "pt2") == 4 * (3 + 1 + 3 + 3)


def archive_of(module: torch.nn.Module, *inputs: torch.Tensor, dynamic: Any = None) -> memoryview:
    file = io.BytesIO()
    torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic), file)
    return buffer(file.getvalue())


def test_a_network_of_attention_convolution_and_norms_is_accepted() -> None:
    encoder, token = Encoder(), torch.tensor([[3, 1, 4], [1, 5, 0], [8, 0, 0]])
    dims = {0: torch.export.Dim("n", min=1, max=64), 1: torch.export.Dim("l", min=1, max=8)}
    module = artifact.program(archive_of(encoder, token, dynamic=(dims,)), "x")
    with torch.inference_mode():
        for rows in (token, token[:1, :1], token.repeat(3, 1)):
            torch.testing.assert_close(module(rows), encoder(rows))


class Placed(torch.nn.Module):
    """Says where it is by a constant, by what it makes, and by what its conversions assert."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)
        self.shift = torch.arange(3.0)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        places = torch.arange(rows.shape[0], device=rows.device).to(torch.float32)
        return self.linear(rows + self.shift + torch.ones(3)).squeeze(1) + places


def test_a_program_runs_where_it_is_put_though_it_was_exported_on_a_cpu() -> None:
    placed, rows = Placed().eval(), torch.rand(4, 3)
    content = archive_of(placed, rows, dynamic=({0: torch.export.Dim("n")},))
    torch.testing.assert_close(artifact.program(content, "x")(rows), placed(rows))
    module = artifact.program(content, "x", "meta")
    assert {tensor.device.type for tensor in (*module.parameters(), *module.buffers())} == {"meta"}
    logits = module(torch.rand(7, 3, device="meta"))
    assert (logits.device.type, logits.shape) == ("meta", (7,))
    assert "cpu" not in module.code  # type: ignore[operator]


def test_a_device_that_is_full_is_no_fault_of_the_program(
    exported: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("models.programs.move_to_device_pass", full)
    with pytest.raises(MemoryError, match="cuda:0: CUDA out of memory"):
        artifact.program(buffer(exported), "x", "cuda:0")


class Attention(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        first = rows[:, :, :3]
        return torch.nn.functional.scaled_dot_product_attention(rows, first, first)


def attend_to_all(program: Any) -> None:
    """The values of all rows for the keys of the first three."""
    node = program["graph_module"]["graph"]["nodes"][-1]
    query, _, value = (entry["arg"] for entry in node["inputs"][:3])
    value["as_tensor"] = query["as_tensor"]


def test_attention_to_more_values_than_keys_reads_no_memory_beyond_the_keys() -> None:
    rows, honest = torch.ones(1, 1, 5, 8), archive_of(Attention(), torch.ones(1, 1, 5, 8))
    torch.testing.assert_close(artifact.program(honest, "x")(rows), rows)
    crafted = rewritten(bytes(honest), edit_program(attend_to_all))
    with pytest.raises(ValueError, match=r"keys of shape .* have values of shape"):
        artifact.program(buffer(crafted), "x")(rows)


def test_the_operators_that_are_run_are_torchs() -> None:
    known = torch.ops.aten
    assert [
        name for name in program_operators.OPERATORS if not name.endswith("_") and not hasattr(known, name)
    ] == []


def test_an_operator_that_is_run_writes_into_what_it_is_named_for_and_nothing_else() -> None:
    run = 0
    for schema in torch._C._jit_get_all_schemas():
        name, overload = schema.name.removeprefix("aten::"), schema.overload_name or "default"
        if schema.name.startswith("aten::") and program_operators.is_run(name, overload):
            tensors = [each for each in schema.arguments if str(each.type) in ("Tensor", "Optional[Tensor]")]
            written = [each.name for each in tensors if each.alias_info and each.alias_info.is_write]
            assert written in ([], [tensors[0].name] if tensors and name.endswith("_") else []), schema
            run += 1
    assert run > 300


ROWS, FAR = torch.ones(2), torch.tensor([10**9, 0])


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("embedding.default", (torch.ones(2, 2), FAR)),
        ("index.Tensor", (ROWS, [FAR])),
        ("index_put_.default", (ROWS, [FAR], ROWS)),
        ("index_select.default", (ROWS, 0, FAR)),
        ("index_add.default", (ROWS, 0, FAR, ROWS)),
        ("index_copy.default", (ROWS, 0, FAR, ROWS)),
        ("index_fill.int_Scalar", (ROWS, 0, FAR, 1)),
        ("gather.default", (ROWS, 0, FAR)),
        ("scatter.src", (ROWS, 0, FAR, ROWS)),
        ("scatter_add.default", (ROWS, 0, FAR, ROWS)),
        ("scatter_reduce.two", (ROWS, 0, FAR, ROWS, "sum")),
        ("take.default", (ROWS, FAR)),
        ("native_layer_norm.default", (torch.ones(2, 64), [64], ROWS, ROWS, 1e-5)),
        ("batch_norm.default", (torch.ones(2, 64), ROWS, ROWS, ROWS, ROWS, False, 0.1, 1e-5, True)),
        ("group_norm.default", (torch.ones(2, 64, 3), 8, ROWS, ROWS)),
        (
            "convolution.default",
            (torch.ones(2, 4, 9), torch.ones(8, 2, 3), ROWS, [1], [0], [1], False, [0], 1),
        ),
    ],
)
def test_operators_that_are_run_check_indices_and_sizes(name: str, inputs: tuple[Any, ...]) -> None:
    operator, overload = name.split(".")
    assert program_operators.is_run(operator, overload)
    with pytest.raises((IndexError, RuntimeError)):
        getattr(getattr(torch.ops.aten, operator), overload)(*inputs)


ATEN = torch.ops.aten
TABLE, NEAR = torch.arange(12.0).reshape(4, 3), torch.tensor([[2, 0, 1], [1, 2, 0]])


@pytest.mark.parametrize(
    "call",
    [
        lambda index: ATEN.embedding.default(TABLE, index),
        lambda index: ATEN.index_select.default(TABLE, 1, index.flatten()),
        lambda index: ATEN.gather.default(TABLE, 1, index),
        lambda index: ATEN.gather.default(TABLE, -1, index=index),
        lambda index: ATEN.scatter_add.default(TABLE, 1, index, torch.ones(2, 3)),
        lambda index: ATEN.index_fill.int_Scalar(TABLE, 1, index[0], 1),
        lambda index: ATEN.take.default(TABLE[0], index),
        lambda index: ATEN.take_along_dim.default(TABLE[:2], index, 1),
        lambda index: ATEN.index.Tensor(TABLE + 0 * index.sum(), [None, index]),
        lambda index: ATEN.index.Tensor(TABLE, [TABLE[:, 0] > 1, index[0, 1]]),
        lambda index: ATEN.index_put.default(TABLE, [index], torch.ones(3)),
        lambda index: ATEN.one_hot.default(index, 4),
    ],
)
def test_an_index_is_kept_within_on_a_gpu_and_refused_at_the_end(
    call: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    module = program_guards.guarded(torch.fx.symbolic_trace(call), indices=True)
    torch.testing.assert_close(module(NEAR), call(NEAR))
    for outside in (100, -100):
        with pytest.raises(IndexError, match="outside of the table or the dimension"):
            module(NEAR.masked_fill(NEAR == 0, outside))
    torch.testing.assert_close(module(NEAR), call(NEAR))


def test_a_program_whose_claims_are_outside_of_its_table_is_refused_and_no_other() -> None:
    dims = {0: torch.export.Dim("n", min=1, max=64), 1: torch.export.Dim("l", min=1, max=8)}
    encoder, token = Encoder(), torch.tensor([[3, 1, 4], [1, 5, 0], [8, 0, 0]])
    program = artifact.program(archive_of(encoder, token, dynamic=(dims,)), "x")
    module = program_guards.guarded(program, indices=True)  # type: ignore[arg-type]
    with torch.inference_mode():
        torch.testing.assert_close(module(token), encoder(token))
        with pytest.raises(IndexError, match="outside of the table"):
            module(token + 1)
    # Where there is nothing to look up nothing is looked at.
    plain = program_guards.guarded(torch.fx.symbolic_trace(lambda rows: torch.relu(rows)), indices=True)
    assert [node.op for node in plain.graph.nodes] == ["placeholder", "call_function", "output"]


def test_sample_inputs_are_never_read(exported: bytes) -> None:
    def spoil(members: dict[str, bytes]) -> None:
        members["data/sample_inputs/model.pt"] = pickle.dumps(Bomb())

    artifact.program(buffer(rewritten(exported, spoil)), "x")
    assert "UNPICKLED" not in os.environ


def test_checking_a_program_needs_no_torch(tmp_path: Path, exported: bytes) -> None:
    (tmp_path / "x").write_bytes(exported)
    code = (
        "import sys, pathlib; from models import artifact; "
        f"artifact.check(memoryview(pathlib.Path({str(tmp_path / 'x')!r}).read_bytes()), 'x', 'pt2'); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def add(name: str, data: bytes = b"x") -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({name: data})


def edit(name: str, old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        assert old.encode() in members[name]
        members[name] = members[name].replace(old.encode(), new.encode())

    return change


def edit_program(change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        program = json.loads(members["models/model.json"])
        change(program)
        members["models/model.json"] = json.dumps(program).encode()

    return apply


def retarget(target: str) -> Callable[[dict[str, bytes]], None]:
    def change(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    return edit_program(change)


def unpack_tree(program: Any) -> None:
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    signature["out_spec"] = json.dumps(
        [1, {"type": "collections.deque", "context": "null", "children_spec": []}]
    )


def word(program: Any) -> None:
    node = program["graph_module"]["graph"]["nodes"][0]
    node["target"] = "torch.ops.aten.from_file.default"
    node["inputs"] = [{"name": "filename", "arg": {"as_string": "passwd"}, "kind": 1}]


def subgraph(program: Any) -> None:
    node = program["graph_module"]["graph"]["nodes"][0]
    node["inputs"] = [{"name": "g", "arg": {"as_graph": {"name": "g", "graph": {}}}, "kind": 1}]


# They believe what they are told of sizes, resize what they are given, or read bytes as another type.
UNCHECKED = [
    "sparse_coo_tensor.indices_size",
    "sparse_coo_tensor.size",
    "sparse_csr_tensor.crow_col_value_size",
    "sparse_compressed_tensor.comp_plain_value_size",
    "_sparse_coo_tensor_unsafe.default",
    "to_dense.default",
    "to_sparse.default",
    "resize_as_sparse_.default",
    "resize.default",
    "as_strided.default",
    "as_strided_.default",
    "native_group_norm.default",
    "lstm.input",
    "embedding_bag.padding_idx",
    "repeat_interleave.Tensor",
    "add.out",
    "sort.values",
    "max.dim_max",
    "view.dtype",
]
WEIGHTS, PROGRAM = "data/weights/model_weights_config.json", "models/model.json"
SYMBOL = "Symbol('"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add("data/aotinductor/model/code.so"), "holds 'data/aotinductor/model/code.so'"),
        (add("data/constants/opaque_obj_0"), "pickled and compiled members are never loaded"),
        (add("data/constants/custom_obj_0"), "pickled and compiled members are never loaded"),
        (add("data/weights/model.pt"), "whose weights are a pickle"),
        (add("../../outside"), "no plain path in one folder"),
        (add("archive_format", b"aoti"), "archive_format is b'aoti'"),
        (add("byteorder", b"big"), "'little' is wanted"),
        (add(WEIGHTS, b"["), "not JSON"),
        (add(WEIGHTS, b"[]"), "does not describe tensors"),
        (add(PROGRAM, b"[" * 100_000), "not JSON"),
        (add(PROGRAM, b"{}"), "not an exported program"),
        (lambda members: members.pop(PROGRAM), "it lacks models/model.json"),
        (edit(WEIGHTS, '"use_pickle": false', '"use_pickle": true'), "a pickled tensor"),
        (edit(WEIGHTS, '"as_int": 3}]', '"as_int": 3000000}]'), "a tensor that leaves its member"),
        (edit(WEIGHTS, '"path_name": "weight_0"', '"path_name": "../x"'), "not stored plainly"),
        (
            edit(WEIGHTS, '"storage_offset": {"as_int": 0}', '"storage_offset": {"as_int": -4}'),
            "no whole number",
        ),
        (edit(PROGRAM, SYMBOL, "__import__('os').system('"), "no arithmetic on sizes"),
        (edit(PROGRAM, SYMBOL, "Symbol.__class__('"), "no arithmetic on sizes"),
        (edit(PROGRAM, SYMBOL, "9**9**9**Symbol('"), "no arithmetic on sizes"),
        (edit(PROGRAM, '"name": "number"', '"name": "x=__import__(1)"'), "a name that is none"),
        (
            edit(PROGRAM, '"parameter_name": "linear.weight"', '"parameter_name": "__class__"'),
            "a name that is none",
        ),
        (edit(PROGRAM, '"type": "cpu"', '"type": "cuda"'), "a text where none belongs"),
        (retarget("torch.load"), "an operator that is not run here"),
        (retarget("torch.os.system"), "an operator that is not run here"),
        (retarget("_operator.attrgetter"), "an operator that is not run here"),
        (retarget("torch.ops.aten.set_.source_Tensor"), "an operator that is not run here"),
        (retarget("torch.ops.higher_order.cond"), "an operator that is not run here"),
        (retarget("#namespace:op"), "an operator that is not run here"),
        *((retarget(f"torch.ops.aten.{name}"), "an operator that is not run here") for name in UNCHECKED),
        (edit_program(word), r"an operator that is not run here .*from_file"),
        (edit(PROGRAM, '"layout": 7', '"layout": 1'), "not stored plainly: 'layout: 1'"),
        (edit_program(subgraph), "a part that is not run here: 'as_graph'"),
        (edit_program(unpack_tree), "no tuples, lists or dicts"),
        (edit_program(lambda program: program.update(verifiers=["evil"])), "something unknown: 'evil'"),
    ],
)
def test_what_torch_would_run_or_unpickle_is_refused(
    exported: bytes, change: Callable[[dict[str, bytes]], None], said: str
) -> None:
    with pytest.raises(ArtifactError, match=said):
        artifact.check(buffer(rewritten(exported, change)), "x", "pt2")


def test_guards_and_metadata_do_not_reach_torch(exported: bytes) -> None:
    def spoil(program: Any) -> None:
        program["guards_code"] = ["__import__('os').abort()"]
        program["graph_module"]["metadata"] = {"custom": "["}
        for node in program["graph_module"]["graph"]["nodes"]:
            node["metadata"] = {"nn_module_stack": "("}

    artifact.program(buffer(rewritten(exported, edit_program(spoil))), "x")


def test_an_archive_must_store_its_members_as_they_are(exported: bytes) -> None:
    content = rewritten(exported, lambda _: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(ArtifactError, match="compressed or encrypted"):
        artifact.check(buffer(content), "x", "pt2")


def test_a_cut_or_renamed_archive_is_refused(exported: bytes) -> None:
    with pytest.raises(ArtifactError, match="a damaged archive"):
        artifact.check(buffer(exported[:-30]), "x", "pt2")
    start = exported.index(b"/models/model.json")
    renamed = exported[:start] + b"/models/model.jso\0" + exported[start + 18 :]
    with pytest.raises(ArtifactError, match="another name in its own header"):
        artifact.check(buffer(renamed), "x", "pt2")


def test_a_directory_that_claims_much_is_not_read() -> None:
    entries = b"\0" * (8 * 1024 * 1024)
    end = b"PK\5\6" + bytes(8) + len(entries).to_bytes(4, "little") + (4).to_bytes(4, "little") + bytes(2)
    with pytest.raises(ArtifactError, match="its directory claims"):
        artifact.check(buffer(b"PK\3\4" + entries + end), "x", "pt2")


class Logits(torch.nn.Module):
    """Reads what the shipped model reads; what it gives is for a test to say."""

    def __init__(self, give: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.give = give
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(
        self, token: torch.Tensor, revenue: torch.Tensor, amount: torch.Tensor, number: torch.Tensor
    ) -> torch.Tensor:
        return self.give(token, number * self.weight)


def version(folder: Path, give: Callable[..., torch.Tensor]) -> Path:
    """The shipped model with an exported program for weights."""
    shutil.copytree(SHIPPED / "claims_filter" / "2.1.0", folder)
    integers, amounts = torch.ones(3, 7, dtype=torch.int32), torch.ones(3, 7, 2)
    numbers = open_model("claims_filter_v2.1").features.columns["number"].shape[0]
    inputs = (integers, integers.clone(), amounts, torch.ones(3, numbers))
    claims, length = torch.export.Dim("claims"), torch.export.Dim("length")
    sizes = (*[{0: claims, 1: length}] * 3, {0: claims})
    torch.export.save(torch.export.export(Logits(give), inputs, dynamic_shapes=sizes), folder / "model.pt2")
    (folder / "model.safetensors").unlink()
    files = {name: asdict(digest_file(folder / name)) for name in ("model.pt2", "vocabulary.json")}
    edited(folder, files=files, precisions={"fp32": {"file": "model.pt2", "kind": "pt2"}})
    return folder


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[SyncModelCacheManager]:
    options = CacheOptions(repository=empty(tmp_path).root, redis_url=None, device="cpu", threads=1)
    with SyncModelCacheManager(l1_memory_limit_gb=0.1, options=options) as made:
        yield made


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda _, number: number[:, 0], None),
        (lambda _, number: number[:, 0].double(), None),
        (lambda _, number: number[:, 0].bfloat16(), None),
        (lambda _, number: number[:, :1], r"torch.float32 \(1, 1\) for 1 claims, not one logit a claim"),
        (lambda token, _: token[:, 0], r"torch.int32 \(1,\) for 1 claims, not one logit a claim"),
        (lambda _, number: (number[:, 0], number[:, 1]), "a tuple, not one logit a claim"),
    ],
)
def test_a_program_that_gives_no_logit_a_claim_is_not_built(
    manager: SyncModelCacheManager, tmp_path: Path, give: Callable[..., torch.Tensor], said: str | None
) -> None:
    push(Repository(tmp_path / "repository"), version(tmp_path / "new", give), version="3.0.0")
    (claims,) = generate(5, 3)
    if said is None:
        results = manager.batch_inference("claims_filter_v3.0", claims)
        assert (results.scores.shape, results.scores.dtype) == ((5,), np.float32)
        return
    with pytest.raises(BuildError, match=said):
        manager.get_model("claims_filter_v3.0")
    manager.get_model("claims_filter_v2.1").release()


def test_a_program_that_gives_one_logit_for_all_fails_at_the_claims(
    manager: SyncModelCacheManager, tmp_path: Path
) -> None:
    folder = version(tmp_path / "new", lambda _, number: number[:, 0].mean(0, keepdim=True))
    push(Repository(tmp_path / "repository"), folder, version="3.0.0")
    lease = manager.get_model("claims_filter_v3.0")
    with pytest.raises(ValueError, match=r"\(1,\) for 2 claims"):
        lease.model.warm_up([2])
    lease.release()


def test_a_program_that_looks_at_its_inputs_as_one_piece_scores_what_the_arena_gathers(
    manager: SyncModelCacheManager, tmp_path: Path
) -> None:
    folder = version(tmp_path / "new", lambda token, number: number[:, 0] + 0.0 * token.view(-1).sum())
    push(Repository(tmp_path / "repository"), folder, version="3.0.0")
    lease = manager.get_model("claims_filter_v3.0")
    features = lease.model.features.encode(next(iter(generate(300, 3))))
    arena = ClaimArena(300, 1)
    arena.add_spec("spec", lease.model.features.columns)
    rows = np.arange(300, dtype=np.int32)
    arena.store_features("spec", rows, features)
    np.testing.assert_array_equal(
        lease.model.score(arena.gather("spec", rows[:100])), lease.model.score(features)[:100]
    )
    lease.release()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_its_weights_go_with_it_and_do_not_wait_for_pythons_collector(
    manager: SyncModelCacheManager, tmp_path: Path
) -> None:
    # With a constant, which is no parameter.
    folder = version(tmp_path / "new", lambda _, number: number[:, 0] + torch.tensor([0.5, 1.0]).sum())
    push(Repository(tmp_path / "repository"), folder, version="3.0.0")
    gc.disable()
    try:
        manager.get_model("claims_filter_v3.0").release()
        assert "model.pt2" in Path("/proc/self/maps").read_text()
        assert manager.evict("claims_filter_v3.0") == ["device", "memory"]
        assert "model.pt2" not in Path("/proc/self/maps").read_text()
    finally:
        gc.enable()
