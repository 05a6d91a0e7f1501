"""Linear layers split by their singular values: a frozen principal part, and artifact subspaces that learn.

    W = W_p + sum_k U_k diag(s_k) V_k        the K r smallest triplets learn, all others stay as pre-training left them

    triplets = decomposed(linear.weight, 16)                             # or drawn(…), where there is no pre-training
    layer = SplitLinear(linear, triplets, subspaces=4)                   # answers as `linear` does, to rounding

Source   Effort's SVDResidualLinear (SCLBD/DeepfakeBench @ 8a4a7bf5e966, training/detectors/effort_detector.py), which is
         one subspace of one triplet.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from components.detectors.parts.clip import blocks
from components.errors import BadParams

KEPT_FROM = 512  # singular values; fewer are found sooner (0.1 s) than read
TOLERANCE = 1e-3  # of kept triplets; those just computed are within 1e-6

Factors = tuple[Tensor, Tensor]
"""U diag(s) (out, K r) and V (K r, in)."""
Split = Callable[[nn.Linear], "SplitLinear"]


@dataclass(frozen=True)
class Triplets:
    """m singular triplets of a matrix (out, in), the greatest first: u (out, m), s (m,), v (m, in)."""

    u: Tensor
    s: Tensor
    v: Tensor

    def product(self) -> Tensor:
        return (self.u * self.s) @ self.v


class SplitLinear(nn.Module):
    """x W^T + b with W = W_p + sum_k U_k diag(s_k) V_k; (…, in) -> (…, out).

    Trained are u[k] (out, r), s[k] (r,) and v[k] (r, in). Frozen are the principal part and the bias. What the subspaces
    started from stays in u_0, s_0, v_0 and `energy` = |W|^2, for the penalties.
    Differs: W is never formed; the product of low rank costs a hundredth of one with W, and in half precision what the
    subspaces learned is not rounded away beside W_p.
    Factors side by side are made for all layers at once where somebody does so (`side_by_side`, `lent`), because each of
    many layers would otherwise have small work of its own.
    """

    principal: nn.Parameter
    u_0: Tensor
    s_0: Tensor
    v_0: Tensor
    energy: Tensor

    def __init__(self, linear: nn.Linear, triplets: Triplets, *, subspaces: int) -> None:
        super().__init__()
        places = _dealt(len(triplets.s), subspaces)
        u, s, v = triplets.u.to(linear.weight), triplets.s.to(linear.weight), triplets.v.to(linear.weight)
        self.lent: Factors | None = None
        self.principal = _frozen(linear.weight - (u * s) @ v)
        self.bias = None if linear.bias is None else _frozen(linear.bias)
        self.u = nn.ParameterList(nn.Parameter(u[:, place].contiguous()) for place in places)
        self.s = nn.ParameterList(nn.Parameter(s[place].contiguous()) for place in places)
        self.v = nn.ParameterList(nn.Parameter(v[place].contiguous()) for place in places)
        order = places.flatten()
        self.register_buffer("u_0", u[:, order].contiguous())
        self.register_buffer("s_0", s[places].contiguous())
        self.register_buffer("v_0", v[order].contiguous())
        self.register_buffer("energy", linear.weight.detach().square().sum())

    def forward(self, x: Tensor) -> Tensor:
        Us, V = self.lent or products(self.factors())
        rows = x.flatten(0, -2)
        out = F.linear(rows, self.principal, self.bias).addmm_(F.linear(rows, V), Us.mT)
        return out.view(*x.shape[:-1], -1)

    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (out, K r), s (K r,), V (K r, in) of all subspaces side by side."""
        U, s, V = side_by_side([self])
        return U[0], s[0], V[0]

    def learned(self) -> int:
        """n, how many numbers a subspace learns."""
        return sum(parameter.numel() for parameter in self._subspace(0))

    def slopes(self) -> list[Tensor]:
        """Gradients of what the subspaces learn, flat, subspace after subspace: K n numbers; 0 where nothing reached it."""
        return [_slope(parameter).flatten() for k in range(len(self.s)) for parameter in self._subspace(k)]

    def leave(self, k: int) -> None:
        """Keep subspace k where it is: without a gradient no optimiser moves it, with one of zero Adam still does."""
        for parameter in self._subspace(k):
            parameter.grad = None

    def _subspace(self, k: int) -> tuple[nn.Parameter, ...]:
        return self.u[k], self.s[k], self.v[k]


