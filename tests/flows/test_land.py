"""An archive lands: once, whole, or not at all; and its name is never given to other content."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from components.archives import leaks, manifest
from components.archives.report import passed
from components.errors import BadArchive, BadParams, MissingWeights, NameTaken, StageFailed, UnknownName
from components.generations.lineage import Lineage
from components.params import parse
from components.settings import settings
from flows import cache, pipeline, versions
from flows import land as landing
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


# --- whole or not at all


def left(workspace):
    """The files of a workspace, apart from DVC's scratch and its cache."""
    paths = (path.relative_to(workspace.root).as_posix() for path in workspace.root.rglob("*") if path.is_file())
    return {name for name in paths if not name.startswith((".dvc/tmp/", ".dvc/cache/", ".perennial/"))}


def cached(workspace, archive):
    """How many files of an archive are in the cache."""
    kept = {path.read_bytes() for path in (workspace.root / ".dvc/cache").rglob("*") if path.is_file()}
    return len(kept & {path.read_bytes() for path in archive.rglob("*") if path.is_file()})


def lost_and_checked_out(workspace, name):
    """The files that come back after a landed archive was lost."""
    folder = workspace.data("archives", name)
    shutil.rmtree(folder)
    pipeline.checkout(workspace.root)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_that_is_a_repository_lands_whole_without_its_machinery(workspace, archive):
    """Folders and files of any name come back; what is hidden stays behind."""
    names = ("mlartifacts", "dvc.lock", "tmp.dvc", "node_modules")
    for number, name in enumerate(names):
        (archive / "real" / name).mkdir()
        png = f"{'train' if number < 2 else 'test'}_{number % 2}.png"
        (archive / "real" / png).rename(archive / "real" / name / png)
        text = (archive / "labels.csv").read_text()
        (archive / "labels.csv").write_text(text.replace(f"real/{png}", f"real/{name}/{png}"))
    listed = {path.relative_to(archive).as_posix() for path in archive.rglob("*") if path.is_file()}
    for hidden in (".dvc/config", ".dvcignore", ".git/HEAD", "real/.DS_Store", "fake/.dvc/config", "fake/.dvcignore"):
        (archive / hidden).parent.mkdir(exist_ok=True)
        (archive / hidden).write_text("*.png\n")
    land(workspace, "swaps", str(archive), layout="crops")
    assert len(listed) == 9
    assert lost_and_checked_out(workspace, "swaps") == listed
    assert land(workspace, "swaps", str(archive), layout="crops").already


def test_files_that_dvc_would_leave_out_are_refused_before_anything_changes(workspace, archive):
    with (workspace.root / ".dvcignore").open("a") as file:
        file.write("*.png\n!test_*.png\n")
    before = left(workspace)
    with pytest.raises(BadArchive, match=r"found 4 that DVC leaves out: 'fake/train_0.png'.*\.dvcignore"):
        land(workspace, "swaps", str(archive), layout="crops")
    assert left(workspace) == before


FAULTS = [(cache, "add", OSError(28, "No space left on device")), (pipeline, "reproduce", KeyboardInterrupt())]


@pytest.mark.parametrize(("where", "step", "fault"), FAULTS)
def test_a_landing_that_fails_at_any_step_leaves_nothing(workspace, archive, monkeypatch, where, step, fault):
    before, params = left(workspace), workspace.params_file.read_bytes()
    real = getattr(where, step)

    def fails_after(*args, **options):
        real(*args, **options)
        raise fault

    monkeypatch.setattr(where, step, fails_after)
    with pytest.raises(type(fault)):
        land(workspace, "swaps", str(archive), layout="crops")
    assert left(workspace) | {"dvc.lock"} == before | {"dvc.lock"}
    assert workspace.params_file.read_bytes() == params
    assert cached(workspace, archive) == 0


def test_what_others_have_in_the_cache_survives_a_landing_that_fails(landed, archive, monkeypatch):
    before = left(landed)
    monkeypatch.setattr(cache, "versioned", lambda *_: set())
    with pytest.raises(BadArchive, match="found 9 that DVC leaves out"):
        land(landed, "others", str(archive), layout="crops")
    assert left(landed) == before
    assert cached(landed, archive) == 9


