"""What is wrong is said with what was expected, what was found and what to do; and nothing has changed."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml

from components.archives import layouts
from components.errors import BadArchive, BadParams, BrokenLineage, NameTaken, PerennialError, StageFailed, UnknownName
from components.generations import lineage
from components.params import Params
from flows import pipeline
from flows.cli import app
from flows.land import land
from flows.workspace import Workspace


@pytest.fixture
def refused(workspace, content) -> Callable[..., Iterator[None]]:
    """Within `with refused(Error, "words", …)` that error is raised, its message has all words, and no byte changed."""

    @contextmanager
    def expect(kind: type[PerennialError], *words: str, besides: tuple[str, ...] = ()) -> Iterator[None]:
        before = content(workspace.root)
        with pytest.raises(kind) as caught:
            yield
        assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)
        after = {
            name: digest for name, digest in content(workspace.root).items() if not name.startswith(besides or "\0")
        }
        assert after == before

    return expect


def relist(archive: Path, rows: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    """Rewrite clips.csv of a lab archive; clips and landmarks that are listed no more go too."""
    with (archive / "clips.csv").open(newline="") as file:
        kept = rows(list(csv.DictReader(file)))
    with (archive / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    names = {row["file"] for row in kept}
    for path in archive.glob("clips/*"):
        if path.relative_to(archive).as_posix() not in names:
            path.unlink()
    keep_landmarks(archive, names)


def keep_landmarks(archive: Path, names: set[str]) -> None:
    marks = pd.read_parquet(archive / "landmarks.parquet")
    marks[marks["file"].isin(names)].to_parquet(archive / "landmarks.parquet")


def perennial(workspace: Workspace, *words: str) -> None:
    app([*words, "-C", str(workspace.root)], standalone_mode=False)


# -- landing ----------------------------------------------------------------------------------------------------------


def test_an_unknown_layout_is_answered_with_the_known_ones(workspace, spoilt, refused):
    with refused(UnknownName, f"no layout 'labb'; known: {', '.join(layouts.names())}", "Did you mean 'lab'?"):
        perennial(workspace, "land", "new", str(spoilt), "--layout", "labb")


def test_a_label_other_than_0_or_1_is_named_with_its_line_and_file(workspace, spoilt, refused):
    relist(spoilt, lambda rows: [row | {"label": "2"} if n == 3 else row for n, row in enumerate(rows)])
    with refused(BadArchive, "label '2' where 0 (real) or 1 (forged) was expected", "clips.csv:5 'clips/", "land the"):
        perennial(workspace, "land", "new", str(spoilt), "--layout", "lab")


def test_a_truncated_video_is_named(workspace, spoilt, refused):
    video = min(spoilt.glob("clips/*.mp4"))
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with refused(
        BadArchive, "file that cannot be read to its end (1)", f"'clips/{video.name}'", "land the archive again"
    ):
        perennial(workspace, "land", "new", str(spoilt), "--layout", "lab")


def test_the_name_of_an_archive_that_landed_is_not_given_to_other_bytes(workspace, spoilt, refused):
    (spoilt / "lab.json").write_text(json.dumps(json.loads((spoilt / "lab.json").read_text()) | {"seed": 1}))
    with refused(NameTaken, "expected the content that landed as 'swaps'", str(spoilt), "under another name"):
        perennial(workspace, "land", "swaps", str(spoilt), "--layout", "lab")


def test_the_same_archive_may_land_again_under_its_name_and_changes_nothing(workspace, archive, content, capsys):
    before = content(workspace.root)
    perennial(workspace, "land", "swaps", str(archive), "--layout", "lab")
    assert "'swaps' had landed already" in capsys.readouterr().out
    assert content(workspace.root) == before


def test_an_archive_landed_in_another_role_is_refused(workspace, archive, refused):
    with refused(BadParams, "role 'task' instead of 'both'", "under another name"):
        perennial(workspace, "land", "swaps", str(archive), "--layout", "lab", "--role", "task")


# -- stages: what only they can see -----------------------------------------------------------------------------------


def landed(workspace: Workspace, archive: Path, **about: str) -> None:
    """Land a spoilt archive in place of the sound one, whose files it shares."""
    shutil.rmtree(workspace.root)
    fresh = Workspace.create(workspace.root, "archives: {}\nfaces: {size_px: 96, frames: 2}\nvalidation: {}\n")
    pipeline.start(fresh.root)
    land(fresh, "new", str(archive), layout="lab", **about)


def run(workspace: Workspace, stage: str) -> None:
    pipeline.reproduce(workspace.root, stage, timeout_s=120)


@pytest.mark.slow
def test_an_archive_without_test_clips_is_not_learned_from(workspace, spoilt, refused):
    relist(spoilt, lambda rows: [row for row in rows if row["split"] != "test"])
    landed(workspace, spoilt)
    with refused(
        StageFailed, "Invalid: archive 'new'", "no split 'test'", "Mend the archive", besides=("data/validation/new/",)
    ):
        run(workspace, "validate@new")


@pytest.mark.slow
def test_a_source_in_two_splits_is_named_with_its_clips(workspace, spoilt, refused):
    torn = []

    def tear(rows):
        row = next(row for row in rows if row["split"] == "train")
        torn.append(row["file"])
        return [other | {"split": "test"} if other is row else other for other in rows]

    relist(spoilt, tear)
    landed(workspace, spoilt)
    words = ("expected that no source is in two splits", f"'{torn[0]}' (source ", "split test)", "Mend the archive")
    with refused(StageFailed, *words, besides=("data/validation/new/",)):
        run(workspace, "validate@new")


@pytest.mark.slow
def test_a_mended_archive_lands_under_a_new_name_although_it_shares_files_with_the_refused_one(
    workspace, spoilt, archive
):
    relist(spoilt, lambda rows: [row | {"split": "test"} if n == 0 else row for n, row in enumerate(rows)])
    landed(workspace, spoilt)
    with pytest.raises(StageFailed, match="Mend the archive and land it under a new name"):
        run(workspace, "validate@new")
    land(workspace, "mended", str(archive), layout="lab")
    run(workspace, "validate@mended")
    assert json.loads((workspace.data("validation", "mended") / "report.json").read_text())["passed"] is True


@pytest.mark.slow
def test_clips_without_a_face_are_named_and_leave_no_half_written_faces(workspace, spoilt, refused):
    clips = sorted(f"clips/{path.name}" for path in spoilt.glob("clips/*.mp4"))
    keep_landmarks(spoilt, set(clips[2:]))
    landed(workspace, spoilt)
    run(workspace, "validate@new")
    with refused(StageFailed, "NoFaceFound", "2 of 12 clips in 'new'", *clips[:2], "another face detector"):
        run(workspace, "crop@new")


@pytest.mark.slow
def test_missing_weights_are_named_with_the_variable_and_the_place_to_get_them(
    workspace, archive, refused, monkeypatch
):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there: the network is closed
    monkeypatch.delenv("PERENNIAL_YUNET_WEIGHTS", raising=False)
    landed(workspace, archive, faces="yunet")
    run(workspace, "validate@new")
    with refused(
        StageFailed, "MissingWeights", "'yunet' expected", "PERENNIAL_YUNET_WEIGHTS", "found no such variable", "Fetch"
    ):
        run(workspace, "crop@new")


# -- what people edit -------------------------------------------------------------------------------------------------


def edit(workspace: Workspace, **values: object) -> None:
    params = yaml.safe_load(workspace.params_file.read_text())
    workspace.params_file.write_text(yaml.safe_dump(params | values, sort_keys=False))


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_unknown_key_in_params_is_named_with_the_nearest_known_one(workspace, refused, command):
    edit(workspace, trainning={"epochs": 3})
    with refused(BadParams, "params.yaml cannot be followed", "trainning: unknown key", "Did you mean 'training'?"):
        perennial(workspace, command)


def test_every_fault_in_params_is_told_at_once(workspace, refused):
    edit(workspace, faces={"frames": 0, "sise_px": 96}, sequence=["swaps", "nowhere"])
    with refused(BadParams, "faces.frames", "found 0", "faces.sise_px: unknown key", "Did you mean 'size_px'?"):
        perennial(workspace, "run")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_unknown_detector_is_refused_before_anything_runs(workspace, refused, command):
    edit(workspace, lines={"cffd": {"detector": "rsia_nett", "strategy": "cffd"}})
    with refused(UnknownName, "no detector 'rsia_nett'", "known: ", "Did you mean 'rsia_net'?"):
        perennial(workspace, command)


def test_an_empty_gate_is_refused_before_anything_runs(workspace, refused):
    edit(workspace, gate=[])
    with refused(BadParams, "expected rules under `gate`, found none", "params.yaml"):
        perennial(workspace, "run")


def with_a_row(workspace: Workspace) -> None:
    """Plan a generation, as if the archive's faces were ready."""
    params: Params = workspace.params()
    proposal = lineage.propose(params, workspace.lineage(), {"swaps"})
    lineage.append(proposal, workspace.lineage_file, workspace.recipes)


