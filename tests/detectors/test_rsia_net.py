"""RSIA-Net's own ideas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from components import detectors
from components.detectors import Detector
from components.detectors.rsia_net import SFIA, BandStem, Dilated
from components.errors import BadParams
from components.tasks.dataset import Batch


def tiny(**options: object) -> Detector:
    return detectors.build("rsia_net", detectors.options("rsia_net", {"size": "tiny", **options}))


@pytest.mark.slow
def test_the_paper_size_has_the_parameters_of_the_design_all_trainable() -> None:
    network = detectors.build("rsia_net", detectors.options("rsia_net", {"pretrained": ""}))
    assert sum(p.numel() for p in network.parameters()) == 36_844_513
    assert all(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        detection = network.eval()(torch.rand(1, 3, 256, 256))
    assert [tuple(level.shape[1:]) for level in detection.levels] == [
        (128, 64, 64),
        (128, 32, 32),
        (128, 16, 16),
        (128, 8, 8),
    ]


def test_a_trunk_of_timm_takes_part_by_its_name() -> None:
    detection = tiny(trunk="resnet18", width=16)(torch.rand(2, 3, 96, 96))
    assert [tuple(level.shape[1:]) for level in detection.levels] == [
        (16, 24, 24),
        (16, 12, 12),
        (16, 6, 6),
        (16, 3, 3),
    ]


def test_both_domains_have_a_map_at_every_level() -> None:
    detection = tiny()(torch.rand(2, 3, 96, 96))
    assert set(detection.domains) == {"spatial", "frequency"}
    assert all(
        [m.shape[2:] for m in maps] == [f.shape[2:] for f in detection.levels] for maps in detection.domains.values()
    )


def test_attention_weighs_positions_one_on_average() -> None:
    interact = SFIA(8, 8)
    constant = torch.ones(2, 8, 5, 5)  # everywhere alike: every weight is 1
    s, f = interact(constant, 3 * constant)
    torch.testing.assert_close(s, constant + 0.1 * 3 * constant)
    torch.testing.assert_close(f, 3 * constant + 0.1 * constant)


@pytest.mark.parametrize("side", [2, 3, 6, 12])
@pytest.mark.parametrize("rate", [3, 5, 7])
def test_a_dilated_convolution_on_a_small_map_is_still_that_convolution(rate: int, side: int) -> None:
    scale, maps = Dilated(4, rate), torch.rand(2, 4, side, side)
    expected = F.conv2d(maps, scale.weight, scale.bias, padding=rate, dilation=rate, groups=4)
    torch.testing.assert_close(scale(maps), expected)


def test_the_stem_mixes_bands_as_a_pointwise_convolution_would() -> None:
    stem, bands = BandStem(), torch.rand(2, 3, 3, 8, 8)
    expected = F.conv2d(bands.flatten(1, 2), stem.mix.weight[:, :, None, None], stem.mix.bias)
    torch.testing.assert_close(stem(bands), expected)


def test_without_weight_the_contrast_is_not_computed() -> None:
    network = tiny(hscl_weight=0)
    batch = Batch.of(torch.rand(2, 3, 96, 96), torch.tensor([0, 1]))
    assert set(network.losses(network(batch.faces), batch)) == {"cross_entropy"}


def test_the_contrast_is_scaled_by_its_weight() -> None:
    network = tiny(hscl_weight=0.1).eval()
    batch = Batch.of(torch.rand(4, 3, 96, 96), torch.tensor([0, 1, 0, 1]))
    detection = network(batch.faces)
    once = network.losses(detection, batch)["hscl"]
    heavier = tiny(hscl_weight=0.3)
    heavier.load_state_dict(network.state_dict())
    torch.testing.assert_close(heavier.losses(detection, batch)["hscl"], 3 * once)


@pytest.mark.parametrize("side_px", [100, 64])
def test_a_side_that_stages_cannot_halve_is_refused(side_px: int) -> None:
    with pytest.raises(BadParams, match="input_px"):
        detectors.options("rsia_net", {"input_px": side_px})
