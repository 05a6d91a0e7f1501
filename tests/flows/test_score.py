"""perennial score: who was passed over, what a machine reads, and documents that need nothing else."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components import detectors
from components.errors import BadArchive
from components.faces import detection
from components.faces.extraction import profile_of
from components.faces.table import named_profile
from components.generations.generation import save_generation
from components.params import CropOptions
from components.reports import answer_files as reports
from components.serving.pictures import pictures
from components.serving.verdicts import Answer, Examiner
from flows.score import PASSED_OVER, Scored, as_csv, passed_over_in_words, score

OPTIONS = {"size": "tiny", "trunk": "small", "width": 8, "input_px": 96}
PARAMS = CropOptions(frames=5, size_px=64)
NASTY = "=cmd<img src=x onerror=alert(1)>\x1b[31m\u202e"


@pytest.fixture(scope="module")
def examiner(tmp_path_factory: pytest.TempPathFactory) -> Examiner:
    folder = tmp_path_factory.mktemp("champion")
    torch.manual_seed(0)
    detector = detectors.build("rsia_net", detectors.options("rsia_net", OPTIONS))
    about = {"generation": "small-M1", "detector": "rsia_net", "options": OPTIONS, "strategy": "er", "learns": "swaps"}
    learned = named_profile(profile_of(detection.build("none", PARAMS), PARAMS))
    save_generation(folder, detector, {}, {**about, "profiles": [learned]})
    return Examiner.load(folder, None, PARAMS, face_detector="none")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photograph, and four files of formats that are not read; and a note."""
    place = tmp_path / "suspects"
    place.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    Image.fromarray(pixels).save(place / "a.png")
    for name in ("anim.gif", "scan.tiff"):
        Image.new("RGB", (20, 20)).save(place / name)
    (place / "face.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (place / "clip.ts").write_bytes(b"no transport stream")
    (place / "notes.txt").write_text("no clip")
    return place


def asked(examiner: Examiner, paths: list[Path], **how: Path) -> tuple[Scored, list[Answer]]:
    told: list[Answer] = []
    return score(examiner, paths, tell=told.append, **how), told


def test_files_that_are_passed_over_are_named_counted_and_have_an_exit_code_of_their_own(
    examiner: Examiner, folder: Path
) -> None:
    scored, told = asked(examiner, [folder])
    assert scored.exit_code == PASSED_OVER == 3
    head, *lines = passed_over_in_words(scored)
    assert head == "5 files passed over (.gif .heic .tiff .ts .txt):"
    names = ("anim.gif", "clip.ts", "face.heic", "scan.tiff", "notes.txt")
    assert all(name in line for name, line in zip(names, lines, strict=True))
    assert [Path(one.file).name for one in told if one.verdict] == ["a.png"]
    said = scored.as_json("small-M1")
    assert len(said["answers"]) == 5 and len(said["passed_over"]) == 5


def test_where_every_file_was_looked_at_the_exit_code_says_so(examiner: Examiner, folder: Path) -> None:
    scored, _ = asked(examiner, [folder / "a.png"])
    assert scored.exit_code == 0 and not passed_over_in_words(scored)


def test_an_empty_folder_is_an_error(examiner: Examiner, tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="found none: nothing was examined"):
        asked(examiner, [tmp_path])


def test_a_table_has_a_row_a_file_and_no_name_is_a_formula(
    examiner: Examiner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    shutil.copy("a.png", f"{NASTY}.png".replace("/", ""))
    (nasty,) = [path for path in Path().iterdir() if path.name.startswith("=")]
    scored, _ = asked(examiner, [Path("a.png"), nasty, Path("scan.tiff")])
    plain, odd, unread = csv.DictReader(io.StringIO(as_csv(scored.answers)))
    assert plain["verdict"] in ("genuine", "forged") and float(plain["score"]) == pytest.approx(scored.answers[0].score)
    assert plain["sha256"] == scored.answers[0].file.sha256 and plain["threshold"] == "0.5"
    assert odd["file"].startswith("./=cmd<img") and "\\x1b[31m\\u202e" in odd["file"]
    assert (unread["verdict"], unread["reason"], unread["score"]) == ("cannot tell", "unreadable", "")


def test_a_report_is_a_page_and_a_pdf_a_file_and_a_list_of_all(
    examiner: Examiner, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "a.png", folder / f"{NASTY}.png".replace("/", ""))
    scored, _ = asked(examiner, [folder], report=tmp_path / "out")
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(written) == 2 * len(scored.answers) + 1 and "index.html" in written
    assert all(re.fullmatch(r"[\w.-]+", name) for name in written)
    listed = (tmp_path / "out" / "index.html").read_text()
    assert listed.count("<td><a href=") >= len(scored.answers) and "notes.txt" in listed
    for one in scored.answers:
        page = (tmp_path / "out" / f"{reports.name_of(one)}.html").read_text()
        assert "<img src=x" not in page and "\x1b" not in page and "\u202e" not in page
        assert one.file.sha256 is not None and one.file.sha256 in page and one.champion.weights in page
        assert not re.search(r"(?:src|href)=\"(?!data:)", page), "it needs nothing else"
        assert (tmp_path / "out" / f"{reports.name_of(one)}.pdf").read_bytes().startswith(b"%PDF-")


def test_heat_compares_over_the_pictures_of_a_file_and_a_cold_face_says_so(examiner: Examiner, folder: Path) -> None:
    seen = examiner.look(folder / "a.png")
    (picture,) = pictures(examiner, seen, examiner.judge(seen))
    assert picture.heat.shape == (64, 64) and picture.heat.min() >= 0 and picture.heat.max() in (0, 1)
    cold = type(picture)(1, 0, None, 0.9, picture.image, np.zeros((64, 64), np.float32))
    assert cold.is_cold and "no place of the face stands out" in cold.words
    assert np.array_equal(cold.overlay, cold.image)


def test_an_overlay_is_large_enough_to_see_and_two_files_of_one_name_do_not_meet(
    examiner: Examiner, folder: Path, tmp_path: Path
) -> None:
    _, told = asked(examiner, [folder / "a.png", folder / "a.png"], heat_maps=tmp_path / "heat")
    drawn = [Path(one.overlay or "") for one in told]
    assert [path.name for path in drawn] == ["a.png", "a-2.png"]
    with Image.open(drawn[0]) as picture:
        assert picture.height >= 320 and picture.width > 2 * picture.height
