from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.errors import MissingWeights, UnknownName
from components.lab.face_frame import frame_coordinates, side_of, similarity
from components.lab.forgeries import FAMILIES, family
from components.lab.people import Moment, person
from components.lab.photographs import Finder, photographs
from components.lab.picture import Picture, Portrait
from components.lab.portraits import render

LOCAL = sorted(set(FAMILIES) - {"generated"})


def sitter(number: int) -> Portrait:
    return render(person(number), Moment.draw(np.random.default_rng([7, number])), 160)


def forged(name: str, target: Portrait, donor: Portrait, seed: int = 0) -> Portrait:
    return family(name)(target, donor, np.random.default_rng(seed))


def change(before: Picture, after: Picture) -> np.ndarray:
    return np.abs(before.astype(int) - after).max(axis=2)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_forgery_is_repeatable_and_changes_the_face(name: str) -> None:
    target, donor = sitter(0), sitter(1)
    once, again = forged(name, target, donor), forged(name, target, donor)
    assert once.image.tobytes() == again.image.tobytes()
    x, y = frame_coordinates(target)
    inside = (np.abs(x - 0.5) < 0.15) & (np.abs(y - 0.6) < 0.2)
    assert change(target.image, once.image)[inside].mean() > 2


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_forgery_leaves_what_is_not_the_face_untouched(name: str) -> None:
    target = sitter(2)
    x, y = frame_coordinates(target)
    outside = (np.abs(x - 0.5) > 0.3) | (np.abs(y - 0.545) > 0.36)
    assert outside.mean() > 0.5
    assert not change(target.image, forged(name, target, sitter(3)).image)[outside].any()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_forgery_says_which_pixels_it_touched(name: str) -> None:
    target = sitter(2)
    fake = forged(name, target, sitter(3))
    changed = change(target.image, fake.image) > 0
    assert fake.mask is not None and fake.mask.dtype == bool and fake.mask.shape == changed.shape
    assert not changed[~fake.mask].any()
    assert changed[fake.mask].mean() > 0.8
    assert fake.mask.all() == (name == "generated")
    assert target.mask is None


@pytest.mark.parametrize("name", FAMILIES)
def test_a_forged_face_keeps_its_size_and_its_landmarks_inside(name: str) -> None:
    target = sitter(4)
    fake = forged(name, target, sitter(5))
    assert fake.image.shape == target.image.shape and fake.image.dtype == np.uint8
    assert (fake.landmarks > 0).all() and (fake.landmarks < 160).all()
    assert np.abs(fake.landmarks - target.landmarks).max() < 0.08 * side_of(target)


def test_only_the_generated_face_has_a_spectrum_with_peaks_at_a_period_of_four_pixels() -> None:
    target, donor = sitter(0), sitter(1)

    def peak(image: Picture) -> float:
        spectrum = np.abs(np.fft.rfft2(image.mean(axis=2) - image.mean()))
        around = np.delete(spectrum[:, 36:45].ravel(), 4)
        return float(spectrum[0, 40] / np.median(around))

    peaks = {name: peak(forged(name, target, donor).image) for name in FAMILIES}
    assert max(peaks, key=lambda name: peaks[name]) == "generated"
    assert peaks["generated"] > 8


def test_the_swap_is_softer_than_the_face_it_replaced() -> None:
    target, donor = sitter(6), sitter(7)
    x, y = frame_coordinates(target)
    cheeks = (np.abs(np.abs(x - 0.5) - 0.12) < 0.05) & (np.abs(y - 0.6) < 0.06)

    def sharpness(image: Picture) -> float:
        grey = image.astype(float).mean(axis=2)
        return float(np.abs(np.diff(grey, 2, axis=0, append=0, prepend=0))[cheeks].mean())

    assert sharpness(forged("identity_swap", target, donor).image) < 0.8 * sharpness(target.image)
    assert sharpness(forged("mesh_swap", target, donor).image) > sharpness(forged("identity_swap", target, donor).image)


def test_a_similarity_recovers_the_one_that_moved_the_points() -> None:
    points = np.random.default_rng(0).normal(size=(5, 2))
    matrix = np.array([[1.2, -0.5, 3.0], [0.5, 1.2, -1.0]])
    np.testing.assert_allclose(similarity(points, points @ matrix[:, :2].T + matrix[:, 2]), matrix, atol=1e-12)


def test_an_unknown_family_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'mesh_swap'"):
        family("mesh_swop")


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"nothing\.onnx"):
        Finder(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("name", FAMILIES)
def test_photographs_are_forged_like_rendered_portraits(name: str, real_data: Path) -> None:
    finder = Finder(real_data / "weights" / "face_detection_yunet.onnx")
    found = photographs(real_data / "portraits" / "lfw", finder, people=2, per_person=1, first_person=0)
    target, donor = (portraits[0] for _, portraits in found)
    fake = forged(name, target, donor)
    x, y = frame_coordinates(target)
    inside = (np.abs(x - 0.5) < 0.15) & (np.abs(y - 0.6) < 0.2)
    assert fake.image.shape == target.image.shape
    assert change(target.image, fake.image)[inside].mean() > 2
