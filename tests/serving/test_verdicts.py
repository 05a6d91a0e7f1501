"""Files in, answers out: one each, with frames, and none stops the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components import detectors
from components.errors import BadArchive, BrokenLineage, Refused
from components.faces import detection
from components.faces.extraction import profile_of
from components.faces.table import named_profile
from components.generations.card import WEIGHTS, read_card, write_card
from components.generations.generation import save_generation
from components.params import CropOptions
from components.serving.verdicts import FrameAnswer, score, strip

OPTIONS = {"size": "tiny", "trunk": "small", "width": 8, "input_px": 96}
PARAMS = CropOptions(frames=5, size_px=64)


@pytest.fixture(scope="module")
def champion(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("champion")
    torch.manual_seed(0)
    detector = detectors.build("rsia_net", detectors.options("rsia_net", OPTIONS))
    about = {"generation": "small-M1", "detector": "rsia_net", "options": OPTIONS, "strategy": "finetune"}
    learned = named_profile(profile_of(detection.build("none", PARAMS), PARAMS))
    save_generation(folder, detector, {}, {**about, "profiles": [learned]})
    return folder


def taught(champion: Path, folder: Path, **profile: Any) -> Path:
    """The champion as if it had learned faces of that profile; without one, as if it did not say."""
    shutil.copytree(champion, folder)
    profiles = [named_profile(profile)] if profile else []
    write_card(folder, {**read_card(folder), "profiles": profiles})
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A photograph, a clip of 20 frames, and a text that is neither."""
    import av

    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 80, 3), np.uint8)).save(folder / "a.png")
    with av.open(str(folder / "b.mp4"), "w") as clip:
        stream = clip.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 80, 80, "yuv420p"
        for number in range(20):
            picture = np.full((80, 80, 3), number * 12, np.uint8)
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        clip.mux(stream.encode())
    (folder / "c.mp4").write_text("no clip")
    (folder / ".hidden").write_text("")
    return folder


def test_every_file_gets_an_answer_and_a_broken_one_says_why(champion, files):
    photograph, clip, broken = score([files], champion, params=PARAMS, face_detector="none")
    assert photograph.verdict in ("genuine", "forged") and photograph.faces == 1
    assert [frame.frame for frame in clip.frames] == sorted({frame.frame for frame in clip.frames})
    assert clip.faces == len(clip.frames) == 5
    assert clip.probability == pytest.approx(np.mean([frame.probability for frame in clip.frames]))
    assert clip.verdict == ("forged" if clip.probability > 0.5 else "genuine")
    assert broken.verdict is None and broken.error and "c.mp4" in broken.error
    assert json.loads(json.dumps(clip.as_json()))["frames"][0]["frame"] == clip.frames[0].frame


def test_no_file_of_a_folder_that_looks_like_media_is_passed_over(champion, files, tmp_path):
    for name in ("anim.gif", "scan.tiff"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    (tmp_path / "face.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    shutil.copy(files / "b.mp4", tmp_path / "clip_without_suffix")
    (tmp_path / "notes.txt").write_text("no clip")
    answers = {Path(a.file).name: a for a in score([tmp_path], champion, params=PARAMS, face_detector="none")}
    assert {name for name, answer in answers.items() if answer.error} == {"anim.gif", "face.heic", "scan.tiff"}
    assert answers["clip_without_suffix"].faces == 5
    assert "notes.txt" not in answers


def test_a_folder_without_media_is_not_taken_for_an_examined_one(champion, tmp_path):
    with pytest.raises(BadArchive, match="found none: nothing was examined"):
        list(score([tmp_path], champion, params=PARAMS, face_detector="none"))


def test_a_picture_without_a_face_is_an_answer_too(champion, files, real_data, monkeypatch, tmp_path):
    from components import settings

    weights = real_data / "weights/face_detection_yunet.onnx"
    monkeypatch.setenv("PERENNIAL_YUNET_WEIGHTS", str(weights))
    settings.settings.cache_clear()
    try:
        portrait = sorted((real_data / "portraits/lfw").rglob("*.jpg"))[0]
        cut = CropOptions()
        found = detection.build("yunet", cut)
        asked = taught(champion, tmp_path / "photographs", **profile_of(found, cut))
        empty, face = score([files / "a.png", portrait], asked, params=cut)
    finally:
        settings.settings.cache_clear()
    assert empty.verdict is None and empty.error and "expected a face" in empty.error
    assert face.verdict is not None and face.faces == 1


def test_an_overlay_is_drawn_on_request_and_two_files_of_one_name_do_not_meet(champion, files, tmp_path):
    twice = list(
        score([files / "a.png", files / "a.png"], champion, params=PARAMS, face_detector="none", overlays=tmp_path)
    )
    drawn = [Path(answer.overlay or "") for answer in twice]
    assert [path.name for path in drawn] == ["a.png", "a-2.png"]
    with Image.open(drawn[0]) as picture:
        assert picture.size == (128, 64)


def test_damaged_weights_never_answer(champion, files, tmp_path):
    for file in champion.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(BrokenLineage, match="expected weights"):
        list(score([files], tmp_path, params=PARAMS, face_detector="none"))


def test_a_strip_has_a_block_a_frame_higher_and_redder_where_it_is_suspicious():
    drawn = strip([FrameAnswer(0, 0.0), FrameAnswer(4, 0.5), FrameAnswer(8, 1.0)])
    assert drawn.plain == "▁▅█"
    reds = [span.style.color.triplet.red for span in drawn.spans]
    greens = [span.style.color.triplet.green for span in drawn.spans]
    assert reds[0] < reds[2] and greens[0] > greens[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size_px": 128}, "size_px 128"),
        ({"margin": 1.0}, "margin 1.0"),
        ({"detector": "yunet", "weights": "ab" * 32}, "detector yunet, weights abababababab"),
    ],
)
def test_faces_cut_otherwise_than_those_it_learned_get_no_answer(champion, files, tmp_path, change, words):
    other = taught(champion, tmp_path / "other", **{**profile_of(detection.build("none", PARAMS), PARAMS), **change})
    with pytest.raises(
        Refused, match=f"expected faces cut as 'small-M1' learned them \\({words}\\), found .*do not compare"
    ):
        list(score([files / "a.png"], other, params=PARAMS, face_detector="none"))


def test_a_generation_that_learned_annotated_faces_answers_no_file(champion, files, tmp_path):
    other = taught(champion, tmp_path / "other", detector="annotated", weights=None, **PARAMS.model_dump())
    with pytest.raises(Refused, match="landmarks came with their archive"):
        list(score([files / "a.png"], other, params=PARAMS))


def test_a_generation_that_does_not_say_how_its_faces_were_cut_answers_no_file(champion, files, tmp_path):
    with pytest.raises(Refused, match="perennial upgrade"):
        list(score([files / "a.png"], taught(champion, tmp_path / "old"), params=PARAMS))


def test_what_an_ancestor_learned_compares_too(champion, files, tmp_path):
    other = taught(champion, tmp_path / "other", detector="yunet", weights="ab", **PARAMS.model_dump())
    write_card(
        other, {**read_card(other), "profiles": [*read_card(champion)["profiles"], *read_card(other)["profiles"]]}
    )
    (answer,) = score([files / "a.png"], other, params=PARAMS, face_detector="none")
    assert answer.verdict is not None
