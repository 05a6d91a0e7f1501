"""One person through a clip: followed by place and looks, never exchanged for somebody who happens to be larger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from components.faces import tracks
from components.faces.detection import Face, FaceDetector, Frame
from components.faces.extraction import ANOTHER_FACE, NO_FACE, OK, extract, people_of
from components.faces.tracks import Sighting
from components.params import CropOptions

FIVE = np.array([[10, 12], [22, 12], [16, 18], [11, 24], [21, 24]], np.float64)
PARAMS = CropOptions(frames=4, size_px=64)
ANNA, BERT = (np.eye(48)[number] for number in (0, 1))


def at(x: float, y: float, size: float, looks: np.ndarray | None = None) -> Sighting:
    """A face around a point."""
    return Sighting(np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2]), looks)


def test_two_who_pass_one_another_are_told_apart_by_their_looks() -> None:
    seen = [[at(100 + 80 * i, 100, 60, ANNA), at(340 - 80 * i, 100, 60, BERT)] for i in range(4)]
    seen[2].reverse()  # a detector promises no order
    first, second = tracks.follow(seen)
    assert {dict(first.faces)[0], dict(second.faces)[0]} == {0, 1}
    assert [seen[frame][number].looks.argmax() for frame, number in first.faces.items()] in ([0] * 4, [1] * 4)
    assert [seen[frame][number].looks.argmax() for frame, number in second.faces.items()] in ([0] * 4, [1] * 4)


def test_who_takes_most_of_the_clip_comes_first_and_not_who_is_once_the_largest() -> None:
    seen = [[at(100, 100, 60, ANNA)] for _ in range(5)]
    seen[2].append(at(300, 100, 90, BERT))
    first, second = tracks.follow(seen)
    assert list(first.faces) == [0, 1, 2, 3, 4] and list(second.faces) == [2]
    assert first.prominence == pytest.approx(5 * 60**2)


def test_after_a_cut_to_somebody_else_the_first_is_known_again_elsewhere() -> None:
    seen = [[at(100, 100, 60, ANNA)], [at(100, 100, 60, BERT)], [at(400, 200, 80, ANNA)], [at(110, 100, 62, BERT)]]
    assert [sorted(track.faces) for track in tracks.follow(seen)] == [[0, 2], [1, 3]]


def test_where_nothing_is_known_of_looks_the_place_decides() -> None:
    seen = [[at(50, 50, 40), at(150, 50, 40)], [at(148, 52, 41), at(53, 50, 40)], []]
    assert sorted(sorted(track.faces.items()) for track in tracks.follow(seen)) == [[(0, 0), (1, 1)], [(0, 1), (1, 0)]]


def test_looks_do_not_depend_on_light_and_a_blank_has_none() -> None:
    face = np.repeat(np.arange(0, 120, 10, dtype=np.uint8).reshape(2, 2, 3), 32, axis=0).repeat(32, axis=1)
    one, brighter = tracks.looks_of(face), tracks.looks_of(2 * face + 10)
    assert one is not None and brighter is not None and one @ brighter > 0.999
    assert tracks.looks_of(np.full((64, 64, 3), 90, np.uint8)) is None


class Anchor(FaceDetector):
    """Sees the same face in every frame but those in `hides`, and a larger one at the right in those in `visited`."""

    name, weights_digest = "anchor", None

    def __init__(self, hides: Sequence[int] = (), visited: Sequence[int] = ()) -> None:
        self.hides, self.visited = hides, visited

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        return [
            [self._face(20, 60, 1)] * (frame.index not in self.hides)
            + [self._face(90, 60, 1.5)] * (frame.index in self.visited)
            for frame in frames
        ]

    def _face(self, left: float, top: float, scale: float) -> Face:
        shift = np.array([left, top])
        return Face(np.concatenate([shift, shift + 32 * scale]), FIVE * scale + shift, 0.9)


@pytest.fixture
def clip(tmp_path: Path, film: Callable[..., Path]) -> Path:
    """Red at the left, striped at the right."""
    frame = np.zeros((160, 160, 3), np.uint8)
    frame[:, :80, 0] = np.linspace(0, 255, 80)
    frame[::9, 80:] = 255
    return film(tmp_path / "clip.mkv", [frame] * 12)


def test_a_visitor_is_never_cropped_and_a_frame_without_the_anchor_is_replaced(clip: Path) -> None:
    found = extract([("clip.mkv", clip)], Anchor(hides=[4, 5], visited=[4]), PARAMS)
    assert [(o.frame, o.outcome) for o in found] == [
        (0, OK),
        (3, OK),
        (4, ANOTHER_FACE),
        (5, NO_FACE),
        (7, OK),
        (11, OK),
    ]
    assert {o.crop.box[0] for o in found if o.crop is not None} == {20}


def test_everybody_in_a_file_is_told_by_who_it_is(clip: Path) -> None:
    anchor, visitor = people_of(clip, Anchor(visited=[4]), PARAMS)
    assert anchor.frames.tolist() == [0, 4, 7, 11] and visitor.frames.tolist() == [4]
    assert anchor.faces.shape == (4, 64, 64, 3) and anchor.boxes[:, 0].tolist() == [20] * 4
