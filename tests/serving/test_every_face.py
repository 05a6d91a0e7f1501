"""Everybody in a file: who is seen and when, who is good enough to be judged, and who decides.

Drawn clips run everywhere: squares for faces, found by a detector that was told where they lie, and called forged for
their brightness. Photographs pasted into clips are found by YuNet, where there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from components.detectors import Detection, Detector
from components.evaluation.calibration import Calibration
from components.evaluation.familiarity import Familiarity, View
from components.evaluation.operating_point import OperatingPoint
from components.faces import alignment, detection
from components.faces.detection import Face, FaceDetector, Frame
from components.params import CropOptions, Section
from components.serving import record
from components.serving.judging import FLOORS, Point
from components.serving.record import Record, schema
from components.serving.verdicts import Examiner
from components.settings import settings

PARAMS = CropOptions(frames=8, size_px=64)
Boxes = Mapping[int, Sequence[tuple[float, float, float]]]
"""Frame -> (x, y, side) of the faces in it; x and y are their centres."""
Spot = tuple[float, float, float, int, int]
"""(x, y, side, brightness, who) of a drawn face."""


class Brightness(Detector):
    """A score of about 0 for a black face, of about 1 for a white one."""

    Options = Section

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(12.0))

    def forward(self, faces: Tensor) -> Detection:
        level = torch.nn.functional.avg_pool2d(faces, 4)
        score = self.weight * (level.mean(dim=(1, 2, 3)) - 0.5)
        return Detection(torch.stack([-score / 2, score / 2], dim=1), level.mean(dim=(2, 3)), (level,))


class Scripted(FaceDetector):
    """Finds what it was told lies in each frame; with a head that is `turned`, the landmarks of a profile."""

    name = "scripted"
    weights_digest = None

    def __init__(self, faces: Boxes, *, turned: bool = False) -> None:
        self._faces = faces
        self._landmarks = alignment.template(100, 1.0) / 100 - 0.5  # of a face of side 1 around its centre
        if turned:
            self._landmarks = self._landmarks * [0.3, 1]
            self._landmarks[2, 0] += 0.25  # the nose stands out to the side

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        return [[self._face(*one) for one in self._faces.get(frame.index, ())] for frame in frames]

    def _face(self, x: float, y: float, side: float) -> Face:
        half = side / 2
        return Face(np.array([x - half, y - half, x + half, y + half]), self._landmarks * side + [x, y], 0.9)


def examiner(finder: FaceDetector, point: OperatingPoint | None = None, params: CropOptions = PARAMS) -> Examiner:
    taught = (record.Taught(archive="swaps", generation="line-M1", promoted=None),)
    champion = record.Champion(
        line="line", generation="line-M1", since=None, weights="0" * 64, code=None, detector="rsia_net", strategy="er",
        taught=taught,
    )  # fmt: skip
    how = record.Settings(face_detector=finder.name, profile="0" * 64, frames=params.frames, device="cpu", program="0")
    return Examiner(Brightness(), finder, params, Point(point, "it was not calibrated"), champion, how)


def calibrated(**more: object) -> OperatingPoint:
    """Forged above 0.7; 5 % of genuine clips are."""
    found = {
        "false_alarms": {"value": 0.05, "low": 0.01, "high": 0.12},
        "misses": {"value": 0.1, "low": 0.05, "high": 0.2},
        "validation": {"swaps": {"genuine": 60, "forged": 40, "faces": "", "sources": 50}},
        **more,
    }
    return OperatingPoint(Calibration("temperature", 1.0), 0.7, 0.3, found)


def scene(*faces: Spot, size: tuple[int, int] = (240, 480)) -> np.ndarray:
    """A grey frame with patterned squares, each as bright as asked, and as patterned as its `who` says."""
    frame = np.full((*size, 3), 90, np.uint8)
    for x, y, side, level, who in faces:
        cells = np.random.default_rng(who).integers(-35, 36, (8, 8, 3))
        edge = int(1.6 * side)
        places = np.minimum(np.arange(edge) * 8 // edge, 7)
        square = np.clip(cells[np.ix_(places, places)] + level, 0, 255).astype(np.uint8)
        top, left = int(y - edge / 2), int(x - edge / 2)
        frame[max(top, 0) : top + edge, max(left, 0) : left + edge] = square[max(-top, 0) :, max(-left, 0) :][
            : size[0] - max(top, 0), : size[1] - max(left, 0)
        ]
    return frame


@pytest.fixture
def film(tmp_path: Path) -> Callable[[Iterable[np.ndarray]], Path]:
    """Frames as a clip without loss, 10 a second."""

    def write(frames: Iterable[np.ndarray]) -> Path:
        path = tmp_path / "clip.mkv"
        with av.open(str(path), "w") as container:
            stream = None
            for pixels in frames:
                if stream is None:
                    stream = container.add_stream("ffv1", rate=10)
                    stream.height, stream.width = pixels.shape[:2]
                    stream.pix_fmt = "bgr0"
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            assert stream is not None
            container.mux(stream.encode(None))
        return path

    return write


Film = Callable[[Iterable[np.ndarray]], Path]


def answer(film: Film, frames: Sequence[Sequence[Spot]], point: OperatingPoint | None = None, **how: bool) -> Record:
    """The record of a clip with these faces; it is as its schema says."""
    boxes = {number: [spot[:3] for spot in spots] for number, spots in enumerate(frames)}
    said = examiner(Scripted(boxes, **how), point).answer(film([scene(*spots) for spots in frames]))
    jsonschema.validate(said.as_json(), schema())
    return said


ANNA, BERT, CARL = (80, 120, 80, 60, 1), (240, 120, 80, 70, 2), (400, 120, 80, 205, 3)
FAR_AWAY = (240, 30, 40, 200, 4)


def test_of_three_faces_the_most_suspicious_decides_and_each_has_its_own_track(film: Film) -> None:
    said = answer(film, [[ANNA, BERT, CARL]] * 8, calibrated())
    assert (said.verdict, said.faces_seen, said.faces_left_out) == ("forged", 3, 0)
    assert said.decided_by is not None
    decisive = said.faces[said.decided_by - 1]
    assert sorted(face.verdict for face in said.faces) == ["forged", "genuine", "genuine"]
    assert decisive.score == max(face.score for face in said.faces) == said.score
    assert [sighting.frame for sighting in decisive.sightings] == list(range(8))
    assert decisive.sightings[3].box == (360.0, 80.0, 440.0, 160.0) and decisive.sightings[3].time_s == 0.3
    assert any("most suspicious of 3 faces" in words for words in said.limits)


def test_who_enters_late_has_a_track_from_then_on(film: Film) -> None:
    said = answer(film, [[ANNA]] * 4 + [[ANNA, CARL]] * 4)
    assert said.verdict == "forged" and said.decided_by == 2
    assert [(face.from_s, face.until_s, len(face.sightings)) for face in said.faces] == [(0.0, 0.7, 8), (0.4, 0.7, 4)]


def test_a_cut_between_two_people_makes_two_tracks(film: Film) -> None:
    elsewhere = (240, 120, 80, 205, 3)
    said = answer(film, [[BERT]] * 4 + [[elsewhere]] * 4)
    assert [(face.from_s, face.until_s) for face in said.faces] == [(0.0, 0.3), (0.4, 0.7)]
    assert [face.verdict for face in said.faces] == ["genuine", "forged"]


def test_where_nobody_is_seen_nothing_can_be_told(film: Film) -> None:
    said = answer(film, [[]] * 4)
    assert (said.verdict, said.faces_seen, said.score) == ("cannot tell", 0, None)
    assert said.reason is not None and said.reason.code == "no face"
    assert said.file.sha256 and said.file.frames == 4, "the file is named all the same"


def test_a_profile_is_left_out(film: Film) -> None:
    said = answer(film, [[CARL]] * 4, turned=True)
    assert said.verdict == "cannot tell" and said.reason is not None and said.reason.code == "profile view"
    assert said.faces[0].left_out and abs(said.faces[0].quality.yaw_deg or 0) > FLOORS["yaw_deg"].worst


def test_a_face_of_40_px_is_left_out_and_another_decides(film: Film) -> None:
    alone = answer(film, [[FAR_AWAY]] * 4)
    assert alone.reason is not None and alone.reason.code == "too small" and "40 pixels" in alone.reason.words
    beside = answer(film, [[ANNA, FAR_AWAY]] * 4)
    assert (beside.verdict, beside.faces_seen, beside.faces_left_out) == ("genuine", 2, 1)
    assert any("face 2: too small" in words for words in beside.limits)


def test_what_is_seen_in_a_single_frame_of_a_clip_is_left_out(film: Film) -> None:
    said = answer(film, [[ANNA]] * 3 + [[ANNA, CARL]] + [[ANNA]] * 4)
    assert said.verdict == "genuine"
    assert [face.reason.code if face.reason else None for face in said.faces] == [None, "too few frames"]


@pytest.mark.parametrize(
    ("spot", "code"), [((240, 120, 80, 20, 2), "too dark"), ((240, 120, 80, 90, None), "too blurred")]
)
def test_a_dark_or_blurred_face_is_left_out(film: Film, spot: tuple, code: str) -> None:
    flat = spot[4] is None
    frames = [np.full((240, 480, 3), 90, np.uint8) if flat else scene((*spot[:3], spot[3], spot[4]))] * 4
    said = examiner(Scripted({number: [spot[:3]] for number in range(4)})).answer(film(frames))
    assert said.reason is not None and said.reason.code == code


def test_what_was_taught_may_be_worse_than_the_floor(film: Film) -> None:
    small = {"face_px": {"faces": 99, "quantiles": {"0.01": 30.0, "0.99": 90.0}}}
    large = {"face_px": {"faces": 99, "quantiles": {"0.01": 200.0, "0.99": 300.0}}}
    assert answer(film, [[FAR_AWAY]] * 4, calibrated(quality=small)).verdict == "forged"
    assert Point(calibrated(quality=large)).worst("face_px") == FLOORS["face_px"].worst


def test_how_sharp_a_face_must_be_depends_on_how_sharp_those_were_that_were_taught() -> None:
    sharp = {"sharpness": {"faces": 99, "quantiles": {"0.01": 400.0, "0.99": 900.0}}}
    assert Point(calibrated(quality=sharp)).worst("sharpness") == 100
    assert Point(None).worst("sharpness") == FLOORS["sharpness"].worst


def test_a_score_too_near_the_threshold_is_not_called(film: Film) -> None:
    near = (240, 120, 80, 143, 2)
    said = answer(film, [[near]] * 4, calibrated())
    assert said.verdict == "cannot tell" and said.reason is not None and said.reason.code == "near the threshold"
    assert said.probability is not None and said.faces_left_out == 0, "its probability is known all the same"


def test_an_unfamiliar_kind_of_picture_is_not_judged(film: Film) -> None:
    view = View("mahalanobis", np.zeros(3, np.float32), np.full(3, 0.01, np.float32), np.eye(3, dtype=np.float32))
    strange = calibrated()
    said = answer(
        film,
        [[CARL]] * 4,
        OperatingPoint(strange.calibration, 0.7, 0.3, strange.found, Familiarity({"embedding": view}, 1.0, {})),
    )
    assert said.verdict == "cannot tell" and said.reason is not None and said.reason.code == "unfamiliar"
    assert said.faces[0].unfamiliarity is not None and said.faces[0].unfamiliarity > 1 and said.probability is None


def test_an_answer_gives_probability_ratio_and_error_rates(film: Film) -> None:
    said = answer(film, [[CARL]] * 4, calibrated())
    assert said.probability == pytest.approx(said.score) and said.likelihood_ratio is not None
    assert said.likelihood_ratio == pytest.approx(said.probability / (1 - said.probability))
    at = said.operating_point
    assert at.calibrated and at.clips == 100 and at.false_alarms is not None and at.false_alarms.high == 0.12


def test_without_an_operating_point_one_half_decides_and_the_record_says_so(film: Film) -> None:
    said = answer(film, [[CARL]] * 4)
    assert (said.verdict, said.probability, said.operating_point.threshold) == ("forged", None, 0.5)
    assert "nobody measured" in said.operating_point.words


# -- photographs, found by YuNet ---------------------------------------------------------------------------------------


@pytest.fixture
def faces(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[list[np.ndarray]]:
    """Three people, 250 px photographs each."""
    monkeypatch.setenv("PERENNIAL_YUNET_WEIGHTS", str(real_data / "weights" / "face_detection_yunet.onnx"))
    settings.cache_clear()
    people = sorted(path for path in (real_data / "portraits" / "lfw").iterdir() if path.is_dir())[:3]
    yield [np.asarray(Image.open(sorted(person.glob("*.jpg"))[0]).convert("RGB")) for person in people]
    settings.cache_clear()


def pasted(*photographs: np.ndarray) -> np.ndarray:
    """Photographs side by side on grey, 800 x 300."""
    frame = np.full((300, 800, 3), 127, np.uint8)
    for number, photograph in enumerate(photographs):
        frame[25 : 25 + len(photograph), 10 + 260 * number : 10 + 260 * number + photograph.shape[1]] = photograph
    return frame


def seen(clip: Path) -> Record:
    params = CropOptions(frames=6, size_px=96)
    return examiner(detection.build("yunet", params), None, params).answer(clip)


def test_three_people_are_seen_where_three_are(film: Film, faces: list[np.ndarray]) -> None:
    said = seen(film([pasted(*faces)] * 6))
    assert said.faces_seen == 3 and [len(face.sightings) for face in said.faces] == [6, 6, 6]
    assert all(80 < (face.quality.face_px or 0) < 160 for face in said.faces)


def test_people_enter_and_the_camera_cuts_from_one_to_another(film: Film, faces: list[np.ndarray]) -> None:
    late = seen(film([pasted(faces[0])] * 3 + [pasted(*faces[:2])] * 3))
    assert [(face.from_s, face.until_s) for face in late.faces] == [(0.0, 0.5), (0.3, 0.5)]
    cut = seen(film([pasted(faces[0])] * 3 + [pasted(faces[2])] * 3))
    assert sorted((face.from_s, face.until_s) for face in cut.faces) == [(0.0, 0.2), (0.3, 0.5)]


def test_a_thumbnail_is_too_small_and_a_wall_shows_nobody(film: Film, faces: list[np.ndarray]) -> None:
    small = np.asarray(Image.fromarray(faces[0]).resize((84, 84)))
    said = seen(film([pasted(small)] * 3))
    assert said.reason is not None and said.reason.code == "too small"
    nobody = seen(film([pasted()] * 3))
    assert nobody.reason is not None and nobody.reason.code == "no face"


def test_somebody_who_looks_aside_is_a_profile(real_data: Path, faces: list[np.ndarray]) -> None:
    said = seen(real_data / "clips" / "dfdc_train_part_0" / "brtujopkby.mp4")
    assert said.reason is not None and said.reason.code == "profile view"
