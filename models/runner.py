"""A loaded version: tensors in, scores out."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch._C import _jit_override_can_fuse_on_gpu

from models.backends.factors import ClaimsFactors
from models.backends.pytorch import ClaimsTransformer
from models.chunks import InChunks
from models.devices import told_apart
from models.features import ClaimFeatures
from models.manifest import Manifest
from models.protocols import ModelIdentity, Tensors

# What a forward of so many claims touches stays in the cache; larger ones are slower a claim.
_CPU_CHUNK = 128
# A GPU is fastest with as much at once as it gets; each chunk is an answer to wait for.
_GPU_CHUNK = 1 << 14
# The compiler parses source; two threads that do so at once break Python's parser ("AST constructor recursion depth
# mismatch"), and warnings.catch_warnings is the whole process's.
_COMPILING = threading.Lock()


class TransformerModel:
    """Scores with a network of tokens, revenue codes, amounts and numbers to logits, of any type of version."""

    def __init__(
        self,
        manifest: Manifest,
        features: ClaimFeatures,
        network: torch.nn.Module,
        precision: str = "fp32",
        device: str = "cpu",
    ) -> None:
        self.identity = ModelIdentity(manifest.name, manifest.version, manifest.variant, precision, device)
        self.bytes = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
        self.features = features
        self.spec_digest = features.digest
        self.decisions = manifest.decisions
        self._threshold = np.float32(manifest.threshold)
        self._device = torch.device(device)
        size = _CPU_CHUNK if self._device.type == "cpu" else _GPU_CHUNK
        # An exported program has operators that the compiler lacks, and its mode is fixed.
        if isinstance(network, ClaimsTransformer | ClaimsFactors):
            self._network = _compiled(InChunks(network.eval(), size, self._device))
        else:
            self._network = InChunks(_Checked(network), size, self._device)

    @torch.inference_mode()
    def score(self, features: Tensors) -> npt.NDArray[np.float32]:
        """Scores (n,), in the order of the claims; no row depends on another beyond 1e-5.

        Raises MemoryError for more claims than the device has memory for, DeviceError, and TypeError or ValueError for
        a network that gives something else than a logit a claim.
        """
        inputs = (torch.from_numpy(features[name]) for name in ("token", "revenue", "amount", "number"))
        with told_apart(str(self._device)):
            scores: npt.NDArray[np.float32] = self._network(*inputs).numpy()
        return scores

    def decide(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
        return (scores >= self._threshold).astype(np.int8)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Raises what `score` raises."""
        for size in batch_sizes:
            batch: dict[str, npt.NDArray[Any]] = {
                name: np.ones((size, *column.shape), column.dtype)
                for name, column in self.features.columns.items()
            }
            self.score(batch)


class _Checked(torch.nn.Module):
    """A program that was exported elsewhere and may give anything."""

    def __init__(self, program: torch.nn.Module) -> None:
        super().__init__()
        self.program = program

    def __del__(self) -> None:
        # Its graph lies in cycles, and would keep the weights until Python's collector comes by.
        for part in self.program.modules():
            for name, _ in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
                delattr(part, name)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Logits (n,). Raises TypeError or ValueError for anything else."""
        # It was tried with tensors that are in one piece, and may look at them as such.
        logits, count = self.program(*(part.contiguous() for part in inputs)), len(inputs[0])
        if not isinstance(logits, torch.Tensor):
            raise TypeError(f"the network gives a {type(logits).__name__}, not one logit a claim")
        if logits.shape != (count,) or not logits.is_floating_point():
            shape = tuple(logits.shape)
            raise ValueError(
                f"the network gives {logits.dtype} {shape} for {count} claims, not one logit a claim"
            )
        return logits


def _compiled(network: torch.nn.Module) -> torch.nn.Module:
    """The network as one call outside the interpreter lock.

    Called from Python, every operator gives the lock up and must win it back. torch.export has no such call for a
    batch whose shape is its data.
    """
    # On a GPU it would fuse operators into kernels of its own and compile them for the shapes that it meets: again in
    # service, since claims come in more lengths than a warm-up has tried.
    _jit_override_can_fuse_on_gpu(False)
    with _COMPILING, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        compiled: torch.nn.Module = torch.jit.script(network)
    return compiled
