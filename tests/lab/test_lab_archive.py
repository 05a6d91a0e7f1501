from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from components.errors import BadArchive, BadParams, UnknownName
from components.lab.archive import forge_portraits, render_archive
from components.lab.forgeries import FAMILIES
from components.lab.sheet import contact_sheet

SMALL: dict[str, Any] = {"people": 9, "clips_per_person": 2, "frames": 2, "size_px": 96}


def archive(root: Path, *, families: tuple[str, ...] = tuple(FAMILIES), seed: int = 0, first_person: int = 0) -> Path:
    render_archive(root, families=families, seed=seed, first_person=first_person, **SMALL)
    return root


def digests(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive(tmp_path_factory.mktemp("lab") / "rendered")


@pytest.fixture(scope="module")
def clips(rendered: Path) -> pd.DataFrame:
    return pd.read_csv(rendered / "clips.csv", keep_default_na=False)


def test_the_same_seed_gives_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    assert digests(archive(tmp_path / "again")) == digests(rendered)


def test_other_people_another_seed_or_other_families_share_no_clip(rendered: Path, tmp_path: Path) -> None:
    known = {d for n, d in digests(rendered).items() if n.endswith(".mp4")}
    for number, other in enumerate(({"seed": 1}, {"first_person": 9}, {"families": ("identity_swap",)})):
        found = digests(archive(tmp_path / str(number), **other))  # type: ignore[arg-type]
        assert known.isdisjoint(found.values())


def test_the_archive_says_what_its_contract_promises(rendered: Path, clips: pd.DataFrame) -> None:
    assert json.loads((rendered / "lab.json").read_text())["format"] == 1
    assert list(clips.columns) == ["file", "label", "method", "identity", "source", "split", "frames", "mask"]
    on_disk = sorted(p.relative_to(rendered).as_posix() for p in (rendered / "clips").iterdir())
    assert list(clips["file"]) == on_disk
    marks = pd.read_parquet(rendered / "landmarks.parquet")
    assert list(marks.columns) == ["file", "frame", "landmarks"]
    assert len(marks) == clips["frames"].sum() and set(marks["file"]) == set(clips["file"])
    places = np.stack(marks["landmarks"].to_list())
    assert places.shape[1] == 10 and (places > 0).all() and (places < SMALL["size_px"]).all()


def test_every_genuine_clip_has_a_forged_counterpart(clips: pd.DataFrame) -> None:
    genuine, forged = clips[clips["label"] == 0], clips[clips["label"] == 1]
    assert len(genuine) == len(forged) == SMALL["people"] * SMALL["clips_per_person"]
    assert set(genuine["method"]) == {"genuine"} and set(forged["method"]) == set(FAMILIES)
    assert (genuine.groupby("split").size() == forged.groupby("split").size()).all()


def test_no_identity_and_no_source_crosses_a_split(clips: pd.DataFrame) -> None:
    assert set(clips["split"]) == {"train", "val", "test"}
    assert (clips.groupby("identity")["split"].nunique() == 1).all()
    assert (clips.groupby("source")["split"].nunique() == 1).all()
    assert (clips.groupby("source")["identity"].nunique() >= 2).all()


def test_clips_can_be_played(rendered: Path, clips: pd.DataFrame) -> None:
    with av.open(str(rendered / str(clips["file"].iloc[0]))) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert [f.shape for f in frames] == [(96, 96, 3)] * SMALL["frames"]


def test_every_forged_clip_and_no_genuine_one_has_a_mask_of_each_of_its_frames(
    rendered: Path, clips: pd.DataFrame
) -> None:
    forged = clips[clips["label"] == 1]
    assert (clips["mask"][clips["label"] == 0] == "").all()
    assert sorted(forged["mask"]) == sorted(p.relative_to(rendered).as_posix() for p in (rendered / "masks").iterdir())
    for clip in forged.itertuples():
        with av.open(str(rendered / clip.mask)) as film:
            frames = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
        assert [frame.shape for frame in frames] == [(96, 96)] * SMALL["frames"]
        for frame in frames:
            assert set(np.unique(frame)) <= {0, 255}
            assert (frame.min() == 255) == (clip.method == "generated")
            assert frame[48:80, 24:72].any(), "the lower face is there"


def test_masks_cost_little(rendered: Path, clips: pd.DataFrame) -> None:
    masks, films = (sum(p.stat().st_size for p in (rendered / name).iterdir()) for name in ("masks", "clips"))
    assert masks < 0.15 * films


def test_too_few_people_unknown_families_and_no_families_are_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(BadParams, match="at least 6 people"):
        render_archive(tmp_path, families=["generated"], people=4, clips_per_person=1, frames=1, size_px=96, seed=0)
    with pytest.raises(UnknownName, match="known: generated"):
        render_archive(tmp_path, families=["morph"], people=6, clips_per_person=1, frames=1, size_px=96, seed=0)
    with pytest.raises(BadParams, match="at least one forgery family"):
        render_archive(tmp_path, families=[], people=6, clips_per_person=1, frames=1, size_px=96, seed=0)


def test_photographs_become_an_archive_of_stills(real_data: Path, tmp_path: Path) -> None:
    def make(root: Path, first_person: int = 0, families: Sequence[str] = tuple(FAMILIES)) -> Path:
        forge_portraits(
            root,
            real_data / "portraits" / "lfw",
            families=families,
            people=6,
            per_person=2,
            seed=0,
            yunet=real_data / "weights" / "face_detection_yunet.onnx",
            first_person=first_person,
        )
        return root

    first, again, others = make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "c", first_person=6)
    assert digests(first) == digests(again)
    clips, strangers = pd.read_csv(first / "clips.csv"), pd.read_csv(others / "clips.csv")
    assert len(clips) == 24 and (clips["frames"] == 1).all() and clips["file"].str.endswith(".png").all()
    assert set(clips["identity"]).isdisjoint(strangers["identity"])
    assert (clips.groupby("source")["split"].nunique() == 1).all()
    forged = clips[clips["label"] == 1].iloc[0]
    still, mask = (cv2.imread(str(first / forged[column]), cv2.IMREAD_UNCHANGED) for column in ("file", "mask"))
    assert still is not None and mask is not None
    assert mask.shape == still.shape[:2] and mask.max() == 255
    whose = ["identity", "source", "split"]
    swapped = pd.read_csv(make(tmp_path / "d", families=["mesh_swap"]) / "clips.csv")
    assert swapped[whose].drop_duplicates().to_numpy().tolist() == clips[whose].drop_duplicates().to_numpy().tolist()


def test_a_folder_with_too_few_photographs_is_refused(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "Nobody").mkdir()
    with pytest.raises(BadArchive, match="expected 6 people"):
        forge_portraits(
            tmp_path / "out",
            tmp_path,
            families=["generated"],
            people=6,
            per_person=1,
            seed=0,
            yunet=real_data / "weights" / "face_detection_yunet.onnx",
        )


def test_the_contact_sheet_shows_every_family_beside_the_genuine_portrait(tmp_path: Path) -> None:
    sheet = cv2.imread(str(contact_sheet(tmp_path / "deep" / "sheet.png", people=2)))
    assert sheet is not None and sheet.shape == (18 + 2 * 160, 160 * (1 + len(FAMILIES)), 3)
