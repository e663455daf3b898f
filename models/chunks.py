"""A micro-batch through a network: claims of similar length share a chunk, so that padding costs little."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class InChunks(nn.Module):
    """Scores of a network of logits, at most `size` claims at a time, each chunk cut to its longest claim.

    Compiled, it is one call outside the interpreter lock: between two calls a thread has to win the lock back from
    those that read and write.
    """

    def __init__(self, network: nn.Module, size: int, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.device = device

    def forward(self, token: Tensor, revenue: Tensor, amount: Tensor, number: Tensor) -> Tensor:
        """token, revenue (n, length), amount (n, length, amounts), number (n, numbers), all in the host's memory.

        Returns scores (n,) fp32 there, in the order of the claims.
        """
        count, length = token.shape[0], token.shape[1]
        lengths = ((token != 0) * torch.arange(1, length + 1)).amax(1)
        if 0 < count <= self.size:
            longest = int(lengths.max())
            return self.chunk(token[:, :longest], revenue[:, :longest], amount[:, :longest], number)
        order = lengths.argsort(stable=True)
        scores = torch.empty([count], dtype=torch.float32)
        for start in range(0, count, self.size):
            rows = order[start : start + self.size]
            longest = int(lengths[rows[-1]])
            scores[rows] = self.chunk(
                token[:, :longest].index_select(0, rows),
                revenue[:, :longest].index_select(0, rows),
                amount[:, :longest].index_select(0, rows),
                number.index_select(0, rows),
            )
        return scores

    def chunk(self, token: Tensor, revenue: Tensor, amount: Tensor, number: Tensor) -> Tensor:
        """Scores (n,) of claims that go through the network together."""
        device = self.device
        logits: Tensor = self.network(
            token.to(device), revenue.to(device), amount.to(device), number.to(device)
        )
        return torch.sigmoid(logits).float().cpu()
