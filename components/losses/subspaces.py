"""What keeps a layer's artifact subspaces apart from its principal one, and its spectrum where pre-training left it (MASM).

    W = U diag(S) V,   of which the m smallest triplets learn and the rest, W_p = U_p diag(S_p) V_p, is frozen

Source   MASM names both constraints and publishes neither form; these are ours. Effort (SCLBD/DeepfakeBench @ 8a4a7bf5e966)
         penalises U U^T - I instead, which for a thin U is large even where U is perfect.
Shapes   Layers of one shape may be stacked in leading dimensions, which the results keep: (..., out, m) -> (...).
"""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonality(U: Tensor, V: Tensor, U_0: Tensor, V_0: Tensor) -> Tensor:
    """Artifact directions stay orthonormal, and orthogonal to the principal ones.

        L = |U^T U - I|^2 + |V V^T - I|^2 + |U_p^T U|^2 + |V_p V^T|^2        (squared Frobenius norms)

    U, U_0 (..., out, m) and V, V_0 (..., m, in): the directions now, and as they were split off. Returns (...).
    Differs: |U_p^T U|^2 = |U - U_0 U_0^T U|^2, because U_0 spans what U_p leaves over: m columns to keep rather than all the
    others. Where W is not square, its longer side has directions that no triplet uses; those are forbidden too.
    """
    with torch.autocast(U.device.type, enabled=False):
        identity = torch.eye(U.shape[-1], dtype=U.dtype, device=U.device)
        departures = U.mT @ U - identity, V @ V.mT - identity, U - U_0 @ (U_0.mT @ U), V - (V @ V_0.mT) @ V_0
        return torch.stack([departure.square().sum(dim=(-2, -1)) for departure in departures]).sum(dim=0)


def spectral_consistency(W_pV: Tensor, U: Tensor, s: Tensor, V: Tensor, s_0: Tensor, energy: Tensor) -> Tensor:
    """The energy of the layer and of each subspace stays what pre-training gave it.

        L = | |W_hat|^2 - |W|^2 | / |W|^2  +  mean_k | |s_k| - |s_k^0| | / (|S| / sqrt(n)),    W_hat = W_p + U diag(s) V

    W_pV (..., out, m) = W_p V^T; U (..., out, m); V (..., m, in); s, s_0 (..., K, m / K), whose rows are the subspaces in the
    order of U's columns; energy (...) = |W|^2 = |S|^2; n = min(out, in), so that the second divisor is a layer's typical
    singular value: the smallest ones are too small to divide by. Returns (...).
    Differs: W_hat is never formed. |W_hat|^2 - |W|^2 = 2 <W_p, R> + |R|^2 - |s^0|^2 with R = U diag(s) V.
    """
    with torch.autocast(U.device.type, enabled=False):
        scale = s.flatten(-2)
        across = ((U * W_pV).sum(dim=-2) * scale).sum(dim=-1)  # <W_p, R>
        own = ((U.mT @ U) * (V @ V.mT) * scale[..., None] * scale[..., None, :]).sum(dim=(-2, -1))  # |R|^2
        gained = (2 * across + own - s_0.square().sum(dim=(-2, -1))) / energy
        typical = (energy / min(U.shape[-2], V.shape[-1])).sqrt()
        drift = (s.norm(dim=-1) - s_0.norm(dim=-1)) / typical[..., None]
        return gained.abs() + drift.abs().mean(dim=-1)
