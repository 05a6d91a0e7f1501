"""How the small tower's weights came to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components.detectors.parts import clip
from components.detectors.parts.clip import disturbances, pretrain
from components.detectors.parts.clip.disturbances import KINDS, disturb
from components.lab.people import life, person
from components.lab.portraits import render

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return render(person(100_000), life(np.random.default_rng(0), 1)[0], 160).image


@every_kind
def test_every_disturbance_shows_and_keeps_the_shape(kind: str, picture: np.ndarray) -> None:
    before = picture.astype(np.float32)
    after = KINDS[kind](before.copy(), np.random.default_rng(1))
    assert after.shape == before.shape and np.isfinite(after).all()
    assert 0.5 < np.abs(after - before).mean() < 40


def test_a_picture_is_disturbed_where_it_is_said_and_nowhere_else(picture: np.ndarray) -> None:
    seen = set()
    for seed in range(60):
        disturbed = disturb(picture, np.random.default_rng(seed))
        anywhere = np.max([np.zeros(picture.shape[:2]), *disturbed.where.values()], axis=0)
        assert np.array_equal(disturbed.image[anywhere == 0], picture[anywhere == 0])
        assert bool(disturbed.where) == bool((disturbed.image != picture).any())
        seen |= set(disturbed.where)
    assert seen == set(KINDS)


def test_the_same_generator_disturbs_alike(picture: np.ndarray) -> None:
    first, second = (disturb(picture, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first.image, second.image) and first.where.keys() == second.where.keys()


def test_regions_are_of_all_sizes_within_the_picture() -> None:
    shares = [disturbances.region(160, np.random.default_rng(seed)).mean() for seed in range(80)]
    assert min(shares) > 0.01 and max(shares) == 1 and 0.05 < np.median(shares) < 0.6


def test_the_same_arguments_give_the_same_weights_which_the_tower_takes_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch_as_it_was: None
) -> None:
    monkeypatch.setattr(pretrain, "WHITENED", 16)
    records = [pretrain.pretrain(tmp_path / f"{name}.safetensors", people=4, steps=2, batch=4, seed=0) for name in "ab"]
    assert records[0]["sha256"] == records[1]["sha256"]
    assert records[0] == json.loads((tmp_path / "a.json").read_text())
    tower = clip.tower("small", pretrained=str(tmp_path / "a.safetensors"), sha256=records[0]["sha256"])
    stored = load_file(tmp_path / "a.safetensors")
    assert torch.equal(tower.conv1.weight, stored["conv1.weight"].float())
