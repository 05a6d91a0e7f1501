"""A manifest says what was measured beside what was claimed, in the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from components.archives import ingest, layouts, manifest, media
from components.archives.held_out import hold_out
from components.errors import BadArchive
from components.params import Archive, Params

ROOT = Path(__file__).parents[2]


def ingested(
    archive: Path,
    out: Path,
    *,
    before: Path | None = None,
    layout: str = "crops",
    role: str = "both",
    params: Params | None = None,
) -> Path:
    before, params = before or out.parent / "nobody", params or Params()
    ingest.ingest(archive, before, out, name=out.name, layout=layout, role=role, params=params)
    return out


def rows_of(folder: Path) -> pd.DataFrame:
    return manifest.read(folder / "manifest.parquet")


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_a_still_is_one_frame_with_its_digest_and_its_size(archive: Path, tmp_path: Path) -> None:
    rows = rows_of(ingested(archive, tmp_path / "m"))
    assert list(rows.columns) == manifest.SCHEMA.names
    assert rows["path"].is_monotonic_increasing
    first = rows.iloc[0]
    assert first["sha256"] == hashlib.sha256((archive / first["path"]).read_bytes()).hexdigest()
    assert (first["kind"], first["frames"], first["width"], first["height"]) == ("image", 1, 64, 64)


def test_a_video_is_measured_to_its_end(lab: Path, tmp_path: Path) -> None:
    rows = rows_of(ingested(lab, tmp_path / "m", layout="lab"))
    clips = rows[rows["kind"] == "clip"]
    assert set(clips["frames"]) == {8}
    assert set(clips["width"]) == set(clips["height"]) == {64}


def test_the_same_archive_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    one, two = ingested(archive, tmp_path / "one"), ingested(archive, tmp_path / "two")
    for name in ("manifest.parquet", "earlier.parquet", "set_aside.parquet"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_every_clip_of_a_benchmark_is_a_test_clip(archive: Path, tmp_path: Path) -> None:
    assert set(rows_of(ingested(archive, tmp_path / "m", role="benchmark"))["split"]) == {"test"}


def test_what_landed_earlier_is_handed_down_the_chain(
    archive: Path, tmp_path: Path, crops_at: Callable[..., object]
) -> None:
    folders = [tmp_path / "m" / name for name in ("first", "second", "third")]
    params = Params(archives={folder.name: Archive(layout="crops") for folder in folders})
    before = tmp_path / "m" / "nobody"
    for n, folder in enumerate(folders):
        crops_at(tmp_path / folder.name, seed=1000 * n)
        before = ingested(tmp_path / folder.name, folder, before=before, params=params)
    known = manifest.read_earlier(folders[2] / "earlier.parquet")
    assert known["archive"].value_counts().to_dict() == {"first": 8, "second": 8}
    assert len(manifest.read_earlier(folders[0] / "earlier.parquet")) == 0


def test_a_truncated_video_is_refused_by_name_and_nothing_is_written(lab: Path, tmp_path: Path) -> None:
    cut(lab / "clips/1_0.mp4", 0.8)
    with pytest.raises(
        BadArchive, match=r"cannot be read to its end \(1\): 'clips/1_0.mp4' \(broken or truncated video"
    ):
        ingested(lab, tmp_path / "m", layout="lab")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_video_cut_anywhere_is_told_from_a_whole_one(
    tmp_path: Path, make_video: Callable[..., None], suffix: str, options: dict[str, str], share: float
) -> None:
    path = tmp_path / f"clip{suffix}"
    make_video(path, 0, frames=30, options=options if suffix == ".mp4" else {})
    assert media.measure(path).frames == 30
    cut(path, share)
    with pytest.raises(media.UnreadableError, match="truncated"):
        media.measure(path)


def test_a_file_without_a_video_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"not a video at all")
    with pytest.raises(media.UnreadableError, match="begins like no still and no video"):
        media.measure(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_still_is_refused_by_name(archive: Path, tmp_path: Path, share: float) -> None:
    cut(archive / "fake/train_0.jpg", share)
    with pytest.raises(BadArchive, match=r"cannot be read to its end \(1\): 'fake/train_0.jpg' \(no whole image"):
        ingested(archive, tmp_path / "m")


def test_a_clip_with_other_frames_than_listed_is_refused(lab: Path, tmp_path: Path) -> None:
    listed = (lab / "clips.csv").read_text().replace("p1,p1,train,8", "p1,p1,train,9", 1)
    (lab / "clips.csv").write_text(listed)
    with pytest.raises(BadArchive, match=r"other number of frames \(1\): 'clips/1_0.mp4' \(9 listed, 8 there\)"):
        ingested(lab, tmp_path / "m", layout="lab")


# --- masks


def test_an_archive_with_masks_says_so_in_a_column_of_its_own(
    archive: Path, tmp_path: Path, mask_column: Callable[..., None]
) -> None:
    assert "mask" not in rows_of(ingested(archive, tmp_path / "plain"))
    mask_column({"fake/train_0.jpg": "masks/a.png"})
    rows = rows_of(ingested(archive, tmp_path / "masked"))
    assert list(rows.columns) == [*manifest.SCHEMA.names, "mask"]
    assert rows.set_index("path")["mask"].to_dict() == {
        path: "masks/a.png" if path == "fake/train_0.jpg" else "" for path in rows["path"]
    }


def test_a_column_of_masks_without_any_leaves_the_manifest_as_it_was(
    archive: Path, tmp_path: Path, mask_column: Callable[..., None]
) -> None:
    before = ingested(archive, tmp_path / "before")
    mask_column({})
    after = ingested(archive, tmp_path / "after")
    for name in ("manifest.parquet", "earlier.parquet", "set_aside.parquet"):
        assert (before / name).read_bytes() == (after / name).read_bytes()


def test_a_manifest_that_names_another_mask_is_another_content(
    archive: Path, tmp_path: Path, mask_column: Callable[..., None]
) -> None:
    plain = rows_of(ingested(archive, tmp_path / "plain"))
    mask_column({"fake/train_0.jpg": "masks/a.png"})
    masked = rows_of(ingested(archive, tmp_path / "masked"))
    assert manifest.same_content(masked, masked.copy())
    assert not manifest.same_content(plain, masked)
    assert not manifest.same_content(masked, masked.replace({"mask": {"masks/a.png": "masks/b.png"}}))


def test_a_mask_of_another_size_than_its_clip_is_refused(
    archive: Path, tmp_path: Path, mask_column: Callable[..., None]
) -> None:
    mask_column({"fake/train_0.jpg": "masks/a.png"}, side_px=32)
    advice = r"mask unlike its clip \(1\): 'masks/a.png' \(image 32x32; 'fake/train_0.jpg': image 64x64\)"
    with pytest.raises(BadArchive, match=advice):
        ingested(archive, tmp_path / "m")


def test_a_truncated_mask_is_refused_by_name(archive: Path, tmp_path: Path, mask_column: Callable[..., None]) -> None:
    mask_column({"fake/train_0.jpg": "masks/a.png"})
    cut(archive / "masks/a.png", 0.5)
    with pytest.raises(BadArchive, match=r"mask that cannot be read to its end \(1\): 'masks/a.png' \(no whole image"):
        ingested(archive, tmp_path / "m")


def test_a_mask_may_end_before_its_clip(faceforensics: Path, tmp_path: Path, make_video: Callable[..., None]) -> None:
    mask = "manipulated_sequences/Deepfakes/masks/videos/071_054.mp4"
    make_video(faceforensics / mask, 1, frames=3)
    rows = rows_of(ingested(faceforensics, tmp_path / "m", layout="faceforensics"))
    assert rows["mask"].tolist().count(mask) == 1


# --- twins


def test_sources_that_hold_the_same_bytes_become_one(archive: Path, tmp_path: Path) -> None:
    shutil.copy(archive / "real/train_0.jpg", archive / "real/train_1.jpg")
    rows = rows_of(ingested(archive, tmp_path / "m")).set_index("path")
    assert set(rows.loc[["real/train_0.jpg", "real/train_1.jpg", "fake/train_1.jpg"], "source"]) == {"train_0"}
    assert len(rows) == 8


def test_a_few_training_clips_whose_twin_is_tested_are_set_aside(
    tmp_path: Path, crops_at: Callable[..., object]
) -> None:
    crops_at(tmp_path / "big", per_class=50)
    shutil.copy(tmp_path / "big/real/test_0.jpg", tmp_path / "big/real/train_7.jpg")
    out = ingested(tmp_path / "big", tmp_path / "m")
    assert list(manifest.read_set_aside(out / "set_aside.parquet")["path"]) == ["fake/train_7.jpg", "real/train_7.jpg"]
    rows = rows_of(out)
    assert len(rows) == 198
    assert not rows["path"].isin(["fake/train_7.jpg", "real/train_7.jpg"]).any()
    assert (rows.groupby("sha256")["split"].nunique() == 1).all()


def test_many_twins_across_splits_stay_for_the_suite_to_refuse(archive: Path, tmp_path: Path) -> None:
    shutil.copy(archive / "real/test_0.jpg", archive / "real/train_0.jpg")
    out = ingested(archive, tmp_path / "m")
    assert len(rows_of(out)) == 8
    assert len(manifest.read_set_aside(out / "set_aside.parquet")) == 0


def test_a_source_the_archive_itself_splits_is_never_set_aside(tmp_path: Path, crops_at: Callable[..., object]) -> None:
    rows = crops_at(tmp_path / "big", per_class=100)
    assert isinstance(rows, list)
    listed = (tmp_path / "big/labels.csv").read_text().replace("train_7,train", "test_7,train")
    (tmp_path / "big/labels.csv").write_text(listed)
    assert len(rows_of(ingested(tmp_path / "big", tmp_path / "m"))) == 400


@pytest.mark.slow
def test_the_real_dfdc_sample_holds_four_twins_of_which_two_are_across_splits(real_data: Path, tmp_path: Path) -> None:
    archive = real_data / "crops" / "dfdc"
    rows = manifest.build(layouts.read("crops", archive), archive, layout="crops", role="both")
    kept, aside = manifest.join_twins(rows)
    assert rows["sha256"].duplicated().sum() == 4
    assert (rows.groupby("sha256")["split"].nunique() > 1).sum() == 2
    assert (len(kept), len(aside), set(aside["split"])) == (5196, 4, {"train"})


# --- a validation split


def listed(sources: int, *, people: dict[str, str] | None = None, split: str = "train") -> pd.DataFrame:
    """A genuine and a forged clip of every source."""
    rows = [
        {"path": f"{n}_{label}.png", "label": label, "source": f"s{n}", "identity": (people or {}).get(f"s{n}", ""),
         "split": split}
        for n in range(sources)
        for label in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def held_sources(rows: pd.DataFrame) -> set[str]:
    return set(rows.loc[rows["split"] == "val", "source"])


def test_about_a_tenth_of_the_training_sources_is_held_out_with_both_their_clips() -> None:
    rows = pd.concat([listed(400), listed(50, split="test").assign(source="t")], ignore_index=True)
    split = hold_out(rows, few=2)
    assert 25 <= len(held_sources(split)) <= 55
    assert (split.groupby("source")["split"].nunique() == 1).all()
    assert set(split.loc[rows["split"] == "test", "split"]) == {"test"}
    assert split.drop(columns="split").equals(rows.drop(columns="split"))


def test_archives_that_share_sources_hold_out_the_same_ones_whatever_else_they_hold() -> None:
    one, two = held_sources(hold_out(listed(400), few=1)), held_sources(hold_out(listed(300), few=1))
    assert {name for name in one if int(name[1:]) < 300} == two


def test_sources_that_share_a_person_move_together() -> None:
    people = {f"s{n}": f"person_{(n + 1) // 2}" for n in range(0, 40)}  # s1 and s2, s3 and s4, …
    split = hold_out(listed(40, people=people), few=2)
    assert held_sources(split)
    assert (split.groupby("identity")["split"].nunique() == 1).all()


def test_a_source_of_each_class_is_held_out_where_few_sources_have_both() -> None:
    rows = listed(60)
    split = hold_out(rows[(rows["label"] == 0) | (rows["source"].isin(["s1", "s2", "s3", "s4", "s5"]))], few=2)
    assert split[split["split"] == "val"].groupby("label").size().min() == 2


@pytest.mark.parametrize(
    "rows",
    [
        listed(7),  # two of them would be more than a quarter
        listed(40, people=dict.fromkeys((f"s{n}" for n in range(40)), "one")),
        listed(40)[lambda rows: rows["label"] == 0],
        listed(40, split="test"),
        pd.concat([listed(40), listed(2, split="val").assign(source="v")], ignore_index=True),
    ],
)
def test_what_is_too_small_or_has_its_own_split_is_left_as_it_is(rows: pd.DataFrame) -> None:
    assert hold_out(rows, few=2).equals(rows)


def test_only_an_archive_whose_entry_asks_for_it_is_split_and_what_is_held_out_is_said(
    tmp_path: Path, crops_at: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    crops_at(tmp_path / "big", per_class=20)
    asked = Params(archives={"m": Archive(layout="crops", validation="hash")})
    plain, split = ingested(tmp_path / "big", tmp_path / "n"), ingested(tmp_path / "big", tmp_path / "m", params=asked)
    assert set(rows_of(plain)["split"]) == {"train", "test"}
    held = len(held_sources(rows_of(split)))
    assert held and capsys.readouterr().out == f"m: {held} training sources held out for validation\n"
    ingested(tmp_path / "big", tmp_path / "again", params=asked)
    ingested(tmp_path / "big", tmp_path / "m", role="benchmark", params=asked)
    assert capsys.readouterr().out == "m: too few training sources to hold any out for validation\n"


# --- digests


def test_a_manifest_is_the_same_content_wherever_it_lies(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive, tmp_path / "elsewhere")
    one, two = ingested(archive, tmp_path / "one"), ingested(tmp_path / "elsewhere", tmp_path / "two")
    assert manifest.same_content(rows_of(one), rows_of(two).sample(frac=1, random_state=0))
    assert manifest.tree_digest(archive) == manifest.tree_digest(tmp_path / "elsewhere")


@pytest.mark.parametrize("change", [{"label": 0}, {"split": "train"}, {"source": "x"}, {"sha256": "0"}, {"path": "z"}])
def test_a_manifest_with_another_claim_is_another_content(
    archive: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    rows = rows_of(ingested(archive, tmp_path / "one"))
    other = rows.copy()
    for column, value in change.items():
        other.loc[0, column] = value
    assert not manifest.same_content(rows, other)


def test_a_folder_with_one_byte_more_has_another_digest(archive: Path) -> None:
    before = manifest.tree_digest(archive)
    with (archive / "labels.csv").open("a") as file:
        file.write("\n")
    assert manifest.tree_digest(archive) != before


def test_a_parquet_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "manifest.parquet")
    for path in (tmp_path / "manifest.parquet", tmp_path / "missing.parquet"):
        with pytest.raises(BadArchive, match=r"as stage ingest writes it.*\n?.*Run ingest again"):
            manifest.read(path)


# --- the stage


def test_the_stage_runs_from_the_command_line_and_says_what_is_wrong_without_a_traceback(
    archive: Path, tmp_path: Path, relist: Callable[..., None]
) -> None:
    def stage() -> subprocess.CompletedProcess[str]:
        places = [str(archive), str(tmp_path / "nobody"), str(tmp_path / "m")]
        options = ["--name", "swaps", "--layout", "crops", "--role", "both"]
        command = [sys.executable, "-m", "components.archives.ingest", *places, *options]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    (tmp_path / "params.yaml").write_text("archives: {swaps: {layout: crops}}\n")
    done = stage()
    assert (done.returncode, done.stderr) == (0, "")
    assert len(rows_of(tmp_path / "m")) == 8
    relist(1, label="2")
    done = stage()
    assert done.returncode == 1
    assert done.stderr.startswith("BadArchive: ")
    assert "Traceback" not in done.stderr


def test_real_videos_with_and_without_sound_are_whole(real_data: Path) -> None:
    videos = sorted((real_data / "clips").rglob("*.mp4"))
    assert [path.name for path in videos if media.measure(path).frames < 100] == []