def test_an_archive_that_lies_in_its_own_place_already_is_refused_and_kept(workspace, archive):
    place = workspace.data("archives", "swaps")
    shutil.copytree(archive, place)
    for source in (place, place / "real", place.parent):
        with pytest.raises(BadArchive):
            land(workspace, "swaps", str(source), layout="crops")
    assert len(list(place.rglob("*.png"))) == 8


# --- names


@pytest.mark.parametrize("name", ["no", pytest.param("08", marks=pytest.mark.slow)])  # YAML 1.1 alone, 1.2 alone
def test_a_name_that_some_reader_takes_for_something_else_lands_and_stays(workspace, archive, name):
    assert land(workspace, name, str(archive), layout="crops").name == name
    assert list(workspace.params().archives) == [name]
    assert pipeline.stale(workspace.root, [f"ingest@{name}"]) == set()


@pytest.mark.parametrize("name", ["nobody", "Celeb-DF", "", "a/b", "../a"])
def test_a_name_no_archive_can_have_is_refused_before_anything_changes(workspace, archive, name):
    before = left(workspace)
    with pytest.raises(BadParams, match="archives"):
        land(workspace, name, str(archive), layout="crops")
    assert left(workspace) == before


# --- DVC's own links


def choose(workspace, **cache):
    config = workspace.root / ".dvc" / "config"
    config.write_text(
        config.read_text() + "[cache]\n" + "".join(f"    {key} = {value}\n" for key, value in cache.items())
    )


@pytest.mark.slow
@pytest.mark.parametrize("links", ["hardlink", "reflink,hardlink", "hardlink,symlink,copy"])
def test_it_lands_and_is_cropped_whatever_links_dvc_makes(workspace, archive, links):
    choose(workspace, type=links)
    _lands_and_is_cropped(workspace, archive)


@pytest.mark.slow
def test_it_lands_and_is_cropped_where_files_are_links_to_a_cache_elsewhere(workspace, archive, tmp_path):
    choose(workspace, type="symlink", dir=tmp_path / "elsewhere")
    _lands_and_is_cropped(workspace, archive)
    assert (workspace.data("archives", "swaps") / "labels.csv").resolve().is_relative_to(tmp_path / "elsewhere")


def _lands_and_is_cropped(workspace, archive):
    land(workspace, "swaps", str(archive), layout="crops")
    for stage in ("validate", "crop"):
        pipeline.reproduce(workspace.root, f"{stage}@swaps", timeout_s=120)
    assert pipeline.stale(workspace.root, [f"{stage}@swaps" for stage in ("ingest", "validate", "crop")]) == set()
    assert land(workspace, "swaps", str(archive), layout="crops").already
    assert len(lost_and_checked_out(workspace, "swaps")) == 9


def test_links_that_do_not_work_here_are_refused_before_anything_changes(workspace, archive):
    if "reflink" in cache.links_of(workspace.root).working:
        pytest.skip("this file system knows reflinks")
    choose(workspace, type="reflink")
    before = left(workspace)
    with pytest.raises(BadParams, match=r"cache\.type that works .*found reflink"):
        land(workspace, "swaps", str(archive), layout="crops")
    assert left(workspace) == before


@pytest.mark.parametrize(
    ("chosen", "working", "guarded", "safe", "copies"),
    [
        ((), ("hardlink", "copy"), True, True, True),
        ((), ("hardlink", "copy"), False, False, True),  # root writes through them into the cache
        ((), ("reflink", "hardlink", "copy"), True, False, False),
        ((), ("copy",), True, False, True),  # a cache on another disk
        (("copy",), ("hardlink", "copy"), True, False, True),
        (("reflink", "hardlink"), ("hardlink", "copy"), True, False, False),
    ],
)
def test_hard_links_are_made_where_nobody_chose_and_nobody_can_write_through_them(
    chosen, working, guarded, safe, copies
):
    links = cache._Links(Path(), frozenset(chosen), frozenset(working), guarded)
    assert (links.are_safe, links.are_copies) == (safe, copies)


