"""Heat maps say where, between nothing and everything, and leave the detector as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from components import detectors
from components.detectors import Detection, Detector
from components.evaluation import explain
from components.params import Section


class BrightSpots(Detector):
    """Calls a face forged for its bright pixels, so that the right map is known."""

    Options = Section

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(sign))

    def forward(self, faces: Tensor) -> Detection:
        level = torch.nn.functional.avg_pool2d(faces, 4) * 1.0
        score = self.weight * level.mean(dim=(1, 2, 3))
        return Detection(torch.stack([-score, score], dim=1), score[:, None], (level,))


def spot() -> Tensor:
    faces = torch.zeros(1, 3, 32, 32)
    faces[:, :, 8:12, 20:24] = 1
    return faces


@pytest.mark.parametrize("name", detectors.names())
def test_heat_lies_between_nothing_and_everything(name: str) -> None:
    torch.manual_seed(0)
    detector = detectors.build(name, detectors.options(name, {"size": "tiny"}))
    heat = explain.heat_maps(detector, torch.rand(3, 3, 80, 80))
    assert heat.shape == (3, 80, 80) and heat.dtype == torch.float32
    assert heat.isfinite().all() and heat.min() >= 0 and heat.max() <= 1


@pytest.mark.parametrize("name", detectors.names())
def test_explaining_leaves_mode_gradients_and_statistics_alone(name: str) -> None:
    detector = detectors.build(name, detectors.options(name, {"size": "tiny"})).train()
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    with torch.no_grad():
        explain.heat_maps(detector, torch.rand(2, 3, 96, 96))
    assert detector.training and all(p.grad is None for p in detector.parameters())
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())


def test_the_place_that_speaks_for_forged_is_the_hottest() -> None:
    heat = explain.heat_maps(BrightSpots(), spot())[0]
    assert divmod(int(heat.argmax()), 32)[0] in range(8, 12) and int(heat.argmax()) % 32 in range(20, 24)
    assert heat.max() == 1 and heat[:4].max() == 0


def test_a_frozen_detector_can_be_explained() -> None:
    frozen = BrightSpots().requires_grad_(False)
    torch.testing.assert_close(explain.heat_maps(frozen, spot()), explain.heat_maps(BrightSpots(), spot()))


def test_a_face_nothing_speaks_against_stays_cold() -> None:
    assert not explain.heat_maps(BrightSpots(sign=-1.0), spot()).any()


def test_cold_places_keep_the_image_and_hot_ones_turn_red() -> None:
    image = np.full((4, 4, 3), 200, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    shown = explain.overlay(image, heat)
    assert shown.dtype == np.uint8 and (shown[1:] == 200).all()
    red, green, blue = (int(channel) for channel in shown[0, 0])
    assert red > 150 and green < 110 and blue < 110
