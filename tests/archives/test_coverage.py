"""How much of an archive is there: whole, partial, with strangers in it, mislabelled, or contradicting itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.archives import layouts
from components.archives.coverage import Outcome, look
from components.errors import BadArchive, BadParams
from flows.cli import app
from flows.layouts import page, recognised, table

Plant = Callable[..., Path]
LIST = "List_of_testing_videos.txt"


def uadfv(n: int) -> list[str]:
    return [f"{name}.mp4" for i in range(n) for name in (f"real/{i:04d}", f"fake/{i:04d}_fake")]


@pytest.fixture
def celeb(plant: Plant) -> Path:
    return plant(
        ["Celeb-real/id0_0000.mp4", "Celeb-real/id1_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4"],
        {LIST: "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n0 Celeb-synthesis/id0_id9_0000.mp4\n"},
    )


def test_a_whole_archive_is_whole(plant: Plant) -> None:
    found = look("uadfv", plant(uadfv(49)))
    assert found.outcome is Outcome.WHOLE
    assert [(count.what, count.here, count.official) for count in found.counts] == [
        ("genuine", 49, 49),
        ("forged", 49, 49),
    ]
    assert sum(found.clips.values()) == 98


def test_a_part_is_partial_by_the_official_counts_and_still_lands(plant: Plant) -> None:
    root = plant(uadfv(40))
    found = look("uadfv", root)
    assert found.outcome is Outcome.MISSING
    assert "  genuine: 40 of 49" in found.lines()
    assert found.lines()[-1].startswith("Partial. What is here can land, but results on a part do not compare")
    assert layouts.read("uadfv", root)


def test_a_part_is_partial_by_the_list_the_archive_brings(celeb: Path) -> None:
    found = look("celebdf_v2", celeb)
    assert found.outcome is Outcome.MISSING
    assert found.missing == ("Celeb-synthesis/id0_id9_0000.mp4",)
    assert found.clips == {"train real": 1, "test real": 1, "test forged": 1}


def test_missing_clips_of_faceforensics_are_named_for_the_folders_that_are_there(plant: Plant) -> None:
    root = plant([f"original_sequences/youtube/c23/videos/{n}.mp4" for n in ("071", "054")])
    found = look("faceforensics", root)
    assert len(found.missing) == 998
    assert "original_sequences/youtube/c23/videos/720.mp4" in found.missing
    assert "  genuine train, c23: 2 of 720" in found.lines()


def test_a_file_without_a_place_is_extra(plant: Plant) -> None:
    root = plant([*uadfv(49), "real/holiday.mp4"])
    found = look("uadfv", root)
    assert found.outcome is Outcome.EXTRA
    assert found.extra == ("real/holiday.mp4 (unexpected video)",)
    with pytest.raises(BadArchive, match=r"unexpected video \(1\): 'real/holiday.mp4'"):
        layouts.read("uadfv", root)


def test_a_label_the_list_contradicts_is_a_mismatch_whatever_else_is_wrong(celeb: Path, plant: Plant) -> None:
    (celeb / LIST).write_text("0 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n")
    plant(["Celeb-real/holiday.mp4"])
    found = look("celebdf_v2", celeb)
    assert found.outcome is Outcome.MISLABELLED
    assert found.mislabelled == ("Celeb-real/id0_0000.mp4 (the list says forged, its place real)",)
    assert len(found.extra) == 1


def test_a_list_that_cannot_be_followed_is_contradictory(celeb: Path) -> None:
    (celeb / LIST).write_text("2 Celeb-real/id0_0000.mp4\n")
    assert look("celebdf_v2", celeb).outcome is Outcome.CONTRADICTORY


def test_crops_are_compared_with_their_list_and_refused_in_part(archive: Path, relist: Callable[..., None]) -> None:
    assert look("crops", archive).outcome is Outcome.WHOLE
    (archive / "fake/train_0.jpg").unlink()
    found = look("crops", archive)
    assert (found.outcome, found.missing) == (Outcome.MISSING, ("fake/train_0.jpg",))
    assert found.lines()[-1].startswith("Partial, by a list the layout wants whole")
    relist(0, label="1", method="swap")
    assert look("crops", archive).outcome is Outcome.MISLABELLED


def test_a_tree_of_another_archive_is_refused(plant: Plant) -> None:
    with pytest.raises(BadArchive, match=r"expected clips of UADFV under .* `perennial layouts uadfv` shows it"):
        look("uadfv", plant([], {"readme.txt": "nothing"}))


def test_what_was_recognised_is_said_and_several_are_asked_about(plant: Plant, celeb: Path, archive: Path) -> None:
    name, said = recognised(str(archive))
    assert (name, said) == ("crops", ["Recognised crops: --layout crops, by the names of 8 files."])
    assert recognised(str(plant(uadfv(2), at="uadfv")))[0] == "uadfv"
    with pytest.raises(BadArchive, match=r"it could be celebdf_v1 or celebdf_v2. Say which: --layout NAME"):
        recognised(str(celeb))
    with pytest.raises(BadArchive, match=r"none fits"):
        recognised(str(plant(["a/b.mp4"], at="strange")))
    with pytest.raises(BadParams, match="only folders are recognised"):
        recognised("s3://bucket/archive")


def test_both_archives_of_one_tree_are_recognised(plant: Plant) -> None:
    root = plant(
        [f"original_sequences/youtube/c23/videos/{n}.mp4" for n in ("071", "054")]
        + ["original_sequences/actors/c23/videos/01__walking.mp4"]
    )
    name, said = recognised(str(root))
    assert name == "faceforensics"
    assert "1 files fit layout dfd too." in said


def test_verify_changes_nothing_and_ends_with_the_code_of_its_outcome(plant: Plant) -> None:
    root = plant(uadfv(3))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    asked = CliRunner().invoke(app, ["land", "uadfv", str(root), "--verify"])
    assert asked.exit_code == 3
    assert "have: 6 clips" in asked.stdout
    asked = CliRunner().invoke(app, ["land", "uadfv", str(root), "--layout", "uadfv", "--dry-run", "--json"])
    assert json.loads(asked.stdout)["outcome"] == "missing"
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_the_catalogue_names_every_layout_and_a_page_shows_its_tree_and_what_nobody_verified() -> None:
    assert all(name in table() for name in layouts.names())
    said = page("df40")
    assert "DF40_train/<method>/ff/" in said
    assert "Not verified: Levels between" in said
    assert "Lists    none is needed" in said
