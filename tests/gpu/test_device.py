"""What only a GPU shows: `pytest tests/gpu` on a machine that has one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from models import CacheOptions, SyncModelCacheManager, artifact, open_model
from stream.arena import ClaimArena
from stream.clock import SystemClock
from stream.publishing import generate
from stream.records import CloseReason, MicroBatch
from stream.scoring import Scorer

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


def allocated() -> int:
    """Bytes of tensors. What cuBLAS works in comes from the same allocator, for each thread, and would stay."""
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()
    return torch.cuda.memory_allocated()


def test_a_model_on_a_gpu_scores_as_on_a_cpu_and_gives_its_memory_back(tmp_path: Path) -> None:
    claims = next(iter(generate(300, 3)))
    model = open_model("claims_filter_v2.1", threads=1)
    expected = model.score(model.features.encode(claims))
    options = CacheOptions(memory_folder=tmp_path / "pool", redis_url=None, device="cuda:0")
    before = allocated()
    with SyncModelCacheManager(l1_memory_limit_gb=0.1, options=options) as manager:
        results = manager.batch_inference("claims_filter_v2.1", claims)
        assert results.model.device == "cuda:0"
        np.testing.assert_allclose(results.scores, expected, atol=1e-4)
        device, memory = manager.status().tiers[:2]
        assert device.used <= torch.cuda.memory_allocated() - before
        # A GPU has its own copy, so nothing in RAM is leased for it.
        assert memory.entries[0].leases == 0
        assert "device" in manager.evict("claims_filter_v2.1")
    assert allocated() - before < 1_000_000


def test_a_batch_beyond_a_gpus_memory_is_halved_until_it_fits() -> None:
    claims = next(iter(generate(4_096, 3)))
    model = open_model("claims_filter_v2.1", device="cuda:0")
    features = model.features.encode(claims)
    expected = model.score(features)
    arena = ClaimArena(len(expected), 1)
    arena.add_spec(model.spec_digest, model.features.columns)
    arena.store_features(model.spec_digest, np.arange(len(expected), dtype=np.int32), features)
    scorer = Scorer(arena, SystemClock())
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    model.score({name: column[:512] for name, column in features.items()})
    enough = 1.5 * torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(enough / torch.cuda.mem_get_info()[1])
    try:
        batch = MicroBatch(0, np.arange(len(expected), dtype=np.int32), CloseReason.SIZE)
        outcome = scorer.score(batch, model)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert (len(outcome.rows), outcome.failures) == (len(expected), ())
    assert 0 < scorer.ceilings[0] < len(expected)
    np.testing.assert_allclose(arena.score[:, 0], expected, atol=1e-4)


class Looks(torch.nn.Module):
    """A constant, a tensor made in passing, a conversion, and a table that a claim's number may leave."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(8, 1)
        self.shift = torch.arange(3.0)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        places = torch.arange(rows.shape[0], device=rows.device).to(torch.float32)
        return self.table(rows.long()).squeeze(2).sum(1) + self.shift.sum() + torch.ones(3).sum() + places


def test_a_program_runs_on_a_gpu_and_outlives_an_index_outside_of_its_table() -> None:
    looks, rows = Looks().eval(), torch.tensor([[1.0, 2.0, 7.0], [0.0, 3.0, 4.0]])
    file = io.BytesIO()
    torch.export.save(torch.export.export(looks, (rows,), dynamic_shapes=({0: torch.export.Dim("n")},)), file)
    program = artifact.program(memoryview(bytearray(file.getvalue())), "x", "cuda:0")
    with torch.inference_mode():
        expected = looks(rows)
        np.testing.assert_allclose(program(rows.to("cuda:0")).cpu(), expected, atol=1e-5)
        for outside in (8.0, -1.0, 1e12):
            with pytest.raises(IndexError, match="outside of the table"):
                program(torch.full((2, 3), outside, device="cuda:0"))
        torch.cuda.synchronize()
        np.testing.assert_allclose(program(rows.to("cuda:0")).cpu(), expected, atol=1e-5)