@pytest.mark.slow
def test_root_makes_no_hard_links_and_who_does_has_no_second_copy(workspace, archive, monkeypatch):
    assert cache.links_of(workspace.root).guarded == (os.getuid() != 0)
    monkeypatch.setattr(cache._Links, "are_safe", True)
    land(workspace, "swaps", str(archive), layout="crops")
    file = (workspace.data("archives", "swaps") / "labels.csv").stat()
    assert (file.st_nlink, file.st_mode & 0o777) == (2, 0o444)


# --- archives that stay where they are


def test_a_linked_archive_stays_where_it_is_and_a_change_of_it_is_seen(workspace, archive):
    before = left(workspace)
    found = land(workspace, "swaps", str(archive), layout="crops", link=True)
    assert found.clips == 8
    assert workspace.data("archives", "swaps").readlink() == archive
    assert not {name for name in left(workspace) - before if name.endswith((".png", ".dvc"))}
    assert land(workspace, "swaps", str(archive), layout="crops").already
    workspace.data("archives", "swaps").unlink()  # as in a clone
    workspace.link_archives()
    assert pipeline.stale(workspace.root, ["ingest@swaps"]) == set()
    shutil.copy(archive / "real/train_0.png", archive / "real/test_0.png")
    assert pipeline.stale(workspace.root, ["ingest@swaps"]) == {"ingest@swaps"}


def test_a_link_to_what_is_not_there_or_in_a_store_is_refused(workspace, archive):
    before = left(workspace)
    (archive / "real/.dvc").mkdir()  # DVC would not look into it, and see no change
    for source, error in ((archive, BadArchive), (archive / "nowhere", BadArchive), ("s3://bucket/swaps", BadParams)):
        with pytest.raises(error):
            land(workspace, "swaps", str(source), layout="crops", link=True)
    assert left(workspace) == before
    assert archive.is_dir()


# --- later versions


def born(workspace, task="swaps"):
    """As if a generation had learned `task` and were examined on it."""
    row = {
        "line": "small",
        "detector": "rsia_net",
        "strategy": "cffd",
        "learns": task,
        "teacher": "nobody",
        "bench": task,
    }
    head = {"generation": "small-M1", "detector": "rsia_net", "strategy": "cffd"}
    raw = {"benches": {task: {"after": "nobody"}}, "generations": {"small-M1": row}, "heads": {"small": head}}
    parse(Lineage, raw, "lineage").write(workspace.lineage_file)


def mended(archive, *changes, more=""):
    """The list of an archive with texts replaced and rows added."""
    table = archive / "labels.csv"
    text = table.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    table.write_text(text + more)


def test_a_later_version_takes_the_place_of_the_one_before_which_stays(landed, archive):
    born(landed)
    landed.rewrite(lambda document: document.update(withdrawn=[{"archive": "swaps", "source": "train_1"}]))
    shutil.copy(archive / "fake/train_1.png", archive / "fake/new.png")
    with (archive / "fake/new.png").open("ab") as file:
        file.write(b"other bytes, the same picture")
    mended(archive, ("fake/test_0.png,1,swap", "fake/test_0.png,1,mask"), more="fake/new.png,1,swap,new,train\n")
    (archive / "real/test_1.png").unlink()
    mended(archive, ("real/test_1.png,0,genuine,test_1,test\n", ""))
    found = land(landed, "swaps", str(archive), version=True)
    assert (found.name, found.clips) == ("swaps_v2", 8)
    assert found.changes.words == (
        "1 added (fake/new.png), 1 removed (real/test_1.png), 1 relabelled (fake/test_0.png)"
    )
    params = landed.params()
    assert params.sequence == params.benchmarks == ("swaps_v2",)
    entry = params.archives["swaps_v2"]
    assert (entry.after, entry.supersedes, entry.layout) == ("swaps", "swaps", "crops")
    assert [order.archive for order in params.withdrawn] == ["swaps", "swaps_v2"]
    assert len(list(landed.data("archives", "swaps").rglob("*.png"))) == 8
    told = versions.told(versions.learned(landed))
    assert told == [
        "Versions of swaps: swaps learned by small-M1; swaps_v2 learned by nobody yet. New generations learn swaps_v2."
    ]


