"""The suites find what must not be learned from, and name it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.archives import expectations, manifest, validate
from components.archives.expectations import check_faces, check_manifest
from components.archives.report import REPORT_FILE, VALIDATION_FILE, passed, read_validations
from components.errors import Invalid, NoFaceFound
from components.params import Archive, Params, ValidationOptions

ROOT = Path(__file__).parents[2]
PARAMS = ValidationOptions()
EARLIER = pd.DataFrame({"name": ["landed"], "label": [1], "split": ["train"], "archive": ["stylegan"]})


def a_manifest(per_class: int = 3, splits: tuple[str, ...] = ("train", "test")) -> pd.DataFrame:
    rows = [
        {
            "path": f"{'fake' if label else 'real'}/{split}_{n}.jpg",
            "sha256": f"{split}{n}{label}",
            "label": label,
            "method": "swap" if label else "genuine",
            "identity": f"{split}_{n}",
            "source": f"{split}_{n}",
            "split": split,
            "kind": "image",
            "frames": 1,
            "width": 224,
            "height": 224,
        }
        for split in splits
        for n in range(per_class)
        for label in (0, 1)
    ]
    return pd.DataFrame(rows)


def faces_of(clips: pd.DataFrame, frames: int = 2) -> pd.DataFrame:
    rows = clips.loc[clips.index.repeat(frames), ["path", "label", "method", "identity", "source", "split"]]
    return rows.rename(columns={"path": "clip"}).assign(
        archive="swaps",
        frame=np.tile(np.arange(frames), len(clips)),
        score=0.9,
        landmarks=[np.linspace(40, 200, 10, dtype=np.float32)] * len(rows),
        box=[np.array([0, 0, 200, 200], dtype=np.float32)] * len(rows),
    )


def broken(
    rows: pd.DataFrame, role: str = "both", params: ValidationOptions = PARAMS
) -> dict[str, expectations.RuleResult]:
    report = check_manifest(rows, EARLIER, role=role, params=params)
    return {result.rule: result for result in report.broken}


def test_a_sound_manifest_passes_every_rule() -> None:
    report = check_manifest(a_manifest(), EARLIER, role="both", params=PARAMS)
    assert not report.broken
    assert not report.warnings
    report.enforce("swaps")


def test_a_label_other_than_real_or_forged_is_named() -> None:
    rows = a_manifest()
    rows.loc[0, "label"] = 2
    result = broken(rows)["labels"]
    assert result.rows == ("'real/train_0.jpg' (label 2)",)


def test_a_mask_of_a_genuine_clip_is_named() -> None:
    rows = a_manifest().assign(mask="")
    assert not broken(rows)
    rows.loc[:1, "mask"] = "masks/a.png"
    assert broken(rows)["masks"].rows == ("'real/train_0.jpg' (mask masks/a.png)",)


def test_an_unknown_split_is_named() -> None:
    rows = a_manifest()
    rows.loc[0, "split"] = "later"
    assert broken(rows)["splits"].rows == ("'real/train_0.jpg' (split later)",)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_an_empty_split_is_named(missing: str) -> None:
    rows = a_manifest()
    result = broken(rows[rows["split"] != missing])["splits_in_use"]
    assert result.rows == (f"no split '{missing}'",)


def test_a_val_split_need_not_be_but_holds_both_classes_if_it_is() -> None:
    rows = a_manifest(splits=("train", "val", "test"))
    assert not broken(rows)
    one_sided = rows[(rows["split"] != "val") | (rows["label"] == 0)]
    assert broken(one_sided)["forged_clips"].rows[0] == "'real/val_0.jpg' (split val, forged_clips_of_split 0)"


def test_a_benchmark_is_all_test_and_needs_no_training_clips() -> None:
    rows = a_manifest(splits=("test",))
    assert not broken(rows, role="benchmark")
    assert set(broken(a_manifest(), role="benchmark")) == {"splits"}


def test_a_class_with_too_few_clips_is_named_with_its_split() -> None:
    rows = a_manifest(per_class=2)
    few = rows.drop(index=rows[(rows["split"] == "test") & (rows["label"] == 1)].index[0])
    found = broken(few)
    assert set(found) == {"forged_clips"}
    assert "'fake/test_1.jpg' (split test, forged_clips_of_split 1)" in found["forged_clips"].rows


def test_a_source_in_two_splits_is_named_with_every_clip_of_it() -> None:
    rows = a_manifest()
    rows.loc[rows["path"] == "fake/test_0.jpg", "source"] = "train_0"
    result = broken(rows)["sources"]
    assert result.broken == 3
    assert result.rows[0] == "'real/train_0.jpg' (source train_0, split train)"


def test_an_identity_in_two_splits_is_named_and_unknown_ones_are_no_identity() -> None:
    rows = a_manifest()
    assert not broken(rows.assign(identity=""))
    rows.loc[rows["path"] == "fake/test_0.jpg", "identity"] = "train_0"
    assert set(broken(rows)) == {"identities"}


def test_bytes_with_both_labels_are_named() -> None:
    rows = a_manifest()
    rows.loc[1, "sha256"] = rows.loc[0, "sha256"]
    assert set(broken(rows)) == {"bytes_labels"}


def test_bytes_in_two_splits_are_named_and_twice_in_one_only_warned_of() -> None:
    rows = a_manifest()
    rows.loc[rows["path"] == "real/train_0.jpg", "sha256"] = "same"
    rows.loc[rows["path"] == "real/train_1.jpg", "sha256"] = "same"
    report = check_manifest(rows, EARLIER, role="both", params=PARAMS)
    assert not report.broken
    assert [result.rule for result in report.warnings] == ["bytes_once"]
    rows.loc[rows["path"] == "real/test_1.jpg", "sha256"] = "same"
    assert broken(rows)["bytes_splits"].broken == 3


def test_a_file_that_landed_with_another_archive_is_told_with_that_archive() -> None:
    rows = a_manifest()
    rows.loc[3, "sha256"] = "landed"
    report = check_manifest(rows, EARLIER, role="both", params=PARAMS)
    assert not report.broken
    (told,) = report.warnings
    assert (told.rule, told.rows) == ("bytes_shared", ("'fake/train_1.jpg' (landed_in stylegan)",))


def test_a_file_that_landed_under_the_other_label_is_named() -> None:
    rows = a_manifest()
    rows.loc[2, "sha256"] = "landed"
    found = broken(rows)["bytes_labels_archives"]
    assert found.rows == ("'real/train_1.jpg' (label 0, other_label_in stylegan)",)


@pytest.mark.parametrize(("forged", "refused"), [(3, False), (4, True)])
def test_an_archive_most_of_whose_forgeries_landed_before_is_that_archive_again(forged: int, refused: bool) -> None:
    rows = a_manifest()
    files = rows[(rows["label"] == 0) | (rows["label"].cumsum() <= forged)]
    earlier = files[["sha256", "label", "split"]].rename(columns={"sha256": "name"}).assign(archive="stylegan")
    report = check_manifest(rows, earlier, role="both", params=PARAMS)
    assert [result.rule for result in report.broken] == ["bytes_archives"] * refused


def test_a_clip_that_is_too_small_is_named_with_its_size() -> None:
    rows = a_manifest()
    rows.loc[0, "height"] = 63
    assert broken(rows)["sides"].rows == ("'real/train_0.jpg' (width 224, height 63)",)


def test_a_clip_without_frames_is_named() -> None:
    rows = a_manifest()
    rows.loc[0, "frames"] = 0
    assert set(broken(rows)) == {"frames"}


def test_a_refusal_lists_every_broken_rule_and_ten_rows_of_each() -> None:
    rows = a_manifest(per_class=20)
    rows.loc[:14, "height"] = 8
    rows.loc[0, "label"] = 3
    report = check_manifest(rows, EARLIER, role="both", params=PARAMS)
    with pytest.raises(Invalid) as refusal:
        report.enforce("swaps")
    words = str(refusal.value)
    assert words.startswith("archive 'swaps' must not be learned from:")
    assert "expected that every label is 0 (real) or 1 (forged); broken by 1: 'real/train_0.jpg' (label 3)" in words
    assert "expected that every side measures 64 px or more; broken by 15:" in words
    assert "and 5 more" in words


# --- the stage


def _validate(rows: pd.DataFrame, place: Path) -> Path:
    manifest.write(rows, place / "m/manifest.parquet")
    manifest.write(rows.head(0), place / "m/set_aside.parquet")
    manifest.write(EARLIER, place / "m/earlier.parquet", manifest.EARLIER)
    validate.validate(place / "m", place / "v", name="swaps", role="both", validation_params=PARAMS)
    return place / "v/report.json"


def test_the_stage_writes_the_same_files_every_time(tmp_path: Path) -> None:
    one, two = _validate(a_manifest(), tmp_path / "one"), _validate(a_manifest(), tmp_path / "two")
    report = json.loads(one.read_text())
    assert (report["passed"], report["archive"], report["clips"]) == (True, "swaps", 12)
    assert sorted(path.name for path in one.parent.iterdir()) == [REPORT_FILE, VALIDATION_FILE]
    for path in one.parent.iterdir():
        assert path.read_bytes() == (two.parent / path.name).read_bytes()


def test_what_great_expectations_says_is_kept_in_its_own_form_without_every_row(tmp_path: Path) -> None:
    rows = a_manifest(per_class=40)
    rows.loc[:99, "height"] = 8
    rows.loc[0, "label"] = 2
    with pytest.raises(Invalid):
        _validate(rows, tmp_path)
    (said,) = read_validations(tmp_path / "v")
    assert (said["suite_name"], said["success"]) == ("manifest", False)
    assert said["statistics"]["unsuccessful_expectations"] == 2
    found = {result["expectation_config"]["meta"]["rule"]: result for result in said["results"]}
    assert found["sides"]["result"]["unexpected_count"] == 100
    assert len(found["sides"]["result"]["partial_unexpected_list"]) == 20
    assert len(found["sides"]["meta"]["rows"]) == 10
    assert (tmp_path / "v" / VALIDATION_FILE).stat().st_size < 60_000

    from great_expectations.core import ExpectationSuiteValidationResult

    assert not ExpectationSuiteValidationResult(**said).success, "its own class takes it"


def test_the_stage_stops_with_the_rows_and_leaves_its_report(tmp_path: Path) -> None:
    rows = a_manifest()
    rows.loc[rows["path"] == "fake/test_0.jpg", "source"] = "train_0"
    with pytest.raises(Invalid, match=r"'fake/test_0\.jpg'"):
        _validate(rows, tmp_path)
    assert json.loads((tmp_path / "v/report.json").read_text())["passed"] is False


def test_the_stage_is_quiet_on_the_command_line(tmp_path: Path) -> None:
    _validate(a_manifest(), tmp_path)
    (tmp_path / "params.yaml").write_text("validation: {min_per_class: 3}\n")
    command = [sys.executable, "-W", "error", "-m", "components.archives.validate", "m", "v2"]
    done = subprocess.run(
        [*command, "--name", "swaps", "--role", "both"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "v2/report.json").is_file()


@pytest.mark.parametrize("name", [pytest.param("dfdc", marks=pytest.mark.slow), "photoshop", "diffusion", "stylegan2"])
def test_the_real_archives_of_crops_may_be_learned_from(real_data: Path, tmp_path: Path, name: str) -> None:
    from components.archives.ingest import ingest

    archive, nobody = real_data / "crops" / name, tmp_path / "nobody"
    params = Params(archives={name: Archive(layout="crops", validation="hash")})
    ingest(archive, nobody, tmp_path / "m", name=name, layout="crops", role="both", params=params)
    rows = manifest.read(tmp_path / "m/manifest.parquet")
    sources = rows.groupby("split")["source"].nunique()
    assert 0.05 < sources["val"] / (sources["val"] + sources["train"]) < 0.15
    report = check_manifest(rows, manifest.empty(manifest.EARLIER), role="both", params=PARAMS)
    assert not report.broken


# --- faces


def test_a_sound_face_table_passes() -> None:
    rows = a_manifest()
    assert not check_faces(faces_of(rows), rows, PARAMS, size_px=256).broken


def test_faces_without_landmarks_pass() -> None:
    rows = a_manifest()
    faces = faces_of(rows)
    faces["landmarks"] = [np.full(10, np.nan, dtype=np.float32)] * len(faces)
    assert not check_faces(faces, rows, PARAMS, size_px=256).broken


def test_too_few_faces_are_said_with_the_clips_that_gave_none() -> None:
    rows = a_manifest(per_class=4)
    faces = faces_of(rows[rows["path"] != "fake/train_3.jpg"])
    with pytest.raises(
        NoFaceFound, match=r"90% or more of the forged clips give a face; broken by 1: 'fake/train_3.jpg'"
    ):
        check_faces(faces, rows, PARAMS)
    assert not check_faces(faces, rows, ValidationOptions(min_yield=0.8)).broken


def test_a_yield_that_is_low_for_one_class_only_is_noticed() -> None:
    rows = a_manifest(per_class=20)
    without = rows.index[rows["label"] == 1][:6]
    with pytest.raises(NoFaceFound, match="forged clips") as refusal:
        check_faces(faces_of(rows.drop(index=without)), rows, ValidationOptions(min_yield=0.9))
    assert "real clips" not in str(refusal.value)


def test_no_face_at_all_is_said() -> None:
    rows = a_manifest()
    with pytest.raises(NoFaceFound, match="broken by 12"):
        check_faces(faces_of(rows).head(0), rows, PARAMS)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"clip": "real/unknown.jpg"}, "every face is of a clip of the manifest"),
        ({"label": 1}, "no face contradicts the manifest"),
        ({"split": "val"}, "no face contradicts the manifest"),
        ({"source": "other"}, "no face contradicts the manifest"),
        ({"score": 1.5}, "every score lies between 0 and 1"),
        ({"landmarks": np.linspace(40, 257, 10)}, "every landmark lies inside its crop"),
        ({"landmarks": np.linspace(-1, 200, 10)}, "every landmark lies inside its crop"),
        ({"width": 128}, "every crop is 256 px wide"),
    ],
)
def test_a_face_that_cannot_be_is_named(change: dict[str, object], rule: str) -> None:
    rows = a_manifest()
    faces = faces_of(rows).reset_index(drop=True).assign(width=256, height=256)
    for column, value in change.items():
        faces.at[0, column] = value
    with pytest.raises(Invalid, match=rule):
        check_faces(faces, rows, PARAMS, size_px=256)


def test_a_split_that_lost_a_class_is_refused() -> None:
    rows = a_manifest(per_class=3)
    kept = rows[~((rows["split"] == "test") & (rows["label"] == 1))]
    with pytest.raises(Invalid, match="2 or more forged clips in every split"):
        check_faces(faces_of(kept), rows, ValidationOptions(min_yield=0.1))


def test_what_was_found_of_faces_is_written_even_where_they_are_refused(tmp_path: Path) -> None:
    rows = a_manifest(per_class=4)
    with pytest.raises(NoFaceFound):
        check_faces(faces_of(rows[rows["path"] != "fake/train_3.jpg"]), rows, PARAMS, tmp_path)
    assert [said["suite_name"] for said in read_validations(tmp_path)] == ["faces", "clips"]
    assert passed(tmp_path) is False


def test_rules_are_imported_without_great_expectations() -> None:
    code = "import sys, components.archives.expectations; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