def side_by_side(layers: Sequence[SplitLinear]) -> tuple[Tensor, Tensor, Tensor]:
    """U (L, out, K r), s (L, K r), V (L, K r, in) of layers of one shape, all of each layer's subspaces side by side."""
    L, K = len(layers), len(layers[0].s)
    U = torch.stack([u for layer in layers for u in layer.u])  # (L K, out, r)
    s = torch.stack([s for layer in layers for s in layer.s])
    V = torch.stack([v for layer in layers for v in layer.v])
    return U.view(L, K, *U.shape[1:]).transpose(1, 2).flatten(2), s.view(L, -1), V.view(L, -1, V.shape[-1])


def products(factors: tuple[Tensor, Tensor, Tensor]) -> Factors:
    """What a layer multiplies by, or several layers in a leading dimension: U diag(s) and V, as autocast would have them."""
    U, s, V = factors
    precision = torch.get_autocast_dtype(U.device.type) if torch.is_autocast_enabled(U.device.type) else U.dtype
    return (U * s[..., None, :]).to(precision), V.to(precision)


@contextmanager
def lent(layers: Sequence[SplitLinear], factors: tuple[Tensor, Tensor, Tensor]) -> Iterator[None]:
    """Layers of one shape take their factors from what `side_by_side` made of all of them."""
    for layer, *own in zip(layers, *(part.unbind() for part in products(factors)), strict=True):
        layer.lent = (own[0], own[1])
    try:
        yield
    finally:
        for layer in layers:
            layer.lent = None


class SplitAttention(nn.Module):
    """Self-attention whose q, k, v and out are layers of their own, in the place of an `nn.MultiheadAttention`.

    open_clip and torch keep q, k and v in one matrix (3 C, C). Its singular values mix the three, so it is cut first.
    """

    def __init__(self, attention: nn.MultiheadAttention, split: Split) -> None:
        super().__init__()
        self.heads = attention.num_heads
        fused, biases = attention.in_proj_weight, attention.in_proj_bias
        self.q, self.k, self.v = (split(_linear(W, b)) for W, b in zip(fused.chunk(3), biases.chunk(3), strict=True))
        self.out = split(attention.out_proj)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, **mask: Tensor | bool | None) -> tuple[Tensor, None]:
        """Tokens (B, N, C) three times -> (B, N, C) and no weights, called as open_clip's blocks call theirs."""
        assert blocks.sees_everything(mask)
        return self.out(blocks.attended(self.q(q), self.k(k), self.v(v), self.heads)), None


# -- where triplets come from --------------------------------------------------------------------------------------------


def decomposed(weight: Tensor, count: int) -> Triplets:
    """The `count` smallest singular triplets of a weight (out, in).

    Of the two signs of a triplet, the one is taken whose u has its greatest entry positive. Large decompositions take most
    of a second each and are kept in torch's cache under the weight's digest. Raises BadParams.
    """
    _check(weight, count)
    weight = weight.detach().cpu()
    if min(weight.shape) < KEPT_FROM:
        return _smallest(weight, count)
    path = cache() / f"{_digest(weight)}-{count}.safetensors"
    known = _read(path, weight, count)
    if known is not None:
        return known
    found = _smallest(weight, count)
    _keep(path, found)
    return found


