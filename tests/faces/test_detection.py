"""Face detectors: one interface, and a message that helps where the weights are missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from components import weight_files
from components.errors import BadArchive, MissingWeights, UnknownName
from components.faces import detection, frames
from components.faces.detection import Face, Frame, largest
from components.faces.table import Images
from components.params import CropOptions
from components.settings import settings

LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH = range(5)


def face(box: tuple[float, float, float, float], score: float = 0.9) -> Face:
    return Face(np.array(box, float), np.zeros((5, 2)), score)


def portrait(real_data: Path, number: int = 0) -> np.ndarray:
    file = sorted((real_data / "portraits" / "lfw").rglob("*.jpg"))[number]
    return next(frames.read(file, 1))[1]


def test_the_largest_face_is_chosen_and_of_equal_ones_the_surer() -> None:
    small, large = face((0, 0, 10, 10), 0.99), face((5, 5, 30, 20), 0.7)
    surer = face((0, 0, 15, 25), 0.8)
    assert largest([small, large]) is large
    assert largest([large, surer, small]) is surer
    assert largest([]) is None


def test_a_box_turned_inside_out_is_not_the_largest() -> None:
    assert largest([face((50, 50, 0, 0)), face((0, 0, 2, 2))]).area == 4  # type: ignore[union-attr]


def test_an_unknown_face_detector_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"no face detector 'yunett'; known: .*retinaface.*Did you mean 'yunet'\?"):
        detection.build("yunett", CropOptions())


def test_frames_that_are_crops_already_are_one_face_each() -> None:
    detector = detection.build("none", CropOptions())
    ((whole,),) = detector.detect([Frame("a", 0, np.zeros((20, 30, 3), np.uint8))])
    assert whole.box.tolist() == [0, 0, 30, 20]
    assert whole.score == 1
    assert np.isnan(whole.landmarks).all()
    assert detector.weights_digest is None


# annotated


def annotate(folder: Path, rows: list[tuple[str, int, list[float]]]) -> Path:
    table = pd.DataFrame(rows, columns=["file", "frame", "landmarks"])
    table.to_parquet(folder / "landmarks.parquet")
    return folder


def test_annotated_landmarks_belong_to_their_clip_and_frame(tmp_path: Path) -> None:
    annotate(tmp_path, [("clips/a.mp4", 3, [float(i) for i in range(10)]), ("clips/b.mp4", 3, [5.0] * 10)])
    detector = detection.build("annotated", CropOptions(), archive=tmp_path)
    pixels = np.zeros((9, 9, 3), np.uint8)
    here, elsewhere = detector.detect([Frame("clips/a.mp4", 3, pixels), Frame("clips/a.mp4", 4, pixels)])
    assert here[0].landmarks.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert here[0].score == 1
    assert elsewhere == []


def test_an_archive_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match=r"expected landmarks\.parquet in"):
        detection.build("annotated", CropOptions(), archive=tmp_path)
    with pytest.raises(BadArchive, match="no archive was named"):
        detection.build("annotated", CropOptions())


@pytest.mark.parametrize("landmarks", [[1.0] * 8, [float("nan")] * 10])
def test_annotations_that_are_not_five_points_are_refused(tmp_path: Path, landmarks: list[float]) -> None:
    annotate(tmp_path, [("clips/a.mp4", 0, landmarks)])
    with pytest.raises(BadArchive, match=r"landmarks\.parquet"):
        detection.build("annotated", CropOptions(), archive=tmp_path)


# yunet


@pytest.mark.usefixtures("yunet")
def test_yunet_names_landmarks_as_seen_in_the_image(real_data: Path) -> None:
    (faces,) = detection.build("yunet", CropOptions()).detect([Frame("a", 0, portrait(real_data))])
    points = largest(faces).landmarks  # type: ignore[union-attr]
    assert points[LEFT_EYE, 0] < points[NOSE, 0] < points[RIGHT_EYE, 0]
    assert points[LEFT_MOUTH, 0] < points[RIGHT_MOUTH, 0]
    assert points[LEFT_EYE, 1] < points[NOSE, 1] < points[LEFT_MOUTH, 1]


@pytest.mark.usefixtures("yunet")
def test_yunet_finds_the_same_face_in_a_frame_it_has_to_scale_down(real_data: Path) -> None:
    pixels = portrait(real_data)
    enlarged = np.repeat(np.repeat(pixels, 4, axis=0), 4, axis=1)
    detector = detection.build("yunet", CropOptions(max_input_px=250))
    small, large = (largest(faces) for faces in detector.detect([Frame("a", 0, pixels), Frame("a", 1, enlarged)]))
    assert small is not None and large is not None
    np.testing.assert_allclose(large.landmarks / 4, small.landmarks, atol=1)
    np.testing.assert_allclose(large.box / 4, small.box, atol=1)


@pytest.mark.usefixtures("yunet")
def test_landmarks_do_not_depend_on_the_size_at_which_a_face_was_found(real_data: Path) -> None:
    for clip in sorted((real_data / "clips" / "portraits").glob("*.mp4")):
        _, pixels = next(frames.read(clip, 1))
        assert apart(np.repeat(np.repeat(pixels, 3, axis=0), 3, axis=1)) <= 0.03, clip


@pytest.mark.slow
@pytest.mark.usefixtures("yunet")
def test_faces_of_every_real_clip_have_the_landmarks_of_full_size(real_data: Path) -> None:
    for clip in sorted((real_data / "clips").glob("*/*.mp4")):
        for number, pixels in frames.read(clip, 5):
            assert apart(pixels) <= 0.03, (clip, number)


def apart(pixels: Images) -> float:
    """How far a landmark of the largest face is from where full size has it, in distances of the eyes."""
    frame = Frame("a", 0, pixels)
    small, full = (detection.build("yunet", CropOptions(detect_px=px)) for px in (320, 1280))
    face = largest(small.detect([frame])[0])
    assert face is not None
    x0, y0, x1, y1 = map(round, face.box)
    same = detection.at(full.detect([frame])[0], (x0, y0, x1 - x0, y1 - y0))
    assert same is not None
    found = [small.refine(frame, face).landmarks, full.refine(frame, same).landmarks]
    eyes = np.linalg.norm(found[1][LEFT_EYE] - found[1][RIGHT_EYE])
    return float(np.linalg.norm(found[0] - found[1], axis=1).max() / eyes)


@pytest.mark.usefixtures("yunet")
def test_a_small_face_is_looked_for_at_full_size_where_no_large_one_is_seen_or_it_is_asked_for(real_data: Path) -> None:
    frame = np.zeros((720, 1280, 3), np.uint8)
    face = portrait(real_data)[::3, ::3]  # 31 px
    frame[100 : 100 + len(face), 900 : 900 + face.shape[1]] = face
    detector = detection.build("yunet", CropOptions())
    assert len(detector.detect([Frame("a", 0, frame)])[0]) == 1
    beside = np.repeat(np.repeat(portrait(real_data), 2, axis=0), 2, axis=1)
    frame[200:700, 100:600] = beside
    assert len(detector.detect([Frame("a", 0, frame)])[0]) == 1
    assert len(detector.detect([Frame("a", 0, frame, closely=True)])[0]) == 2


@pytest.mark.usefixtures("yunet")
def test_yunet_finds_a_face_in_nearly_every_portrait(real_data: Path) -> None:
    detector = detection.build("yunet", CropOptions())
    found = detector.detect([Frame("a", i, portrait(real_data, i)) for i in range(0, 3000, 150)])
    assert sum(bool(faces) for faces in found) >= 0.95 * len(found)


@pytest.mark.usefixtures("yunet")
def test_yunet_sees_no_face_where_there_is_none() -> None:
    assert detection.build("yunet", CropOptions()).detect([Frame("a", 0, np.full((200, 300, 3), 90, np.uint8))]) == [[]]


@pytest.mark.usefixtures("yunet")
def test_yunet_answers_the_same_from_several_threads(real_data: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    detector = detection.build("yunet", CropOptions())
    seen = [Frame("a", i, portrait(real_data, i)[: 250 - 10 * (i % 3)]) for i in range(12)]
    alone = [detector.detect([frame])[0] for frame in seen]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda frame: detector.detect([frame])[0], seen))
    for one, other in zip(alone, together, strict=True):
        assert [f.box.tolist() for f in one] == [f.box.tolist() for f in other]


@pytest.mark.usefixtures("no_weights")
def test_yunet_without_weights_says_which_file_and_where() -> None:
    with pytest.raises(MissingWeights, match=r"face_detection_yunet\.onnx.*230 kB.*PERENNIAL_YUNET_WEIGHTS"):
        detection.build("yunet", CropOptions())


def test_a_file_that_is_not_yunet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_weights: None) -> None:
    (tmp_path / "other.onnx").write_bytes(b"not a network")
    monkeypatch.setenv("PERENNIAL_YUNET_WEIGHTS", str(tmp_path / "other.onnx"))
    with pytest.raises(MissingWeights, match="cannot read as such"):
        detection.build("yunet", CropOptions())


# retinaface; its trained weights are not to be had here, so random ones of the same shape stand in


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict whose scores, boxes and batch norms are spread enough to tell mistakes."""
    from components.faces.detection import retinaface

    torch.manual_seed(0)
    network: Any = retinaface._network()
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        for heads, factor in ((network.ClassHead, 0.05), (network.BboxHead, 0.02), (network.LandmarkHead, 0.02)):
            for head in heads:
                head.conv1x1.weight.mul_(factor)
    path = tmp_path_factory.mktemp("weights") / "retinaface.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def retinaface(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setenv("PERENNIAL_RETINAFACE_WEIGHTS", str(weights))
    monkeypatch.setenv("PERENNIAL_DEVICE", "cpu")
    settings.cache_clear()
    yield lambda **params: detection.build("retinaface", CropOptions(**params))
    settings.cache_clear()