def test_an_edited_row_of_the_register_is_told_apart_from_its_recipe(workspace, refused):
    with_a_row(workspace)
    workspace.lineage_file.write_text(workspace.lineage_file.read_text().replace("strategy: cffd", "strategy: er"))
    words = ("lineage.yaml says of cffd-M1: strategy 'er'", "says 'cffd'", "restore the row, or plan a new line")
    with refused(BrokenLineage, *words):
        perennial(workspace, "run")


def test_a_row_that_vanished_leaves_its_head_and_heirs_unexplained(workspace, refused):
    with_a_row(workspace)
    raw = yaml.safe_load(workspace.lineage_file.read_text())
    workspace.lineage_file.write_text(yaml.safe_dump(raw | {"generations": {}}))
    with refused(BrokenLineage, "cffd-M1", "estore"):
        perennial(workspace, "run")


def test_a_lost_recipe_is_asked_for_by_name(workspace, refused):
    with_a_row(workspace)
    (workspace.recipes / "cffd-M1.yaml").unlink()
    with refused(BrokenLineage, "expected the recipe", "cffd-M1.yaml", "found none"):
        perennial(workspace, "run")


def test_a_folder_that_is_no_workspace_is_told_how_to_become_one(tmp_path):
    with pytest.raises(PerennialError, match=r"expected a workspace .*found none.*perennial init"):
        app(["status", "-C", str(tmp_path)], standalone_mode=False)
    assert list(tmp_path.iterdir()) == []
