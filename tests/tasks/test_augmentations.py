"""What may be done to a training face: little, by a generator's leave, and never beyond black and white."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from components.errors import UnknownName
from components.tasks import augmentations
from components.tasks.augmentations import Change, augment, augmented
from components.tasks.dataset import Batch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(n: int = 8, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=generator(seed))


def test_half_of_the_faces_are_mirrored() -> None:
    before = faces(4000)
    after = augment(before, {"flip": 0.5}, generator())
    mirrored = (after == before.flip(-1)).flatten(1).all(1)
    kept = (after == before).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 0.46 < mirrored.float().mean() < 0.54


@pytest.mark.parametrize("name", augmentations.KNOWN)
def test_the_generator_alone_decides(name: str) -> None:
    before = faces()
    assert torch.equal(augment(before, {name: 0.5}, generator(3)), augment(before, {name: 0.5}, generator(3)))
    assert not torch.equal(augment(before, {name: 0.5}, generator(3)), augment(before, {name: 0.5}, generator(4)))


@pytest.mark.parametrize("name", augmentations.KNOWN)
def test_shape_type_and_range_stay_and_the_given_faces_are_left_alone(name: str) -> None:
    before = faces()
    copy = before.clone()
    after = augment(before, {name: 1}, generator())
    assert torch.equal(before, copy)
    assert after.shape == before.shape and after.dtype == before.dtype
    assert after.min() >= 0 and after.max() <= 1


def test_brightness_and_contrast_stay_within_ten_percent() -> None:
    before = faces(200) * 0.4 + 0.3  # far from black and white, so that nothing is clipped
    after = augment(before, {"brightness_contrast": 1}, generator())
    shift = after.mean((1, 2, 3)) - before.mean((1, 2, 3))
    gain = after.std((1, 2, 3)) / before.std((1, 2, 3))
    assert shift.abs().max() <= 0.1 + 1e-5 and shift.abs().max() > 0.08
    assert (gain - 1).abs().max() <= 0.1 + 1e-5 and (gain - 1).abs().max() > 0.08


def test_augmentations_follow_one_another_as_named() -> None:
    one = generator(5)
    expected = augment(augment(faces(), {"flip": 0.5}, one), {"jpeg": 0.5}, one)
    assert torch.equal(augment(faces(), {"flip": 0.5, "jpeg": 0.5}, generator(5)), expected)
    assert torch.equal(augment(faces(), {}, generator()), faces())


@pytest.mark.parametrize("name", augmentations.KNOWN)
def test_a_face_that_is_not_chosen_stays_as_it_was(name: str) -> None:
    before = faces(40)
    after = augment(before, {name: 0.5}, generator())
    kept = (after == before).flatten(1).all(1)
    assert 8 < kept.sum() < 32
    assert torch.equal(augment(before, {name: 0}, generator()), before)


def test_a_turned_face_keeps_its_middle() -> None:
    dot = torch.zeros(20, 3, 15, 15)
    dot[:, :, 7, 7] = 1
    after = augment(dot, {"rotate": 1}, generator())
    assert torch.equal(after.amax(dim=1).flatten(1).argmax(dim=1), torch.full((20,), 7 * 15 + 7))


# masks

MOVING = sorted(name for name, augmentation in augmentations.KNOWN.items() if augmentation.moves)
EVERYTHING = dict.fromkeys(augmentations.KNOWN, 0.5)


def painted(n: int = 12, side: int = 32) -> Batch:
    """Faces that are white where they were manipulated, and black elsewhere."""
    masks = torch.zeros(n, 1, side, side)
    for i in range(n):
        masks[i, :, 4 + i % 3 : 14 + i, 6:20] = 1
    return replace(Batch.of(masks.expand(-1, 3, -1, -1).clone(), torch.ones(n, dtype=torch.long)), masks=masks)


@pytest.mark.parametrize("name", MOVING)
def test_a_mask_moves_with_its_face(name: str) -> None:
    before = painted()
    after = augmented(before, {name: 0.5}, generator(3))
    assert after.masks is not None and before.masks is not None
    torch.testing.assert_close(after.faces[:, :1], after.masks)
    moved = (after.masks != before.masks).flatten(1).any(1)
    assert 2 < moved.sum() < 10
    assert after.masks.shape == before.masks.shape and after.masks.min() >= 0 and after.masks.max() <= 1


@pytest.mark.parametrize("name", sorted(set(augmentations.KNOWN) - set(MOVING)))
def test_what_does_not_move_a_face_leaves_its_mask_alone(name: str) -> None:
    before = painted()
    after = augmented(before, {name: 1}, generator(3))
    assert after.masks is not None and before.masks is not None
    assert torch.equal(after.masks, before.masks)


def test_masks_follow_many_moves_in_a_row() -> None:
    after = augmented(painted(), dict.fromkeys(MOVING, 0.8), generator(3))
    assert after.masks is not None
    torch.testing.assert_close(after.faces[:, :1], after.masks)


def test_faces_are_what_they_would_be_without_masks() -> None:
    batch = replace(painted(), faces=faces(12).repeat(1, 1, 2, 2))
    one, other = generator(4), generator(4)
    with_masks = augmented(batch, EVERYTHING, one)
    without = augmented(replace(batch, masks=None), EVERYTHING, other)
    assert without.masks is None
    assert torch.equal(with_masks.faces, without.faces)
    assert torch.equal(with_masks.faces, augment(batch.faces, EVERYTHING, generator(4)))
    assert torch.equal(one.get_state(), other.get_state())


def test_a_mask_that_nobody_knows_stays_unknown() -> None:
    before = painted()
    assert before.masks is not None
    before.masks[::3] = torch.nan
    after = augmented(before, EVERYTHING, generator(3))
    assert after.masks is not None
    assert torch.equal(after.masks.isnan(), before.masks.isnan())
    assert torch.equal(before.masks.isnan().flatten(1).all(1).nonzero().flatten(), torch.arange(0, 12, 3))


def test_an_unknown_augmentation_is_refused_with_the_nearest_known() -> None:
    with pytest.raises(UnknownName, match=r"no augmentation 'flop'; known: affine, .*'flip'\?"):
        augment(faces(), {"flop": 1}, generator())


@pytest.mark.parametrize("channel", range(3))
def test_jpeg_takes_red_for_red_and_blue_for_blue(channel: int) -> None:
    """Of stripes a pixel wide only luma is left, to which green gives the most and blue the least."""
    striped = torch.zeros(1, 3, 16, 16)
    striped[:, channel, :, ::2] = 1
    change = Change("jpeg", torch.ones(1, dtype=torch.bool), {"quality": torch.tensor([90])})
    after = augmentations.as_bytes(augmentations.done(striped, [change])).float()
    kept = after[:, channel, :, ::2].mean() - after[:, channel, :, 1::2].mean()
    luma = (0.299, 0.587, 0.114)[channel]
    assert abs(float(kept) / 255 - luma) < 0.03
