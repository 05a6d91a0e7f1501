"""Images seen by frequency: the orthonormal cosine transform as matrix products, and band images.

Source   Ahmed, Natarajan and Rao 1974 (DCT-II). Matrix products rather than an FFT because they are differentiable,
         deterministic on every device, and fast at the sizes of face crops.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CUTOFFS = (1 / 16, 1 / 8)  # upper ends of the low and the middle band, as shares of the largest u + v


def dct_matrix(n: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """D (n, n), whose rows are the n orthonormal cosines.

    D[0, j] = sqrt(1/n),   D[k, j] = sqrt(2/n) cos(pi (2j + 1) k / (2n))
    """
    k, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    rows = math.sqrt(2 / n) * torch.cos(math.pi * (2 * j + 1) * k / (2 * n))
    rows[0] = math.sqrt(1 / n)
    return rows.to(dtype)


def dct2(images: Tensor) -> Tensor:
    """Coefficients D_H X D_W^T of images X (..., H, W); the zero frequency comes first."""
    H, W = images.shape[-2:]
    return dct_matrix(H, dtype=images.dtype) @ images @ dct_matrix(W, dtype=images.dtype).T


def idct2(coefficients: Tensor) -> Tensor:
    """Images D_H^T Y D_W of coefficients Y (..., H, W)."""
    H, W = coefficients.shape[-2:]
    return dct_matrix(H, dtype=coefficients.dtype).T @ coefficients @ dct_matrix(W, dtype=coefficients.dtype)


def band_masks(height: int, width: int, cutoffs: tuple[float, ...] = CUTOFFS) -> Tensor:
    """Masks (len(cutoffs) + 1, H, W), bool, from low to high; every coefficient is in exactly one.

    s = (u + v) / (H + W - 2);   band b holds cutoffs[b-1] <= s < cutoffs[b], the last one the rest
    """
    u, v = torch.arange(height, dtype=torch.float64)[:, None], torch.arange(width, dtype=torch.float64)
    share = (u + v) / max(height + width - 2, 1)
    band = (share[..., None] >= torch.tensor(cutoffs, dtype=torch.float64)).sum(dim=-1)
    return torch.stack([band == b for b in range(len(cutoffs) + 1)])


class Bands(torch.nn.Module):
    """Splits images (B, C, H, W) into band images (B, bands, C, H, W), lowest band first; they add up to the image.

        band_b = D_H^T (mask_b * (D_H X D_W^T)) D_W,      the last band = X - the others

    Differs: only the rows of D that the lower bands can reach are multiplied, and the last band is what remains; the
    same values for a fraction of the products.
    """

    D_H: Tensor
    D_W: Tensor
    masks: Tensor

    def __init__(
        self, height_px: int, width_px: int, cutoffs: tuple[float, ...] = CUTOFFS, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        masks = band_masks(height_px, width_px, cutoffs)[:-1]
        reach = masks.any(dim=0)  # the lower bands fill a corner of the coefficients
        rows, columns = int(reach.any(dim=1).sum()), int(reach.any(dim=0).sum())
        # Formulas, not weights: every process makes them anew, so they are not saved.
        self.register_buffer("D_H", dct_matrix(height_px, dtype=dtype)[:rows].clone(), persistent=False)
        self.register_buffer("D_W", dct_matrix(width_px, dtype=dtype)[:columns].clone(), persistent=False)
        self.register_buffer("masks", masks[:, :rows, :columns].to(dtype), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):  # half precision would leak one band into another
            images = images.to(self.D_H.dtype)
            coefficients = self.D_H @ images @ self.D_W.T
            lower = self.D_H.T @ (self.masks[:, None] * coefficients[:, None]) @ self.D_W  # (B, bands - 1, C, H, W)
            return torch.cat([lower, (images - lower.sum(dim=1))[:, None]], dim=1)