def drawn(linear: nn.Linear, count: int) -> Triplets:
    """Random triplets for a layer with random weights, which have no principal part to spare; the layer is changed.

    W becomes (I - U U^T) W (I - V^T V) + U diag(s) V, with s the typical singular value, so that the triplets are W's own.
    No decomposition, because weights to come would make it worthless. Raises BadParams.
    """
    weight = linear.weight
    _check(weight, count)
    u, v = (torch.linalg.qr(torch.randn(side, count, device=weight.device))[0] for side in weight.shape)
    with torch.no_grad():
        typical = (weight.square().sum() / min(weight.shape)).sqrt()
        found = Triplets(u, typical.expand(count), v.T)
        weight -= u @ (u.T @ weight)
        weight -= (weight @ v) @ v.T
        weight += found.product()
    return found


def cache() -> Path:
    """Where decompositions are kept."""
    return Path(torch.hub.get_dir()) / "decompositions"


def _check(weight: Tensor, count: int) -> None:
    if count > min(weight.shape):
        raise BadParams(
            f"expected at most {min(weight.shape)} singular triplets of a layer of {weight.shape[0]} x {weight.shape[1]}, "
            f"found {count} to be learned. Lower `subspaces` or `rank`."
        )


def _smallest(weight: Tensor, count: int) -> Triplets:
    u, s, v = torch.linalg.svd(weight.double(), full_matrices=False)
    u, s, v = u[:, -count:], s[-count:], v[-count:]
    sign = u.gather(0, u.abs().argmax(dim=0, keepdim=True)).sign()
    return Triplets((u * sign).to(weight), s.to(weight), (v * sign.T).to(weight))


def _digest(weight: Tensor) -> str:
    content = hashlib.sha256(f"{weight.dtype} {tuple(weight.shape)} ".encode())
    content.update(weight.contiguous().numpy().tobytes())
    return content.hexdigest()


def _read(path: Path, weight: Tensor, count: int) -> Triplets | None:
    """What is kept at `path`, or None where nothing is or, with a notice, where it is not what it should be."""
    if not path.is_file():
        return None
    try:
        found = Triplets(**load_file(path))
        fault = _fault(found, weight, count)
    except (OSError, SafetensorError, TypeError) as unreadable:
        fault = str(unreadable)
    if fault:
        warnings.warn(
            f"expected {count} singular triplets in '{path}', found {fault}. They are computed again.", stacklevel=2
        )
        return None
    return found


def _fault(found: Triplets, weight: Tensor, count: int) -> str:
    """What is wrong with triplets said to be of `weight`; "" where nothing is."""
    rows, columns = weight.shape
    if (found.u.shape, found.s.shape, found.v.shape) != ((rows, count), (count,), (count, columns)):
        return f"shapes {tuple(found.u.shape)}, {tuple(found.s.shape)}, {tuple(found.v.shape)}"
    gap = (weight @ found.v.T - found.u * found.s).norm() / weight.norm()
    bend = (found.v @ found.v.T - torch.eye(count)).norm()
    return "" if gap < TOLERANCE and bend < TOLERANCE else f"those of another weight (off by {max(gap, bend):.1e})"


def _keep(path: Path, triplets: Triplets) -> None:
    """Write so that a reader finds a whole file or none; a cache that cannot be written costs a notice."""
    half = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            half.write_bytes(save({name: value.contiguous() for name, value in vars(triplets).items()}))
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
    except OSError as fault:
        warnings.warn(
            f"expected to keep a decomposition in '{path}', found {fault}. The next start computes it again; "
            "make the folder writable, or name another in TORCH_HOME.",
            stacklevel=2,
        )


def _dealt(count: int, subspaces: int) -> Tensor:
    """Places (K, count / K) of triplets: dealt to and fro, so that every subspace gets about the same energy."""
    rows = torch.arange(count, device="cpu").reshape(-1, subspaces)
    rows[1::2] = rows[1::2].flip(1)
    return rows.T


def _slope(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _frozen(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone(), requires_grad=False)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A layer with these values, which it does not share."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")  # nothing is drawn that would be overwritten
    layer.weight, layer.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    return layer
