"""Alignment: landmarks come to lie on the template, and nothing is made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.faces import alignment
from components.faces.detection import Frame, largest
from components.faces.detection.yunet import YuNet

COLOURS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]]


def turned(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """The template of 256 px, turned, scaled and shifted: the landmarks of some upright or tilted face."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (alignment.template(256, 1.3) - 128) @ (scale * rotation).T + shift


@pytest.mark.parametrize("degrees", [0, 30, -75, 180])
@pytest.mark.parametrize("scale", [0.3, 1, 4])
def test_every_landmark_of_the_frame_is_found_at_its_place_in_the_crop(
    grey: Callable[..., np.ndarray], degrees: float, scale: float
) -> None:
    landmarks = turned(degrees, scale, (600, 500))
    crop, places = alignment.align(grey(128, landmarks, size=(1000, 1200)), landmarks, 256, 1.3)
    np.testing.assert_allclose(places, alignment.template(256, 1.3), atol=1e-6)
    assert crop.shape == (256, 256, 3)
    for (x, y), colour in zip(places, COLOURS, strict=True):
        np.testing.assert_allclose(crop[round(y), round(x)], colour, atol=20 if scale < 4 else 110)


def test_a_large_face_is_averaged_before_it_is_sampled() -> None:
    stripes = np.zeros((1600, 1600, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the crop can show
    crop, _ = alignment.align(stripes, turned(0, 5, (800, 800)), 256, 1.3)
    np.testing.assert_allclose(crop[20:-20, 20:-20], 128, atol=16)  # sampled alone: 0 or 255


def test_averaging_does_not_move_the_face() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 1601)[:1600, None], (1600, 1600)).astype(np.uint8)
    frame = np.stack([ramp, ramp.T, ramp], axis=2)
    landmarks = turned(17, 3.7, (800, 800))
    crop, _ = alignment.align(frame, landmarks, 256, 1.3)
    matrix = alignment.similarity(landmarks, alignment.template(256, 1.3))
    grid = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).reshape(-1, 2).astype(float)
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    seen = alignment.move(inverse, grid).reshape(256, 256, 2)  # where each pixel of the crop lies in the frame
    np.testing.assert_allclose(crop[..., 0], seen[..., 1] * 255 / 1600, atol=1.5)
    np.testing.assert_allclose(crop[..., 1], seen[..., 0] * 255 / 1600, atol=1.5)


@pytest.mark.parametrize("degrees", [0, 30])
@pytest.mark.parametrize("scale", [0.5, 1, 4])
def test_a_mask_takes_the_path_of_its_frame(degrees: float, scale: float) -> None:
    landmarks = turned(degrees, scale, (600, 500))
    mask = np.zeros((1000, 1200), np.uint8)
    mask[400:520, 560:720] = 255
    crop, _ = alignment.align(np.repeat(mask[..., None], 3, axis=2), landmarks, 256, 1.3)
    small = alignment.align_mask(mask, landmarks, 256, 1.3)
    assert small.shape == (64, 64) and small.max() == 255
    cells = crop[..., 0].reshape(64, 4, 64, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(small, cells, atol=1)


def test_the_mask_of_a_frame_that_is_a_crop_already_tells_the_share_of_each_cell() -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[:, :37] = 255  # 18 cells of two pixels, and half of one
    small = alignment.align_mask(mask, np.full((5, 2), np.nan), 256, 1.3)
    np.testing.assert_array_equal(small, np.tile(np.repeat([255, 128, 0], [18, 1, 45]), (64, 1)))


def test_beyond_the_frame_the_crop_is_black() -> None:
    white = np.full((300, 300, 3), 255, np.uint8)
    crop, _ = alignment.align(white, turned(0, 1, (0, 128)), 256, 1.3)  # the middle of the face is on the left edge
    assert crop[:, :126].max() == 0
    assert crop[:, 130:].min() == 255


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    landmarks = turned(10, 1.5, (200, 200)) * [-1, 1]
    matrix = alignment.similarity(landmarks, alignment.template(256, 1.3))
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("landmarks", [np.full((5, 2), 7.0), np.full((5, 2), np.nan), np.full((5, 2), np.inf)])
def test_landmarks_that_fix_no_similarity_are_refused(landmarks: np.ndarray) -> None:
    with pytest.raises(ValueError, match="fix no similarity"):
        alignment.align(np.zeros((9, 9, 3), np.uint8), landmarks, 256, 1.3)


def test_a_wider_margin_shows_more_around_a_smaller_face() -> None:
    def face_px(margin: float) -> float:
        return float(np.ptp(alignment.template(256, margin)[:, 1]))

    assert face_px(1.0) == pytest.approx(1.3 * face_px(1.3))


@pytest.mark.parametrize("size", [(300, 300), (100, 100), (256, 256), (320, 200)])
def test_a_frame_that_is_a_crop_already_is_resized(size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), 90, np.uint8)
    resized = alignment.resize(frame, 256)
    assert resized.shape == (256, 256, 3)
    assert (resized == 90).all()


def test_published_crops_lie_on_our_template(real_data: Path) -> None:
    """Faces aligned by the GenD authors (RetinaFace, 1.3), found again by YuNet: the two differ by a few pixels."""
    detector = YuNet(real_data / "weights" / "face_detection_yunet.onnx", min_score=0.6, max_input_px=1280)
    template, shifts, scales = alignment.template(256, 1.3), [], []
    for file in sorted((real_data / "aligned_frames").rglob("*.png"))[::4]:
        (faces,) = detector.detect([Frame(file.name, 0, _read(file))])
        face = largest(faces)
        assert face is not None, file
        matrix = alignment.similarity(face.landmarks, template)
        scales.append(np.sqrt(np.linalg.det(matrix[:, :2])))
        shifts.append(face.landmarks.mean(0) - template.mean(0))
    assert np.abs(np.mean(shifts, 0)).max() < 3
    assert np.abs(shifts).max() < 8
    assert 0.95 < np.mean(scales) < 1.1


def _read(file: Path) -> np.ndarray:
    from components.faces import frames

    return next(frames.read(file, 1))[1]