def test_files_a_later_version_shares_with_the_one_before_are_no_leak_and_others_are(landed, archive):
    mended(archive, ("fake/test_0.png,1,swap", "fake/test_0.png,1,mask"))
    land(landed, "swaps", str(archive), version=True)
    pipeline.reproduce(landed.root, "validate@swaps_v2", timeout_s=60)
    assert passed(landed.data("validation", "swaps_v2"))
    earlier = manifest.read_earlier(landed.data("manifests", "swaps_v2") / manifest.EARLIER_FILE)
    assert earlier.empty
    known = leaks.known(landed.data("manifests", "swaps_v2"), landed.params())
    assert known["name"].nunique() == 8  # whoever lands next is compared with both


@pytest.mark.slow
def test_the_latest_version_once_more_has_landed_already_and_the_next_is_numbered(landed, archive):
    assert land(landed, "swaps", str(archive), version=True).already
    mended(archive, ("swap", "mask"))
    assert land(landed, "swaps", str(archive), version=True).name == "swaps_v2"
    assert land(landed, "swaps", str(archive), version=True).name == "swaps_v2"
    mended(archive, ("mask", "film"))
    assert land(landed, "swaps", str(archive), version=True).name == "swaps_v3"
    assert landed.params().versions("swaps_v3") == ("swaps_v3", "swaps_v2", "swaps")


def test_a_version_that_would_split_anew_what_a_generation_has_seen_is_refused(landed, archive):
    born(landed)
    before, params = left(landed), landed.params_file.read_bytes()
    mended(archive, ("test_0,test", "test_0,train"))
    with pytest.raises(BadArchive, match=r"found 2 clips in another: fake/test_0\.png, real/test_0\.png"):
        land(landed, "swaps", str(archive), version=True)
    assert (left(landed), landed.params_file.read_bytes()) == (before, params)


def test_a_version_of_what_never_landed_is_refused(landed, archive):
    with pytest.raises(UnknownName, match=r"no archive 'swap'.*Did you mean 'swaps'"):
        land(landed, "swap", str(archive), version=True)


# --- what is set aside


def test_clips_that_would_leak_are_told_when_they_land_and_whenever_somebody_asks(landed, archive, crops_at, tmp_path):
    later = crops_at(tmp_path / "later", seed=5)
    shutil.copy(archive / "real/train_0.png", later / "real/test_1.png")
    told = ["1 clips set aside: file in split train of 'swaps'.", "Each of them with its reason: "]
    told[1] += "data/manifests/later/set_aside.parquet"
    for words in (["land", "later", str(later), "--layout", "crops"], ["status"], ["doctor"]):
        said = CliRunner().invoke(app, [*words, "-C", str(landed.root)])
        assert said.exit_code == 0, said.output
        assert all(line in said.output for line in told), words


# --- what comes next


@pytest.mark.slow
def test_the_next_step_is_one_that_works(workspace, archive, crops_at, tmp_path):
    mended(archive, (",train\n", ",test\n"))  # nothing to learn from
    found = land(workspace, "swaps", str(archive), layout="crops")
    assert found.steps == (
        "There is too little to learn from: train has 0 real and 0 forged clips, 2 of each are needed. "
        "Next: perennial land swaps --again --role benchmark",
    )
    with pytest.raises(StageFailed, match=r"(?s)no split 'train'.*perennial land swaps --again"):
        pipeline.reproduce(workspace.root, "validate@swaps", timeout_s=60)
    found = land(workspace, "swaps", "", again=True, role="benchmark")
    assert found.steps == ("Next: perennial run",)
    params = workspace.params()
    assert (params.sequence, params.benchmarks) == ((), ("swaps",))
    assert (params.archives["swaps"].role, params.archives["swaps"].validation) == ("benchmark", "own")
    pipeline.reproduce(workspace.root, "validate@swaps", timeout_s=60)
    assert passed(workspace.data("validation", "swaps"))
    born(workspace)
    with pytest.raises(BadParams, match="nothing rests on, found generations"):
        land(workspace, "swaps", "", again=True, role="both")
    found = land(workspace, "late", str(crops_at(tmp_path / "late", 5)), layout="crops", faces="yunet")
    assert found.steps[0] == "Next: perennial run"
    assert found.steps[1].startswith("Before that: ") and "PERENNIAL_YUNET_WEIGHTS" in found.steps[1]
    assert found.steps[2] == "Existing generations are not examined on it. After that: perennial examine late"


