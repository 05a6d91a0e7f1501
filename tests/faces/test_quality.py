"""How good a face is, in numbers that mean what they say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from components.faces import quality
from components.faces.alignment import template

BOX = np.array([10.0, 20.0, 74.0, 110.0])


def seen(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """The landmarks of the mean head, turned, then tilted up, then rolled; from far away."""
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return (quality.HEAD_MM @ (tilt @ turn @ nod).T)[:, :2] * 1.7 + 200


@pytest.mark.parametrize("pose", [(0, 0, 0), (35, 0, 0), (0, 20, 0), (0, 0, 30), (-40, 15, -10)])
def test_the_pose_of_a_turned_head_is_found(pose: tuple[float, float, float]) -> None:
    assert quality.pose_deg(seen(*pose)) == pytest.approx(pose, abs=0.1)


def test_a_nose_to_the_right_is_a_turn_to_the_right_and_a_low_right_eye_a_clockwise_tilt() -> None:
    points = template(256, 1.3)
    points[2, 0] += 20
    assert quality.pose_deg(points)[0] > 10
    points = template(256, 1.3)
    points[[1, 4], 1] += 20
    assert quality.pose_deg(points)[2] > 5


def test_an_upright_face_looks_nearly_straight_ahead() -> None:
    assert np.abs(quality.pose_deg(template(256, 1.3))).max() < 12


def test_a_blurred_face_is_less_sharp_and_a_dark_one_less_bright() -> None:
    face = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    plain, blurred, dark = (
        quality.measure(image, template(64, 1.3), BOX) for image in (face, cv2.GaussianBlur(face, (0, 0), 2), face // 2)
    )
    assert plain["sharpness"] > 10 * blurred["sharpness"]
    assert plain["brightness"] == pytest.approx(2 * dark["brightness"], rel=0.05)
    assert plain["face_px"] == 90


def test_what_is_not_known_has_no_pose() -> None:
    measured = quality.measure(np.zeros((64, 64, 3), np.uint8), np.full((5, 2), np.nan), BOX)
    assert np.isnan([measured[name] for name in ("yaw_deg", "pitch_deg", "roll_deg")]).all()
    assert measured["brightness"] == 0
