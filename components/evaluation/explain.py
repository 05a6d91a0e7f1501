"""Where a detector looked: Grad-CAM of the forged logit, for every detector through its `Detection` alone.

Source   Selvaraju et al. 2017 (Grad-CAM), Eq. 1 and 2.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from components.detectors import Detector
from components.vocabulary import FORGED


def heat_maps(detector: Detector, faces: Tensor) -> Tensor:
    """What spoke for "forged" in the last level, (B, H, W) float32 in [0, 1], the strongest place of a face being 1.

    faces (B, 3, H, W) in [0, 1]. A face in which nothing speaks for "forged" gets zeros.
    """
    heat = heats(detector, faces)
    return heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(heat.dtype).tiny)


def heats(detector: Detector, faces: Tensor) -> Tensor:
    """The same in the unit of the logit, (B, H, W) float32 from 0: heats of several faces compare.

        heat = ReLU( sum_c alpha_c A_c ),   alpha_c = mean over positions of d logit_forged / d A_c

    The detector answers in evaluation mode, keeps its mode and its gradients, and may be frozen.
    """
    maps, slopes = _last_level(detector, faces)
    alpha = slopes.mean(dim=(2, 3), keepdim=True)
    heat = F.relu((alpha * maps).sum(dim=1, keepdim=True))
    return F.interpolate(heat, faces.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)


def overlay(image: NDArray[np.uint8], heat: NDArray[np.float32], *, strength: float = 0.5) -> NDArray[np.uint8]:
    """`image` (H, W, 3) RGB under the jet colours of `heat` (H, W) in [0, 1]; cold places keep the image as it is."""
    jet = cv2.cvtColor(cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    share = strength * heat[..., None]
    return np.rint((1 - share) * image + share * jet).astype(np.uint8)


def _last_level(detector: Detector, faces: Tensor) -> tuple[Tensor, Tensor]:
    """The last level's maps and the slopes of the forged logit at them, both (B, C, h, w) float32."""
    training = detector.training
    detector.eval()
    try:
        with torch.enable_grad():
            # A frozen detector builds no graph of its own; a face that wants a gradient makes it.
            detection = detector(faces.detach().requires_grad_())
            maps = detection.levels[-1]
            (slopes,) = torch.autograd.grad(detection.logits[:, FORGED].sum(), maps)
    finally:
        detector.train(training)
    return maps.detach().float(), slopes.float()