def test_retinaface_is_built_without_the_packages_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make setup` leaves them out."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "retinaface"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("albumentations", "iglovikov_helper_functions", "imagecorruptions", "skimage", "streamlit"):
        monkeypatch.setitem(sys.modules, name, None)
    from components.faces.detection.retinaface import _network, _priors

    _priors.cache_clear()
    assert _priors((64, 64)).shape[1] == 4
    assert sum(parameter.numel() for parameter in _network().parameters()) > 20e6
    import retinaface.box_utils  # noqa: F401


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def test_retinaface_is_loaded_from_a_local_file_and_put_in_eval_mode(retinaface: Callable[..., Any]) -> None:
    detector = retinaface()
    assert not any(module.training for module in detector.network.modules())
    assert len(detector.weights_digest) == 64


def test_retinaface_gives_a_frame_the_same_faces_alone_and_in_a_batch(retinaface: Callable[..., Any]) -> None:
    detector = retinaface(min_score=0.6, max_input_px=128)
    seen = [
        Frame("a", i, noise(*size)) for i, size in enumerate([(128, 96), (120, 90), (128, 96), (256, 192), (64, 64)])
    ]
    together = detector.detect(seen)
    assert any(together)
    for frame, faces in zip(seen, together, strict=True):
        alone = detector.detect([frame])[0]
        assert len(alone) == len(faces)
        for one, other in zip(alone, faces, strict=True):
            np.testing.assert_allclose(one.landmarks, other.landmarks, atol=1e-3)
            assert one.score == pytest.approx(other.score, abs=1e-5)


def test_a_prior_that_says_face_becomes_a_face_at_its_place_in_the_frame(retinaface: Callable[..., Any]) -> None:
    detector = retinaface(max_input_px=128)

    class OnePrior(torch.nn.Module):
        """Says face at one prior, and is sure of its neighbour's too: the same face twice."""

        def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
            priors = 2 * sum((128 // step) * (64 // step) for step in (8, 16, 32))
            assert batch.shape == (1, 3, 128, 64)
            boxes, logits, landmarks = (torch.zeros(1, priors, n) for n in (4, 2, 10))
            logits[..., 0] = 9.0
            coarsest = priors - 2 * 4 * 2  # 4 rows of 2 cells of 32 px, two priors each: 256 and 512 px
            logits[0, coarsest, 1] = 12.0
            logits[0, coarsest + 2, 1] = 11.0
            landmarks[0, coarsest] = torch.arange(10) / 10
            return boxes, logits, landmarks

    detector.network = OnePrior()
    ((found,),) = detector.detect([Frame("a", 0, noise(256, 100))])  # halved to 128 x 50, padded to 128 x 64
    centre, side = np.array([16, 16]), 256
    np.testing.assert_allclose(found.box, 2 * np.concatenate([centre - side / 2, centre + side / 2]), atol=1e-3)
    expected = 2 * (centre + np.arange(10).reshape(5, 2) / 10 * 0.1 * side)
    np.testing.assert_allclose(found.landmarks, expected, atol=1e-3)
    assert found.score == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-5)


def test_retinaface_reads_the_release_as_it_is_published(weights: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "release.zip", "w") as archive:
        archive.write(weights, "retinaface.pth")
    plain, zipped = weight_files.read(weights), weight_files.read(tmp_path / "release.zip")
    assert all(torch.equal(plain[name], zipped[name]) for name in plain)


@pytest.mark.usefixtures("no_weights")
def test_retinaface_without_weights_and_network_says_what_is_missing_and_both_ways_to_provide_it() -> None:
    with pytest.raises(MissingWeights) as missing:
        detection.build("retinaface", CropOptions())
    advice = str(missing.value)
    for part in ("retinaface_resnet50_2020-07-20-f168fae3c.zip", "100 MB", "sha256 f168fae3c", "https://github.com/"):
        assert part in advice
    assert "PERENNIAL_RETINAFACE_WEIGHTS" in advice
    assert "open the network" in advice


def test_a_variable_that_points_nowhere_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_weights: None
) -> None:
    monkeypatch.setenv("PERENNIAL_RETINAFACE_WEIGHTS", str(tmp_path / "gone.pth"))
    with pytest.raises(MissingWeights, match=r"no file at '.*gone\.pth'"):
        detection.build("retinaface", CropOptions())


class Trap:
    """What a hostile weight file holds: an object that acts when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("face_detector", ["retinaface", "yunet"])
@pytest.mark.parametrize("share", [0, 0.5, 0.999], ids=["empty", "half", "nearly whole"])
def test_a_half_downloaded_file_is_refused(
    weights: Path,
    real_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_weights: None,
    face_detector: str,
    share: float,
) -> None:
    whole = {"retinaface": weights, "yunet": real_data / "weights" / "face_detection_yunet.onnx"}[
        face_detector
    ].read_bytes()
    half = tmp_path / "half"
    half.write_bytes(whole[: int(share * len(whole))])
    monkeypatch.setenv(f"PERENNIAL_{face_detector.upper()}_WEIGHTS", str(half))
    with pytest.raises(MissingWeights, match=r"half.*[Ff]etch .*PERENNIAL_"):
        detection.build(face_detector, CropOptions())


@pytest.mark.parametrize("content", [{"body.conv1.weight": torch.zeros(1)}, Trap(), [1, 2]])
def test_a_file_that_is_not_retinaface_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_weights: None, content: Any
) -> None:
    torch.save(content, tmp_path / "other.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERENNIAL_RETINAFACE_WEIGHTS", "other.pth")
    with pytest.raises(MissingWeights, match="found something else"):
        detection.build("retinaface", CropOptions())
    assert not Path("sprung").exists()