def test_again_with_options_that_do_not_fit_changes_nothing(landed, archive, crops_at, tmp_path):
    before, params = left(landed), landed.params_file.read_bytes()
    with pytest.raises(BadArchive, match=r"lab\.json"):
        land(landed, "swaps", "", again=True, layout="lab")
    with pytest.raises(NameTaken, match="--version"):
        land(landed, "swaps", str(crops_at(tmp_path / "others", 1)), again=True, role="benchmark")
    with pytest.raises(UnknownName):
        land(landed, "others", "", again=True)
    assert (left(landed), landed.params_file.read_bytes()) == (before, params)


def test_options_stay_where_something_rests_on_what_landed_later(landed, crops_at, tmp_path):
    land(landed, "later", str(crops_at(tmp_path / "later", 5)), layout="crops")
    born(landed, "later")
    params = landed.params_file.read_bytes()
    with pytest.raises(BadParams, match=r"found generations that learned later .*Land it under another name"):
        land(landed, "swaps", "", again=True, role="benchmark")
    assert landed.params_file.read_bytes() == params


@pytest.mark.parametrize("there", ["retinaface", "yunet"])
def test_faces_are_found_by_what_has_its_weights_here(monkeypatch, tmp_path, request, there):
    request.addfinalizer(settings.cache_clear)
    settings.cache_clear()
    (tmp_path / "weights").write_bytes(b"weights")
    monkeypatch.setenv(f"PERENNIAL_{there.upper()}_WEIGHTS", str(tmp_path / "weights"))
    assert landing._faces("faceforensics") == there


def test_without_weights_nothing_is_copied_unless_somebody_says_so(workspace, archive):
    before = left(workspace)
    with pytest.raises(MissingWeights, match=r"nothing was copied; --faces retinaface lands it all the same"):
        land(workspace, "clips", str(archive), layout="faceforensics")
    assert left(workspace) == before


# --- two archives in one tree


def films(root, names):
    """True videos, no two alike."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(root / name), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            container.mux([*stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")), *stream.encode(None)])
    return root


@pytest.mark.slow
def test_archives_that_lie_in_one_tree_land_each_with_its_own_files_and_nothing_lands_twice(workspace, tmp_path):
    pairs = (("071", "054"), ("720", "672"), ("953", "974"))
    faceforensics = {f"original_sequences/youtube/c23/videos/{video}.mp4" for pair in pairs for video in pair}
    faceforensics |= {
        f"manipulated_sequences/Deepfakes/{kind}/{a}_{b}.mp4"
        for a, b in pairs
        for kind in ("c23/videos", "masks/videos")
    }
    dfd = {f"original_sequences/actors/c23/videos/{n:02}__walking.mp4" for n in range(1, 9)}
    forged = [f"{n:02}_{n % 8 + 1:02}__walking__ABCDEF{n:02}.mp4" for n in range(1, 9)]
    home = "manipulated_sequences/DeepFakeDetection"
    dfd |= {f"{home}/{kind}/{name}" for name in forged for kind in ("c23/videos", "masks/videos")}
    root = str(films(tmp_path / "all", sorted(faceforensics | dfd)))

    first = land(workspace, "ffpp", root, layout="faceforensics", faces="none")
    second = land(workspace, "dfd", root, layout="dfd", faces="none")
    assert any(words.startswith("24 files left out: they are DeepFakeDetection") for words in first.told)
    assert any(words.startswith("12 files left out: they are FaceForensics++") for words in second.told)
    for name, own in (("ffpp", faceforensics), ("dfd", dfd)):
        assert lost_and_checked_out(workspace, name) == own
        assert land(workspace, name, root, layout="").already
    assert (first.clips, first.set_aside, second.set_aside) == (9, (), ())
    rows = [manifest.read(workspace.data("manifests", name) / manifest.MANIFEST_FILE) for name in ("ffpp", "dfd")]
    assert not set(rows[0]["sha256"]) & set(rows[1]["sha256"])

    land(workspace, "ffpp_again", root, layout="faceforensics", faces="none")
    with pytest.raises(StageFailed, match="landed"):
        pipeline.reproduce(workspace.root, "validate@ffpp_again", timeout_s=60)
