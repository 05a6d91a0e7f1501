"""A part of an archive is an archive: genuine clips and the forged ones of some methods, under the paths they had."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.archives import layouts, parts
from components.errors import BadArchive, UnknownName


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_part_holds_the_genuine_clips_and_those_of_its_methods_and_leaves_the_archive_as_it_was(
    faceforensics: Path, tmp_path: Path
) -> None:
    before, whole = contents(faceforensics), layouts.read("faceforensics", faceforensics)
    for method in ("Deepfakes", "NeuralTextures"):
        parts.write(faceforensics, tmp_path / method, layout="faceforensics", methods=[method.upper()])
        part = layouts.read("faceforensics", tmp_path / method)
        assert part == [clip for clip in whole if clip.method in ("genuine", method)]
    assert contents(faceforensics) == before


def test_lists_lose_the_lines_of_clips_that_are_left_out(lab: Path, tmp_path: Path) -> None:
    index, before = (lab / "clips.csv").read_text(), contents(lab)
    swapped = "\n".join(
        line.replace(",warp,", ",swap,") if "0_1" in line or "2_1" in line else line for line in index.split("\n")
    )
    (lab / "clips.csv").write_text(swapped)
    parts.write(lab, tmp_path / "part", layout="lab", methods=["swap"])
    assert {clip.path for clip in layouts.read("lab", tmp_path / "part") if clip.label} == {
        "clips/0_1.png",
        "clips/2_1.png",
    }
    assert contents(lab) == {**before, "clips.csv": swapped.encode()}


def test_a_method_the_archive_has_none_of_is_refused_with_those_it_has(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no method 'Deepfakes'; known: swap, of faces"):
        parts.write(archive, tmp_path / "part", layout="crops", methods=["Deepfakes"])
    assert not (tmp_path / "part").exists()


def test_a_layout_that_lists_its_files_in_another_way_is_refused_and_not_mended(
    faceforensics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = layouts.read("faceforensics", faceforensics)
    monkeypatch.setattr(layouts, "read", lambda layout, root: whole)
    with pytest.raises(
        BadArchive, match=r"expected 12 clips in the part of .* with Deepfakes, found 18: archives of layout"
    ):
        parts.write(faceforensics, tmp_path / "part", layout="faceforensics", methods=["Deepfakes"])
