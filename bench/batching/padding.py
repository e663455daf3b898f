"""How much of what a forward computes is padding, what leaving it out gains, and whether tokens predict time."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.report import Figure, spread
from models import artifact
from models.backends.pytorch import Block, ClaimsTransformer
from models.loading import WEIGHTS, build, network_shape
from models.manifest import Manifest, read_manifest
from models.protocols import Tensors
from models.repository import SHIPPED
from models.runner import TransformerModel
from stream.publishing import generate
from stream.publishing.workload import Mix, workload

Floats = npt.NDArray[np.float64]
Score = Callable[[Tensors], npt.NDArray[np.float32]]

SIZES = (128, 512)
_CLAIMS = 2_048
_FOLDER = SHIPPED / "claims_filter" / "2.1.0"
_CLOSE = 1e-4
# Claims of a forward that stay in the cache, as the model's own chunks do.
_CHUNK = 128
_LONGEST_BATCH = 512
# Of so many measurements of one micro-batch the fastest counts: what the machine does beside is not the batch's cost.
_REPEATS = 3


class _DenseBlock(nn.Module):
    """A layer of the shipped network over the padded grid."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, mask: Tensor, *, only_first: bool) -> Tensor:
        """`x` (n, length, width), `mask` (n, length); with `only_first` the first tokens alone, (n, 1, width)."""
        n, length, width = x.shape[0], x.shape[1], x.shape[2]
        heads = self.block.heads
        parts = self.block.inward(self.block.norm_attention(x)).view(n, length, 3, heads, width // heads)
        parts = parts.permute(2, 0, 3, 1, 4)
        query = parts[0][:, :, :1] if only_first else parts[0]
        seen = functional.scaled_dot_product_attention(
            query, parts[1], parts[2], attn_mask=mask[:, None, None, :]
        )
        attended = seen.transpose(1, 2).reshape(n, -1, width)
        x = (x[:, :1] if only_first else x) + self.block.outward(attended)
        fed: Tensor = self.block.narrow(functional.gelu(self.block.widen(self.block.norm_feed(x))))
        return x + fed


class _DenseTransformer(nn.Module):
    """The shipped network, its own modules and weights, with every layer over the padded grid."""

    def __init__(self, network: ClaimsTransformer) -> None:
        super().__init__()
        self.token, self.amount, self.number = network.token, network.amount, network.number
        self.blocks = nn.ModuleList(
            _DenseBlock(block) for block in network.blocks if isinstance(block, Block)
        )
        self.norm, self.head = network.norm, network.head

    def forward(self, token: Tensor, revenue: Tensor, amount: Tensor, number: Tensor) -> Tensor:
        mask = token != 0
        x = self.token(token) + self.token(revenue) + self.amount(amount)
        x[:, 0] += self.number(number)
        last = len(self.blocks) - 1
        for place, block in enumerate(self.blocks):
            x = block(x, mask, only_first=place == last)
        logits: Tensor = self.head(self.norm(x[:, 0])).squeeze(1)
        return logits


class _Dense:
    """Scores a micro-batch in the order of arrival, padded to its longest claim; compiled as the model is."""

    def __init__(self, network: ClaimsTransformer) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self._network = torch.jit.script(_DenseTransformer(network).eval())

    @torch.inference_mode()
    def score(self, features: Tensors) -> npt.NDArray[np.float32]:
        longest = int(_lengths(features).max())
        token, revenue, amount = (features[name][:, :longest] for name in ("token", "revenue", "amount"))
        inputs = (torch.from_numpy(part) for part in (token, revenue, amount, features["number"]))
        scores: npt.NDArray[np.float32] = torch.sigmoid(self._network(*inputs)).numpy()
        return scores

    def score_in_chunks(self, features: Tensors) -> npt.NDArray[np.float32]:
        """The same, each chunk padded to its own longest claim."""
        return np.concatenate([self.score(chunk) for chunk in _batches(features, _CHUNK)])


class _Grid(nn.Module):
    """Stands in for a network and counts: the tokens of the padded grids that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0

    def forward(self, token: Tensor, _revenue: Tensor, _amount: Tensor, _number: Tensor) -> Tensor:
        self.tokens += token.numel()
        return torch.zeros(len(token))


@dataclass(frozen=True, slots=True)
class _Programs:
    """The shipped model as it is, the same weights without its care for padding, and claims for both."""

    manifest: Manifest
    model: TransformerModel
    dense: _Dense
    claims: Tensors


def measure(*, quick: bool, plots: Path) -> list[Figure]:  # noqa: ARG001 - nothing here is drawn
    """Shares of padding, `padding_gain`, and the error of a cost by claims against one by claims and tokens."""
    programs = _programs()
    _check_equal(programs)
    rounds, batches = (5, 80) if quick else (20, 300)
    gains = [figure for size in reversed(SIZES) for figure in _gains(programs, size, rounds)]
    return [*_shares(programs), *gains, *_cost_errors(programs, batches)]


def _programs() -> _Programs:
    manifest = read_manifest(_FOLDER)
    content = {name: artifact.read(_FOLDER, name, file.bytes) for name, file in manifest.files.items()}
    model = build(manifest, content, threads=1)
    network = ClaimsTransformer(network_shape(manifest, model.features))
    network.load_state_dict(artifact.tensors(content[WEIGHTS], WEIGHTS))
    encoded = [model.features.encode(batch) for batch in generate(_CLAIMS, 1)]
    claims = {name: np.concatenate([part[name] for part in encoded]) for name in model.features.columns}
    return _Programs(manifest, model, _Dense(network), claims)


def _check_equal(programs: _Programs) -> None:
    """Raises RuntimeError when the two programs do not compute the same."""
    for batch in _batches(programs.claims, max(SIZES)):
        apart = float(np.abs(programs.model.score(batch) - programs.dense.score(batch)).max())
        if not apart <= _CLOSE:
            raise RuntimeError(
                f"the dense forward differs from the model by {apart}: the benchmark compares different things"
            )


def _shares(programs: _Programs) -> list[Figure]:
    real = int(_lengths(programs.claims).sum())
    return [
        figure
        for size in reversed(SIZES)
        for figure in (
            Figure(
                f"padding_dense_{size}",
                _share(real, _dense_tokens(programs, size)),
                "",
                "",
                f"share of the tokens computed in every layer; micro-batches of {size} in the order of arrival, padded "
                "to their longest claim",
            ),
            Figure(
                f"padding_attention_{size}",
                _share(real, _attention_tokens(programs, size)),
                "",
                "",
                "share of the grid that attention alone works on; the linear layers, norms and activations of the "
                "model compute no padding",
            ),
        )
    ]


def _share(real: int, computed: int) -> float:
    return 1.0 - real / computed


def _dense_tokens(programs: _Programs, size: int) -> int:
    batches = _batches(programs.claims, size)
    return sum(len(batch["token"]) * int(_lengths(batch).max()) for batch in batches)


def _attention_tokens(programs: _Programs, size: int) -> int:
    grid = _Grid()
    counted = TransformerModel(programs.manifest, programs.model.features, grid)
    for batch in _batches(programs.claims, size):
        counted.score(batch)
    return grid.tokens


def _gains(programs: _Programs, size: int, rounds: int) -> list[Figure]:
    """Claims a second of the model over those of the dense forward, the same weights, in each round."""
    batches = _batches(programs.claims, size)
    # The first round warms up.
    kept = [_round(programs, batches, swap=number % 2 == 1) for number in range(rounds + 1)][1:]
    suffix = "" if size == max(SIZES) else f"_{size}"
    gain = _ratio(f"padding_gain{suffix}", "≥ 1.6", kept, 1, f"dense micro-batches of {size}")
    if size <= _CHUNK:
        return [gain]
    note = f"dense micro-batches of {size} in chunks of {_CHUNK}: padding alone, without what the cache gives"
    return [gain, _ratio(f"padding_gain_chunks{suffix}", "", kept, 2, note)]


def _ratio(name: str, goal: str, rounds: list[list[float]], rival: int, note: str) -> Figure:
    ratios = [seconds[rival] / seconds[0] for seconds in rounds]
    model, dense = (_CLAIMS / statistics.median(each[place] for each in rounds) for place in (0, rival))
    return Figure(
        name,
        statistics.median(ratios),
        "x",
        goal,
        f"{spread(ratios)}; one thread, processor time; model {model:.0f} claims/s, {dense:.0f} by {note}",
    )


def _round(programs: _Programs, batches: list[Tensors], *, swap: bool) -> list[float]:
    """Seconds of the model, the dense forward and the dense one in chunks; they take turns at every micro-batch."""
    contestants: list[Score] = [programs.model.score, programs.dense.score, programs.dense.score_in_chunks]
    spent = [0.0] * len(contestants)
    places = list(range(len(contestants)))
    for batch in batches:
        for place in reversed(places) if swap else places:
            spent[place] += _seconds(contestants[place], batch)
    return spent


def _cost_errors(programs: _Programs, count: int) -> list[Figure]:
    mixes = {"": programs.claims, "_heavy": _heavy(programs.claims)}
    words = {"": "lengths as they come", "_heavy": "a heavy tail of lengths"}
    figures = []
    for suffix, claims in mixes.items():
        sizes, tokens, seconds = _observed(programs.model.score, claims, count)
        ones = np.ones(count)
        for name, known in (("claims", [ones, sizes]), ("tokens", [ones, sizes, tokens])):
            figures.append(
                Figure(
                    f"cost_error_{name}{suffix}",
                    _error(np.stack(known, axis=1), seconds),
                    "",
                    "",
                    f"median relative error of least squares on {count // 2} micro-batches of 1 to {_LONGEST_BATCH} "
                    f"claims, judged by {count // 2} others; {words[suffix]}",
                )
            )
    return figures


def _observed(score: Score, claims: Tensors, count: int) -> tuple[Floats, Floats, Floats]:
    """Claims, tokens and seconds of random micro-batches: shape (count,) each."""
    rng = np.random.default_rng(1)
    batches = []
    for size in rng.integers(1, _LONGEST_BATCH + 1, count).tolist():
        start = int(rng.integers(0, _CLAIMS - size + 1))
        batches.append({name: column[start : start + size] for name, column in claims.items()})
    seconds = np.array([[_seconds(score, batch) for batch in batches] for _ in range(_REPEATS)])
    sizes = np.array([len(batch["token"]) for batch in batches], np.float64)
    tokens = np.array([_lengths(batch).sum() for batch in batches], np.float64)
    return sizes, tokens, seconds.min(axis=0)


def _error(known: Floats, seconds: Floats) -> float:
    """Median relative error on the odd rows of a fit to the even ones; `known` (n, coefficients)."""
    fitted = np.linalg.lstsq(known[::2], seconds[::2])[0]
    return float(np.median(np.abs(known[1::2] @ fitted / seconds[1::2] - 1.0)))


def _heavy(claims: Tensors) -> Tensors:
    """The same claims, many of them longer: their last line again and again, up to lengths of a Pareto law."""
    own, longest = _lengths(claims), claims["token"].shape[1]
    mix = Mix(shortest=int(own.min()), longest=longest, tail=1.0)
    wanted = np.maximum(own, workload(np.zeros(len(own)), mix, 1).tokens)
    place = np.arange(longest)
    source = np.minimum(place, own[:, None] - 1)
    past = place >= wanted[:, None]
    longer = dict(claims)
    for name in ("token", "revenue", "amount"):
        longer[name] = claims[name][np.arange(len(own))[:, None], source]
        longer[name][past] = 0
    return longer


def _seconds(score: Score, batch: Tensors) -> float:
    """Of the processor, in this thread, where one torch thread computes: neighbours slow that less than the clock."""
    started = time.thread_time()
    score(batch)
    return time.thread_time() - started


def _batches(claims: Tensors, size: int) -> list[Tensors]:
    return [
        {name: column[start : start + size] for name, column in claims.items()}
        for start in range(0, len(claims["token"]), size)
    ]


def _lengths(batch: Tensors) -> npt.NDArray[np.intp]:
    """Tokens of each claim."""
    lengths: npt.NDArray[np.intp] = np.count_nonzero(batch["token"], axis=1)
    return lengths
