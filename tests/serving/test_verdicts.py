"""Files in, records out: one each, as the published schema says, and none stops the others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

from components import detectors
from components.errors import BadArchive, BrokenLineage, Refused
from components.evaluation import point_files
from components.faces import detection
from components.faces.extraction import profile_of
from components.faces.table import named_profile
from components.generations.card import WEIGHTS, file_digest, read_card, write_card
from components.generations.generation import save_generation
from components.params import CropOptions
from components.serving.record import Record, schema
from components.serving.verdicts import Answer, Examiner, FrameAnswer, asked, strip

OPTIONS = {"size": "tiny", "trunk": "small", "width": 8, "input_px": 96}
PARAMS = CropOptions(frames=5, size_px=64)
SCHEMA = Path(__file__).parents[2] / "docs" / "answer.schema.json"


@pytest.fixture(scope="module")
def champion(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("champion")
    torch.manual_seed(0)
    detector = detectors.build("rsia_net", detectors.options("rsia_net", OPTIONS))
    about = {
        "generation": "small-M1",
        "detector": "rsia_net",
        "options": OPTIONS,
        "strategy": "finetune",
        "learns": "swaps",
    }
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


def answers(paths: list[Path], champion: Path, **how: Any) -> list[Record]:
    """The record of every file; each is as the published schema says."""
    examiner = Examiner.load(champion, None, how.pop("params", PARAMS), **{"face_detector": "none", **how})
    said = [examiner.answer(path) for path in asked(paths).files]
    for one in said:
        jsonschema.validate(json.loads(json.dumps(one.as_json())), json.loads(SCHEMA.read_text()))
    return said


def test_the_published_schema_is_that_of_a_record():
    assert json.loads(SCHEMA.read_text()) == schema(), (
        "write it again: python -m components.serving.record > docs/answer.schema.json"
    )


def test_every_file_gets_an_answer_and_a_broken_one_says_why(champion, files):
    photograph, clip, broken = answers([files], champion)
    assert photograph.faces_seen == 1 and photograph.file.kind == "still" and photograph.file.frames_per_s is None
    (face,) = clip.faces
    frames = [sighting.frame for sighting in face.sightings]
    assert frames == sorted(set(frames)) and len(frames) == 5
    assert face.score == pytest.approx(np.mean([sighting.score for sighting in face.sightings]))
    assert face.sightings[0].box is None, "a face crop lies in no frame"
    assert (clip.file.kind, clip.file.frames, clip.file.frames_per_s) == ("clip", 20, 10)
    assert broken.verdict == "cannot tell" and broken.reason is not None and broken.reason.code == "unreadable"
    assert "begins like no still" in broken.reason.words and broken.file.sha256 == file_digest(files / "c.mp4")


def test_a_record_says_who_answered_by_what_and_of_which_file(champion, files):
    (said,) = answers([files / "a.png"], champion)
    assert said.file.sha256 == file_digest(files / "a.png") and said.file.bytes == (files / "a.png").stat().st_size
    assert (said.champion.generation, said.champion.weights) == ("small-M1", file_digest(champion / WEIGHTS))
    assert said.settings.face_detector == "none" and said.settings.frames == 5
    assert said.champion.taught[0].archive == "swaps" and "swaps" in said.limits[0]


def test_a_photograph_is_sharp_and_bright_enough_to_be_called_and_a_blank_is_not(champion, files, tmp_path):
    Image.new("RGB", (80, 80), (120, 120, 120)).save(tmp_path / "blank.png")
    photograph, blank = answers([files / "a.png", tmp_path / "blank.png"], champion)
    assert photograph.verdict in ("genuine", "forged")
    assert blank.reason is not None and blank.reason.code == "too blurred"


def test_no_file_of_a_folder_that_looks_like_media_is_passed_over(champion, files, tmp_path):
    for name in ("anim.gif", "scan.tiff"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    (tmp_path / "face.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    shutil.copy(files / "b.mp4", tmp_path / "clip_without_suffix")
    (tmp_path / "notes.txt").write_text("no clip")
    (tmp_path / ".hidden").write_text("no clip")
    said = {Path(one.file.name).name: one for one in answers([tmp_path], champion)}
    unread = {name for name, one in said.items() if one.reason and one.reason.code == "unreadable"}
    assert unread == {"anim.gif", "face.heic", "scan.tiff"}
    assert said["clip_without_suffix"].faces_seen == 1
    assert [path.name for path in asked([tmp_path]).others] == ["notes.txt"], "named, and not answered"


def test_what_is_no_file_is_answered_and_nobody_waits_for_it(champion, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    pipe, nothing = answers([tmp_path / "pipe.png", tmp_path / "nothing.png"], champion)
    assert pipe.reason is not None and "no regular file" in pipe.reason.words
    assert nothing.reason is not None and "nothing is there" in nothing.reason.words
    assert {pipe.reason.code, nothing.reason.code} == {"unreadable"} and nothing.file.sha256 is None


def test_a_folder_without_media_is_not_taken_for_an_examined_one(tmp_path):
    (tmp_path / "notes.txt").write_text("no clip")
    with pytest.raises(BadArchive, match=r"found none \(1 other files are there\): nothing was examined"):
        asked([tmp_path])


def test_a_picture_without_a_face_is_an_answer_too(champion, files, real_data, monkeypatch, tmp_path):
    from components import settings

    weights = real_data / "weights/face_detection_yunet.onnx"
    monkeypatch.setenv("PERENNIAL_YUNET_WEIGHTS", str(weights))
    settings.settings.cache_clear()
    try:
        portrait = sorted((real_data / "portraits/lfw").rglob("*.jpg"))[0]
        cut = CropOptions()
        found = detection.build("yunet", cut)
        asked_about = taught(champion, tmp_path / "photographs", **profile_of(found, cut))
        empty, face = answers([files / "a.png", portrait], asked_about, params=cut, face_detector="yunet")
    finally:
        settings.settings.cache_clear()
    assert empty.reason is not None and empty.reason.code == "no face"
    assert face.verdict in ("genuine", "forged") and face.faces_seen == 1 and face.faces[0].sightings[0].box is not None


def test_damaged_weights_never_answer(champion, files, tmp_path):
    for file in champion.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(BrokenLineage, match="expected weights"):
        answers([files], tmp_path)


def test_a_record_in_one_line_has_its_number_and_the_reason_where_nothing_can_be_told(champion, files):
    photograph, _, broken = (Answer.of(one) for one in answers([files], champion))
    assert photograph.error is None and photograph.probability is not None and len(photograph.frames) == 1
    assert broken.verdict is None and (broken.error or "").startswith("unreadable: ")


def test_the_operating_point_of_other_weights_is_refused(champion, files, tmp_path):
    point_files.write(
        tmp_path, {"generation": "other-M1", "weights": "0" * 64, "taught": [], "point": {"any": 1}, "reason": None}
    )
    with pytest.raises(BrokenLineage, match="found that of 'other-M1'"):
        Examiner.load(champion, tmp_path, PARAMS, face_detector="none")


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
        answers([files / "a.png"], other)


def test_a_generation_that_learned_annotated_faces_answers_no_file(champion, files, tmp_path):
    other = taught(champion, tmp_path / "other", detector="annotated", weights=None, **PARAMS.model_dump())
    with pytest.raises(Refused, match="landmarks came with their archive"):
        answers([files / "a.png"], other, face_detector=None)


def test_a_generation_that_does_not_say_how_its_faces_were_cut_answers_no_file(champion, files, tmp_path):
    with pytest.raises(Refused, match="perennial upgrade"):
        answers([files / "a.png"], taught(champion, tmp_path / "old"), face_detector=None)


def test_what_an_ancestor_learned_compares_too(champion, files, tmp_path):
    other = taught(champion, tmp_path / "other", detector="yunet", weights="ab", **PARAMS.model_dump())
    write_card(
        other, {**read_card(other), "profiles": [*read_card(champion)["profiles"], *read_card(other)["profiles"]]}
    )
    (said,) = answers([files / "a.png"], other)
    assert said.verdict in ("genuine", "forged")
