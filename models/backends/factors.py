"""Claims as sums of factors: what categories, codes and amounts mean alone and two by two; for tables of claims."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_SMALL = 0.05
_DROPPED = 0.3


@dataclass(frozen=True, slots=True)
class FactorsShape:
    """Sizes that a manifest declares; `numbers` are claim-level features, `amounts` those of a token."""

    vocabulary: int
    amounts: int
    numbers: int
    width: int
    hidden: int
    members: int


class ClaimsFactors(nn.Module):
    """Tokens of a claim to one logit: the mean of `members` factorisation machines that differ by how they began.

    Each (Rendle 2010; Guo et al. 2017) sums the tokens' vectors and their products by pairs, and gives both and the
    numbers to one hidden layer. `scale` and `shift` make of the mean a logit that is calibrated (Platt 1999).
    """

    def __init__(self, shape: FactorsShape) -> None:
        super().__init__()
        self.members = shape.members
        self.width = shape.width
        inputs = 2 * shape.width + shape.numbers
        self.factor = nn.Embedding(shape.vocabulary, shape.members * shape.width, padding_idx=0)
        self.weight = nn.Embedding(shape.vocabulary, shape.members, padding_idx=0)
        self.amount = nn.Linear(shape.amounts, shape.members * shape.width, bias=False)
        self.inward = nn.Parameter(torch.empty(shape.members, inputs, shape.hidden))
        self.inward_bias = nn.Parameter(torch.empty(shape.members, 1, shape.hidden))
        self.outward = nn.Parameter(torch.empty(shape.members, shape.hidden, 1))
        self.bias = nn.Parameter(torch.empty(shape.members))
        self.dropout = nn.Dropout(_DROPPED)
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)
        self.shift = nn.Parameter(torch.zeros(()), requires_grad=False)
        self._begin(inputs, shape.hidden)

    def _begin(self, inputs: int, hidden: int) -> None:
        nn.init.normal_(self.factor.weight, std=_SMALL)
        for zero in (self.weight.weight, self.inward_bias, self.bias, self.factor.weight[0].detach()):
            nn.init.zeros_(zero)
        nn.init.normal_(self.inward, std=inputs**-0.5)
        nn.init.normal_(self.outward, std=hidden**-0.5 / 2)

    def forward(self, token: Tensor, revenue: Tensor, amount: Tensor, number: Tensor) -> Tensor:
        """token, revenue (n, length) int, of one vocabulary; amount (n, length, amounts); number (n, numbers).

        Returns logits (n,). Token 0 is padding, whose vectors and amounts are zero.
        """
        return self.each(token, revenue, amount, number).mean(1) * self.scale + self.shift

    def each(self, token: Tensor, revenue: Tensor, amount: Tensor, number: Tensor) -> Tensor:
        """Logits (n, members) before calibration."""
        n = token.shape[0]
        vectors = self.factor(token) + self.factor(revenue) + self.amount(amount)
        total = vectors.sum(1)
        pairs = (total * total - (vectors * vectors).sum(1)) / 2
        seen = torch.cat([part.view(n, self.members, self.width) for part in (total, pairs)], 2)
        numbers = number.unsqueeze(1).expand(n, self.members, number.shape[1])
        inputs = torch.cat([self.dropout(seen), numbers], 2).transpose(0, 1)
        hidden = self.dropout(torch.relu(torch.baddbmm(self.inward_bias, inputs, self.inward)))
        alone = (self.weight(token) + self.weight(revenue)).sum(1) + self.bias
        logits: Tensor = torch.bmm(hidden, self.outward).squeeze(2).transpose(0, 1) + alone
        return logits
