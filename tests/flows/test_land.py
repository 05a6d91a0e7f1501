"""An archive lands: once, whole, or not at all; and its name is never given to other content."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from components.errors import BadArchive, BadParams, NameTaken
from flows.cli import app
from flows.land import land
from flows.workspace import Workspace


@pytest.fixture(scope="module")
def _landed(_fresh, crops_at, tmp_path_factory):
    workspace = Workspace.at(shutil.copytree(_fresh, tmp_path_factory.mktemp("landed") / "workspace", symlinks=True))
    land(workspace, "swaps", str(crops_at(tmp_path_factory.mktemp("crops"))), layout="crops")
    return workspace.root


@pytest.fixture
def landed(_landed, tmp_path):
    """A workspace in which the archive has landed as 'swaps'."""
    return Workspace.at(shutil.copytree(_landed, tmp_path / "landed", symlinks=True))


def test_it_lands_under_dvc_with_its_manifest_and_its_place_in_params(workspace, archive):
    found = land(workspace, "swaps", str(archive), layout="crops")
    assert (found.clips, found.already) == (8, False)
    assert (workspace.data("archives", "swaps.dvc")).is_file()
    assert (workspace.data("manifests", "swaps") / "manifest.parquet").is_file()
    params = workspace.params()
    assert params.sequence == params.benchmarks == ("swaps",)
    assert params.archives["swaps"].faces == "none"
    assert not (workspace.root / ".git").exists()  # none of this needs Git


def test_an_archive_is_recognised_and_what_its_layout_has_to_say_is_said(workspace, crops_at, tmp_path):
    crops = crops_at(tmp_path / "crops")
    for name in ("real", "fake"):
        for picture in (crops / name).iterdir():
            split = picture.name.partition("_")[0].replace("test", "val")
            target = tmp_path / "CDDB" / "gaugan" / split / {"real": "0_real", "fake": "1_fake"}[name] / picture.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, target)
    asked = CliRunner().invoke(app, ["land", "cddb", str(tmp_path / "CDDB"), "-C", str(workspace.root)])
    assert asked.exit_code == 0, asked.output
    assert "Recognised CDDB: --layout cddb, by the names of 8 files." in asked.stderr
    assert "Its `val` is what the benchmark examines: it is test here." in asked.stdout
    assert "Not verified: That names of images tie nothing together" in asked.stdout
    assert workspace.params().archives["cddb"].layout == "cddb"


def test_comments_and_the_shape_of_params_stay(landed):
    text = landed.params_file.read_text()
    for kept in (
        "# A family of one line.",
        "# what landed",
        "# what is asked",
        "  small: {detector: rsia_net, strategy: cffd}   # the only line",
        "faces: {size_px: 64}",
        "  - {rule: infra}",
        "sequence: [swaps]",
    ):
        assert kept in text, kept


def test_landing_again_changes_nothing_and_says_so(landed, archive):
    before = landed.params_file.read_bytes()
    found = land(landed, "swaps", str(archive), layout="crops")
    assert found.already
    assert landed.params_file.read_bytes() == before


def test_other_files_or_another_role_under_a_taken_name_are_refused(landed, archive, crops_at, tmp_path):
    before = landed.params_file.read_bytes()
    with pytest.raises(NameTaken, match="under another name"):
        land(landed, "swaps", str(crops_at(tmp_path / "others", seed=1)), layout="crops")
    with pytest.raises(BadParams, match="role 'benchmark' instead of 'both'"):
        land(landed, "swaps", str(archive), layout="crops", role="benchmark")
    assert landed.params_file.read_bytes() == before


def test_what_landed_and_was_lost_is_taken_from_the_cache_to_be_compared(landed, archive):
    shutil.rmtree(landed.data("archives", "swaps"))
    assert land(landed, "swaps", str(archive), layout="crops").already
    shutil.rmtree(landed.data("archives", "swaps"))
    shutil.rmtree(landed.root / ".dvc" / "cache")
    with pytest.raises(BadArchive, match="dvc pull"):
        land(landed, "swaps", str(archive), layout="crops")


def test_an_archive_of_another_layout_leaves_nothing_behind(workspace, archive):
    before = workspace.params_file.read_bytes()
    with pytest.raises(BadArchive, match=r"lab\.json"):
        land(workspace, "swaps", str(archive), layout="lab")
    assert workspace.params_file.read_bytes() == before
    assert not workspace.data("archives").exists()


def test_what_a_killed_landing_left_behind_is_replaced_or_finished(workspace, archive, crops_at):
    crops_at(workspace.data("archives", "swaps"), seed=1)  # other files of the same name, never announced
    found = land(workspace, "swaps", str(archive), layout="crops")
    assert not found.already
    again = workspace.params_file.read_text()
    workspace.params_file.write_text(again.replace("sequence: [swaps]", "sequence: []"))
    assert land(workspace, "swaps", str(archive), layout="crops").digest == found.digest


def test_the_completion_marker_is_no_part_of_an_archive(landed, archive):
    (archive / "PERENNIAL.json").write_text('{"layout": "crops"}')
    assert land(landed, "swaps", str(archive), layout="crops").already
