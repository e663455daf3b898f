"""The claims transformer: attention over the tokens of one claim, no work for padding."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """Sizes that a manifest declares; `numbers` are claim-level features, `amounts` those of a token."""

    vocabulary: int
    amounts: int
    numbers: int
    width: int
    heads: int
    layers: int


class Block(nn.Module):
    """One pre-norm encoder layer (Xiong et al. 2020) over packed tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)
        self.norm_feed = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, places: Tensor, mask: Tensor, first: Tensor | None = None) -> Tensor:
        """`x` (tokens, width) holds only real tokens, `places` their index in the padded grid, `mask` (n, length).

        With `first`, the index of each claim's first token in `x`: these alone, (n, width).
        """
        n, length, width = mask.shape[0], mask.shape[1], x.shape[1]
        grid = x.new_zeros(n * length, 3 * width)
        grid[places] = self.inward(self.norm_attention(x))
        parts = grid.view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query = parts[0] if first is None else parts[0][:, :, :1]
        seen = functional.scaled_dot_product_attention(
            query, parts[1], parts[2], attn_mask=mask[:, None, None, :]
        )
        attended = seen.transpose(1, 2).reshape(-1, width)
        x = x + self.outward(attended[places]) if first is None else x[first] + self.outward(attended)
        fed: Tensor = self.narrow(functional.gelu(self.widen(self.norm_feed(x))))
        return x + fed


class ClaimsTransformer(nn.Module):
    """Tokens of a claim to one logit, read off the first token.

    The linear layers see real tokens only (packed); just the attention itself works on the padded grid.
    """

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.token = nn.Embedding(shape.vocabulary, shape.width, padding_idx=0)
        self.amount = nn.Linear(shape.amounts, shape.width)
        self.number = nn.Linear(shape.numbers, shape.width)
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, 1)

    def forward(self, token: Tensor, revenue: Tensor, amount: Tensor, number: Tensor) -> Tensor:
        """token, revenue (n, length) int, of one vocabulary; amount (n, length, amounts); number (n, numbers).

        Returns logits (n,).
        Token 0 is padding; every claim has a first token.
        """
        mask = token != 0
        places = mask.view(-1).nonzero().view(-1)
        x = self.token(token.reshape(-1)[places]) + self.token(revenue.reshape(-1)[places])
        x = x + self.amount(amount.reshape(-1, amount.shape[2])[places])
        lengths = mask.sum(1)
        first = lengths.cumsum(0) - lengths
        x = x.index_add(0, first, self.number(number))
        last = len(self.blocks) - 1
        for place, block in enumerate(self.blocks):
            # Nobody reads the other tokens of the last layer; training goes on as it made what ships, bit for bit.
            x = block(x, places, mask, first if place == last and not self.training else None)
        logits: Tensor = self.head(self.norm(x[first] if self.training else x)).squeeze(1)
        return logits
