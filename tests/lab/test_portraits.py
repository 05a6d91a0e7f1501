from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from components.lab.people import Moment, Pose, life, person
from components.lab.picture import Portrait
from components.lab.portraits import render

SIZE_PX = 160


def portrait(number: int, moment: Moment | None = None) -> Portrait:
    return render(person(number), moment or Moment.draw(np.random.default_rng([5, number])), SIZE_PX)


def test_the_same_person_in_the_same_moment_gives_the_same_pixels() -> None:
    assert portrait(3).image.tobytes() == portrait(3).image.tobytes()


def test_two_people_in_the_same_moment_look_different_and_one_person_in_two_moments_too() -> None:
    one, other = portrait(0, Moment()).image, portrait(1, Moment()).image
    assert np.abs(one.astype(int) - other).mean() > 4
    assert np.abs(one.astype(int) - portrait(0).image).mean() > 4


def test_an_inhabitant_is_the_same_person_whenever_asked_for() -> None:
    assert person(12) == person(12) != person(13)


@pytest.mark.parametrize("number", range(8))
def test_landmarks_lie_inside_the_image_with_eyes_above_nose_above_mouth(number: int) -> None:
    seen = portrait(number)
    assert seen.image.shape == (SIZE_PX, SIZE_PX, 3) and seen.image.dtype == np.uint8
    assert seen.landmarks.shape == (5, 2)
    assert (seen.landmarks > 0).all() and (seen.landmarks < SIZE_PX).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = seen.landmarks
    assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_turning_the_head_moves_the_nose_farther_than_the_eyes() -> None:
    ahead, turned = (portrait(0, Moment(pose=Pose(yaw_deg=yaw))).landmarks for yaw in (0, 15))
    moved = turned[:, 0] - ahead[:, 0]
    assert moved[2] > moved[:2].max() > 0


def test_a_clip_moves_but_stays_in_one_place_and_light() -> None:
    moments = life(np.random.default_rng(0), 6)
    assert len({m.pose for m in moments}) == 6
    assert len({(m.scene_seed, m.light) for m in moments}) == 1


def test_a_real_detector_takes_the_portraits_for_faces(real_data: Path) -> None:
    """At least 98 of 100 with a score of 0.85, and both eyes within 6 % of the face's width."""
    weights = real_data / "weights" / "face_detection_yunet.onnx"
    if not weights.is_file():
        pytest.skip(f"no YuNet weights at '{weights}'")
    yunet = cv2.FaceDetectorYN.create(str(weights), "", (SIZE_PX, SIZE_PX), 0.5)
    assert sum(_is_found(yunet, portrait(number)) for number in range(100)) >= 98


def _is_found(yunet: cv2.FaceDetectorYN, seen: Portrait) -> bool:
    _, faces = yunet.detect(np.ascontiguousarray(seen.image[..., ::-1]))
    if faces is None:
        return False
    face = faces[np.argmax(faces[:, 14])]
    off = np.linalg.norm(face[4:8].reshape(2, 2) - seen.landmarks[:2], axis=1) / face[2]
    return bool(face[14] >= 0.85 and off.max() <= 0.06)
