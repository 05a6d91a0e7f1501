"""Adapters read what the publisher wrote, and refuse what does not agree with itself."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from components.archives import layouts, origins
from components.archives.layouts import faceforensics as official
from components.errors import BadArchive, UnknownName


def test_the_catalogue_is_the_files_of_the_folder() -> None:
    files = {file.stem for file in Path(official.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(layouts.names()) == files >= {"crops", "faceforensics", "lab"}


def test_an_unknown_layout_is_refused_with_the_nearest_known_one(archive: Path) -> None:
    with pytest.raises(UnknownName, match=r"no layout 'crop'; known: .*crops, .*lab, .* Did you mean 'crops'"):
        layouts.read("crop", archive)


@pytest.mark.parametrize(
    ("layout", "faces"), [("crops", "none"), ("lab", "annotated"), ("faceforensics", "retinaface")]
)
def test_every_layout_says_which_face_detector_it_needs(layout: str, faces: str) -> None:
    assert layouts.default_faces(layout) == faces


@pytest.mark.parametrize("layout", layouts.names())
def test_a_folder_that_is_not_there_is_refused(layout: str, tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match=r"expected an archive folder at '.*nowhere', found none"):
        layouts.read(layout, tmp_path / "nowhere")


@pytest.mark.parametrize("layout", layouts.names())
def test_an_empty_folder_is_refused(layout: str, tmp_path: Path) -> None:
    with pytest.raises(BadArchive):
        layouts.read(layout, tmp_path)


# --- crops


def test_crops_are_read_as_listed_and_real_ones_are_called_genuine(archive: Path) -> None:
    clips = layouts.read("crops", archive)
    assert [clip.path for clip in clips] == sorted(clip.path for clip in clips)
    assert Counter((c.label, c.method, c.split) for c in clips) == {
        (0, "genuine", "train"): 2,
        (0, "genuine", "test"): 2,
        (1, "swap, of faces", "train"): 2,
        (1, "swap, of faces", "test"): 2,
    }


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (
            {"label": "2"},
            r"label '2' where 0 \(real\) or 1 \(forged\) was expected \(1\): labels.csv:3 'fake/train_0.jpg'",
        ),
        ({"label": ""}, r"label '' where 0"),
        ({"label": "1.0"}, r"label '1.0' where 0"),
        ({"label": "0", "method": "real"}, r"label 0 outside 'real/' \(1\): 'fake/train_0.jpg'"),
        ({"method": "real"}, r"label 1 contradicts method 'real'"),
        ({"method": ""}, r"label 1 contradicts method ''"),
        ({"split": "training"}, r"split 'training' where train, val, test was expected"),
        ({"source": ""}, r"no source"),
        ({"file": "fake/other.jpg"}, r"listed but missing \(1\): 'fake/other.jpg'\n  present but not listed \(1\)"),
        ({"file": "real/train_0.jpg"}, r"listed twice \(1\): labels.csv:3 'real/train_0.jpg'"),
        ({"file": "/etc/passwd.jpg"}, r"not plain, relative and inside the archive"),
        ({"file": "fake/../../secret.jpg"}, r"not plain, relative and inside the archive"),
        ({"file": "fake\\train_0.jpg"}, r"not plain, relative and inside the archive"),
        ({"file": "C:/train_0.jpg"}, r"not plain, relative and inside the archive"),
        ({"file": "fake//train_0.jpg"}, r"not plain, relative and inside the archive"),
        ({"file": "fake/train_0.txt"}, r"neither a video"),
    ],
)
def test_a_row_that_cannot_be_believed_is_named(
    archive: Path, relist: Callable[..., None], change: dict[str, str], advice: str
) -> None:
    relist(1, **change)
    with pytest.raises(BadArchive, match=advice):
        layouts.read("crops", archive)


def test_all_faults_are_said_at_once_the_first_few_by_name(archive: Path, relist: Callable[..., None]) -> None:
    for n in range(7):
        relist(n, split="later")
    relist(7, label="7")
    with pytest.raises(BadArchive) as refusal:
        layouts.read("crops", archive)
    assert "(7)" in str(refusal.value)
    assert "and 2 more" in str(refusal.value)
    assert "label '7'" in str(refusal.value)


def test_a_file_that_is_not_listed_is_refused_wherever_it_lies(archive: Path) -> None:
    for name in ("real/forgotten.jpg", "elsewhere/forgotten.png", "forgotten.mp4"):
        (archive / name).parent.mkdir(exist_ok=True)
        shutil.copy(archive / "real/train_0.jpg", archive / name)
    (archive / "LICENSE").write_text("terms")
    with pytest.raises(
        BadArchive, match=r"not listed \(3\): 'elsewhere/forgotten.png', 'forgotten.mp4', 'real/forgotten"
    ):
        layouts.read("crops", archive)


def test_a_link_is_read_as_its_file_and_a_link_to_nothing_is_refused(archive: Path) -> None:
    cached = archive.parent / "cached.jpg"
    shutil.move(archive / "fake/train_0.jpg", cached)
    (archive / "fake/train_0.jpg").symlink_to(cached)
    assert "fake/train_0.jpg" in {clip.path for clip in layouts.read("crops", archive)}
    cached.unlink()
    with pytest.raises(BadArchive, match=r"link to nothing \(1\): 'fake/train_0.jpg'"):
        layouts.read("crops", archive)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "has the columns \\(none\\); expected file, label"),
        ("file,label,method,split\n", "expected file, label, method, source, split"),
        ("file,label,method,source,split\n", "lists no file"),
        ("file,label,method,source,split\nreal/a.jpg,0,real,a\n", r"another number of fields \(1\): line 2"),
        ('file,label,method,source,split\n"real/a.jpg,0,real,a,train\n', "is not a CSV file"),
    ],
)
def test_a_list_that_is_no_such_list_is_refused(archive: Path, text: str, advice: str) -> None:
    (archive / "labels.csv").write_text(text)
    with pytest.raises(BadArchive, match=advice):
        layouts.read("crops", archive)


def test_a_missing_list_is_named(archive: Path) -> None:
    (archive / "labels.csv").unlink()
    with pytest.raises(BadArchive, match=r"expected the list 'labels.csv' in .* found none"):
        layouts.read("crops", archive)


def test_a_list_of_crops_may_name_masks(archive: Path, mask_column: Callable[..., None]) -> None:
    assert {clip.mask for clip in layouts.read("crops", archive)} == {""}
    mask_column({"fake/train_0.jpg": "masks/a.png", "fake/test_1.jpg": "fake/masks/b.jpg"})
    assert {clip.path: clip.mask for clip in layouts.read("crops", archive) if clip.mask} == {
        "fake/train_0.jpg": "masks/a.png",
        "fake/test_1.jpg": "fake/masks/b.jpg",
    }


@pytest.mark.parametrize(
    ("mask", "advice"),
    [
        ({"fake/train_0.jpg": "../a.png"}, r"mask '../a.png' whose path is not plain, relative and inside the archive"),
        ({"fake/train_0.jpg": "/etc/a.png"}, r"mask '/etc/a.png' whose path is not plain"),
        ({"fake/train_0.jpg": "masks\\a.png"}, r"whose path is not plain"),
        (
            {"fake/train_0.jpg": "masks/a.npz"},
            r"mask 'masks/a.npz' that is neither a video nor a still \(1\): labels.csv:3",
        ),
        ({"real/train_0.jpg": "masks/a.png"}, r"mask of a genuine clip.*\(1\): labels.csv:2 'real/train_0.jpg'"),
        ({"fake/train_0.jpg": "masks/a.png"}, r"listed but missing \(1\): 'masks/a.png'"),
        ({"fake/train_0.jpg": "fake/test_0.jpg"}, r"mask that is a clip itself \(1\): 'fake/test_0.jpg'"),
    ],
)
def test_a_mask_that_cannot_be_believed_is_named(
    archive: Path, mask_column: Callable[..., None], mask: dict[str, str], advice: str
) -> None:
    mask_column(mask, draw=False)
    with pytest.raises(BadArchive, match=advice):
        layouts.read("crops", archive)


def test_a_mask_of_crops_that_no_line_names_is_refused(archive: Path, mask_column: Callable[..., None]) -> None:
    mask_column({"fake/train_0.jpg": "masks/a.png"})
    shutil.copy(archive / "masks/a.png", archive / "masks/b.png")
    with pytest.raises(BadArchive, match=r"present but not listed \(1\): 'masks/b.png'"):
        layouts.read("crops", archive)


@pytest.mark.parametrize(
    ("name", "clips"), [("dfdc", 5200), ("photoshop", 1334), ("diffusion", 950), ("stylegan2", 851)]
)
def test_the_real_archives_of_crops_are_read_whole(real_data: Path, name: str, clips: int) -> None:
    read = layouts.read("crops", real_data / "crops" / name)
    assert len(read) == clips
    assert {clip.method for clip in read if clip.label == 0} == {"genuine"}


# --- faceforensics


def test_the_official_split_has_720_140_and_140_videos_in_pairs() -> None:
    pairs = origins.official()
    assert {split: len(listed) for split, listed in pairs.items()} == {"train": 360, "val": 70, "test": 70}
    videos = [video for listed in pairs.values() for pair in listed for video in pair]
    assert sorted(videos) == [f"{n:03d}" for n in range(1000)]
    assert [pairs[split][0] for split in ("train", "val", "test")] == [("071", "054"), ("720", "672"), ("953", "974")]


def test_a_pair_its_originals_and_both_its_forgeries_share_source_and_split(faceforensics: Path) -> None:
    clips = layouts.read("faceforensics", faceforensics)
    assert len(clips) == 18
    assert Counter(clip.split for clip in clips) == {"train": 6, "val": 6, "test": 6}
    assert {(clip.source, clip.split) for clip in clips} == {
        ("054_071", "train"),
        ("672_720", "val"),
        ("953_974", "test"),
    }
    forged = next(clip for clip in clips if clip.path == "manipulated_sequences/Deepfakes/c23/videos/071_054.mp4")
    assert (forged.label, forged.method, forged.identity) == (1, "Deepfakes", "071")
    original = next(clip for clip in clips if clip.path == "original_sequences/youtube/c23/videos/071.mp4")
    assert (original.label, original.method, original.identity) == (0, "genuine", "071")


def test_masks_and_downloads_are_no_clips_and_every_compression_is_one(faceforensics: Path) -> None:
    original = faceforensics / "original_sequences/youtube/c23/videos/071.mp4"
    for name in (
        "manipulated_sequences/Deepfakes/masks/videos/071_054.mp4",
        "downloaded_videos/x/071.mp4",
        "original_sequences/youtube/c40/videos/071.mp4",
        "original_sequences/youtube/raw/videos/071.mp4",
    ):
        (faceforensics / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(original, faceforensics / name)
    assert len(layouts.read("faceforensics", faceforensics)) == 20


def test_every_compression_of_a_forgery_has_its_mask_if_there_is_one(faceforensics: Path) -> None:
    root = faceforensics / "manipulated_sequences/Deepfakes"
    for name in ("masks/videos/071_054.mp4", "c40/videos/071_054.mp4", "masks/videos/000_003.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "c23/videos/071_054.mp4", root / name)
    mask = "manipulated_sequences/Deepfakes/masks/videos/071_054.mp4"
    assert {clip.path: clip.mask for clip in layouts.read("faceforensics", faceforensics) if clip.mask} == {
        "manipulated_sequences/Deepfakes/c23/videos/071_054.mp4": mask,
        "manipulated_sequences/Deepfakes/c40/videos/071_054.mp4": mask,
    }


def test_split_lists_at_the_root_are_believed_before_the_official_ones(faceforensics: Path) -> None:
    lists = {"train": [["953", "974"]], "val": [["720", "672"]], "test": [["071", "054"]]}
    for split, pairs in lists.items():
        (faceforensics / f"{split}.json").write_text(json.dumps(pairs))
    splits = {clip.source: clip.split for clip in layouts.read("faceforensics", faceforensics)}
    assert splits == {"953_974": "train", "672_720": "val", "054_071": "test"}


@pytest.mark.parametrize(
    ("lists", "advice"),
    [
        (
            {"train": [["071", "054"]]},
            "expected all of train.json, val.json, test.json in .* or none, found train.json",
        ),
        ({"train": [["071", "054"]], "val": [], "test": [["071", "672"]]}, "video '071' is in two pairs"),
        ({"train": [["71", "054"]], "val": [], "test": []}, "not a list of pairs of three-digit ids"),
        ({"train": [["071", "054"]], "val": [], "test": []}, r"video id in no split list \(12\)"),
    ],
)
def test_split_lists_that_do_not_fit_are_refused(
    faceforensics: Path, lists: dict[str, list[list[str]]], advice: str
) -> None:
    for split, pairs in lists.items():
        (faceforensics / f"{split}.json").write_text(json.dumps(pairs))
    with pytest.raises(BadArchive, match=advice):
        layouts.read("faceforensics", faceforensics)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("manipulated_sequences/Deepfakes/c23/videos/071_720.mp4", "forgery of no pair in the lists"),
        ("manipulated_sequences/Deepfake/c23/videos/071_054.mp4", "unexpected video"),
        ("original_sequences/youtube/c23/videos/71.mp4", "unexpected video"),
        ("original_sequences/actor/c23/videos/01__scene.mp4", "unexpected video"),
    ],
)
def test_a_video_that_has_no_place_in_the_official_tree_is_named(faceforensics: Path, name: str, advice: str) -> None:
    (faceforensics / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(faceforensics / "original_sequences/youtube/c23/videos/071.mp4", faceforensics / name)
    with pytest.raises(BadArchive, match=rf"{advice}.*\(1\): '{name}'"):
        layouts.read("faceforensics", faceforensics)


def test_the_real_clips_of_faceforensics_are_read(real_data: Path) -> None:
    clips = layouts.read("faceforensics", real_data / "clips" / "FaceForensics++")
    assert {(clip.path.rsplit("/")[-1], clip.method, clip.source, clip.split) for clip in clips} == {
        ("004.mp4", "genuine", "004_982", "val"),
        ("519.mp4", "genuine", "515_519", "train"),
        ("634.mp4", "genuine", "634_660", "test"),
        ("519_515.mp4", "Deepfakes", "515_519", "train"),
        ("750_743.mp4", "Face2Face", "743_750", "train"),
        ("634_660.mp4", "FaceSwap", "634_660", "test"),
        ("004_982.mp4", "NeuralTextures", "004_982", "val"),
    }


# --- lab


def test_a_lab_archive_is_read_with_identities_and_frames(lab: Path) -> None:
    clips = layouts.read("lab", lab)
    assert len(clips) == 8
    assert {(clip.identity, clip.split) for clip in clips} == {
        ("p0", "train"),
        ("p1", "train"),
        ("p2", "test"),
        ("p3", "test"),
    }
    assert {clip.frames for clip in clips} == {1, 8}


def test_masks_of_a_lab_archive_are_read_where_they_are_listed_and_passed_over_where_not(lab: Path) -> None:
    for name in ("0.png", "nobody.png"):
        (lab / "masks").mkdir(exist_ok=True)
        shutil.copy(lab / "clips/0_1.png", lab / "masks" / name)
    assert not any(clip.mask for clip in layouts.read("lab", lab))
    listed = pd.read_csv(lab / "clips.csv")
    listed.assign(mask=["masks/0.png" if f == "clips/0_1.png" else "" for f in listed["file"]]).to_csv(
        lab / "clips.csv", index=False
    )
    assert {clip.path: clip.mask for clip in layouts.read("lab", lab) if clip.mask} == {"clips/0_1.png": "masks/0.png"}


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"format": 2}'])
def test_a_lab_archive_of_another_format_is_refused(lab: Path, card: str) -> None:
    (lab / "lab.json").write_text(card)
    with pytest.raises(BadArchive, match=r"lab\.json"):
        layouts.read("lab", lab)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"file": "clips/nobody.png"}, "landmarks of a clip that is not listed"),
        ({"frame": 8}, "landmarks of a frame the clip does not have"),
        ({"frame": -1}, "landmarks of a frame the clip does not have"),
        ({"landmarks": [1.0, 2.0]}, "landmarks that are not 10 finite numbers"),
        ({"landmarks": [float("nan")] * 10}, "landmarks that are not 10 finite numbers"),
    ],
)
def test_landmarks_that_fit_no_frame_are_refused(lab: Path, change: dict[str, object], advice: str) -> None:
    rows = pd.read_parquet(lab / "landmarks.parquet").to_dict("records")
    rows[3] |= change
    pd.DataFrame(rows).to_parquet(lab / "landmarks.parquet")
    with pytest.raises(BadArchive, match=advice):
        layouts.read("lab", lab)


def test_landmarks_given_twice_for_a_frame_are_refused(lab: Path) -> None:
    rows = pd.read_parquet(lab / "landmarks.parquet")
    pd.concat([rows, rows.head(1)]).to_parquet(lab / "landmarks.parquet")
    with pytest.raises(BadArchive, match=r"two rows of landmarks for one frame \(1\)"):
        layouts.read("lab", lab)
