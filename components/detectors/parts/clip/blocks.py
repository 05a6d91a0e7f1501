"""What the blocks of a tower are made of, in place of what open_clip makes them of: the same weights under the same names,
the same answers to rounding, with fewer copies.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

STEEPNESS = 1.702  # of CLIP's approximation to the Gaussian error linear unit


def streamlined(block: Any) -> Any:
    """open_clip's `block`, changed in place."""
    block.attn = Attention(block.attn)
    if type(block.mlp.gelu).__name__ == "QuickGELU":
        block.mlp.gelu = QuickGELU()
    return block


def attended(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Every head's softmax(q k^T / sqrt(d)) v side by side; tokens (B, N, C) three times -> (B, N, C), d = C / heads.

    Nothing is copied: fused kernels read heads where they lie, and leave theirs where the next layer wants them.
    """
    B, N, C = q.shape
    q, k, v = (tokens.view(B, N, heads, C // heads).transpose(1, 2) for tokens in (q, k, v))  # (B, heads, N, d)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Self-attention with the weights of an `nn.MultiheadAttention`.

    Torch's own turns tokens round before and after, so that q, k and v are multiplied one token at a time (257 products of B
    rows, forwards and backwards, where one of 257 B does it), and cuts the three out by copies.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = attention.out_proj

    def forward(self, q: Tensor, k: Tensor, v: Tensor, **mask: Tensor | bool | None) -> tuple[Tensor, None]:
        """Tokens (B, N, C) three times -> (B, N, C) and no weights, called as open_clip's blocks call theirs."""
        assert q is k is v and sees_everything(mask)
        q, k, v = F.linear(q, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        return self.out_proj(attended(q, k, v, self.num_heads)), None


def sees_everything(mask: dict[str, Tensor | bool | None]) -> bool:
    """A vision tower hides no token, and nobody asks it for its weights of attention."""
    return mask.get("attn_mask") is None and not mask.get("need_weights")


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), as one kernel that keeps one map for the backward pass rather than three that keep two."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(STEEPNESS * x).div_(STEEPNESS)
