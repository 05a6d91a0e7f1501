"""A clip that is one face of a picture, or some frames of a video; and the face that a mask says was forged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.archives.fragments import face, frames, part_of
from components.faces.detection import Face, FaceDetector, Frame, at
from components.faces.extraction import NO_FACE, OK, extract
from components.params import CropOptions

FIVE = np.array([[10, 12], [22, 12], [16, 18], [11, 24], [21, 24]], np.float64)
LARGE, SMALL = (0, 0, 60, 60), (100, 100, 32, 32)  # left, top, width, height
PARAMS = CropOptions(frames=4, size_px=64)


class TwoPeople(FaceDetector):
    """Sees a large face at the left and a small one at the right of every frame."""

    name = "two_people"
    weights_digest = None

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        return [[self._face(*LARGE), self._face(*SMALL)] for _ in frames]

    def _face(self, left: int, top: int, width: int, height: int) -> Face:
        points = FIVE * (width / 32) + (left, top)
        return Face(np.array([left, top, left + width, top + height], np.float64), points, 0.9)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((160, 160, 3), np.uint8)).save(path)
    return path


def test_a_path_tells_which_part_of_a_file_it_means() -> None:
    assert part_of("a/b.jpg" + face(1.2, -0.4, 30.6, 40)).box == (1, 0, 31, 40)
    assert part_of("a/b.mp4" + frames(3, 9)).frames == (3, 9)
    assert part_of("a/b.mp4#frames=3-9").file == "a/b.mp4"
    assert part_of("a/take#1.mp4").file == "a/take#1.mp4"


@pytest.mark.parametrize(("box", "left"), [(LARGE, 0), (SMALL, 100), ((96, 104, 36, 30), 100)])
def test_one_face_of_a_picture_is_the_one_in_its_box(picture: Path, box: tuple[int, ...], left: int) -> None:
    [outcome] = extract([("a.png" + face(*box), picture)], TwoPeople(), PARAMS)
    assert outcome.outcome == OK
    assert outcome.crop is not None and outcome.crop.box[0] == left


def test_a_box_where_no_face_is_found_gives_none_rather_than_another_face(picture: Path) -> None:
    [outcome] = extract([("a.png" + face(70, 0, 20, 20), picture)], TwoPeople(), PARAMS)
    assert outcome.outcome == NO_FACE
    assert at([], LARGE) is None


def test_some_frames_of_a_video_are_the_only_ones_looked_at(
    tmp_path: Path, film: Callable[..., Path], grey: Callable[..., np.ndarray]
) -> None:
    path = film(tmp_path / "clip.mkv", [grey(10 * n) for n in range(12)])
    found = extract([("clip.mkv#frames=3-7", path)], TwoPeople(), PARAMS)
    assert [outcome.frame for outcome in found] == [3, 4, 6, 7]
    assert [int(o.crop.image[32, 32, 0]) for o in found if o.crop is not None] == [30, 40, 60, 70]


def test_of_several_faces_the_manipulated_one_is_taken_and_without_a_mask_the_largest(
    tmp_path: Path, film: Callable[..., Path], grey: Callable[..., np.ndarray]
) -> None:
    path = film(tmp_path / "clip.mkv", [grey(50)] * 4)
    shown = np.zeros((160, 160, 3), np.uint8)
    shown[100:132, 100:132] = 255
    mask = film(tmp_path / "mask.mkv", [shown, shown])
    found = extract([("clip.mkv", path)], TwoPeople(), PARAMS, {"clip.mkv": mask})
    lefts = [outcome.crop.box[0] for outcome in found if outcome.crop is not None]
    assert lefts == [100, 100, 100, 100], "the mask ends after two frames, and the same person is followed"
    assert [o.crop.mask is not None for o in found if o.crop is not None] == [True, True, False, False]
    assert all(o.crop.box[0] == 0 for o in extract([("clip.mkv", path)], TwoPeople(), PARAMS) if o.crop is not None)
