"""A source, a person, a clip, a face is withdrawn: nobody replays it again, its bytes are gone from what is replayed next,
who saw it is told, and history stays as it was. An archive nobody rests on goes as it came."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from filelock import FileLock

from components import detectors
from components.archives import manifest
from components.errors import BadArchive, BadParams, PerennialError, UnknownName
from components.faces.table import FaceTable, encode
from components.generations.curate import curate
from components.generations.generation import save_generation
from components.generations.lineage import append, propose
from components.generations.recipe import Recipe
from components.memory.buffer import Memory
from components.orders import named
from components.orders import read as read_orders
from components.params import Withdrawal
from components.vocabulary import GENUINE, LABELS, REAL, TEST, TRAIN
from components.withdrawal import files, notes
from components.withdrawal.told import told
from components.withdrawal.witnesses import Seen, Witnesses
from flows.land import land
from flows.withdraw import withdraw, withdraw_archive
from flows.workspace import Workspace

ROOT = Path(__file__).parents[2]
ARCHIVES = ("swap", "mesh")
PARAMS = """\
# A family that has learned two tasks.
archives:
  swap: {layout: crops, role: both, faces: none, after: nobody}
  mesh: {layout: crops, role: both, faces: none, after: swap}
sequence: [swap, mesh]
benchmarks: [swap]
lines:
  small: {detector: rsia_net, strategy: er}   # the only line
faces: {size_px: 48}
validation: {}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
memory: {budget: 16, policy: hybrid}  # small
training: {founder_epochs: 1, epochs: 1, batch: 4, faces_per_clip: 1}
gate:
  - {rule: infra}
"""


def rows_of(archive: str) -> pd.DataFrame:
    """Two faces of a genuine and of a forged clip of each source; a person sat for two sources."""
    rows = [
        {
            "archive": archive, "clip": f"{label}/{source}.png", "frame": frame, "label": label,
            "method": GENUINE if label == REAL else archive, "identity": f"p{number // 2}", "source": source,
            "split": split, "landmarks": [0.0] * 10, "box": [0.0] * 4, "score": 1.0,
        }
        for number, (source, split) in enumerate([*((f"s{n}", TRAIN) for n in range(6)), ("t0", TEST), ("133_097", TEST)])
        for label in LABELS
        for frame in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def prepare(workspace: Workspace, archive: str, seed: int) -> None:
    """What ingest and crop leave of an archive."""
    rows = rows_of(archive)
    pixels = np.random.default_rng(seed).integers(0, 256, (len(rows), 48, 48, 3), dtype=np.uint8)
    faces = workspace.data("faces", archive)
    FaceTable.write(faces, rows, [encode(image) for image in pixels], {"detector": "none", "size_px": 48})
    clips = rows.drop_duplicates("clip").rename(columns={"clip": "path"})
    clips = clips.assign(sha256=[f"{archive}{n:03}" for n in range(len(clips))], kind="image", frames=2)
    clips = clips.assign(width=48, height=48)[manifest.SCHEMA.names]
    manifest.write(clips, workspace.data("manifests", archive) / manifest.MANIFEST_FILE)


def birth(recipe: Recipe, folder: Path) -> None:
    """What evolve leaves, as far as others ask for it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = detectors.options(recipe.detector.name, recipe.detector.options)
        detector = detectors.build(recipe.detector.name, options)
    about = {"generation": recipe.generation, "learns": recipe.row.learns, "recipe": recipe.digest}
    made = {"detector": recipe.detector.name, "options": recipe.detector.options, "strategy": recipe.strategy.name}
    save_generation(folder, detector, {}, {**about, **made})


LIVING = ("small-M1", "small-M2")


@pytest.fixture(scope="module")
def _raised(_fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = shutil.copytree(_fresh, tmp_path_factory.mktemp("raised") / "workspace", symlinks=True)
    (root / "params.yaml").write_text(PARAMS)
    workspace = Workspace.at(root)
    for seed, archive in enumerate(ARCHIVES):
        prepare(workspace, archive, seed)
    append(propose(workspace.params(), workspace.lineage(), ARCHIVES), workspace.lineage_file, workspace.recipes)
    files.resolve(workspace.data(), workspace.params(), workspace.lineage())
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    for name in ("small-M1", "small-M2"):
        recipe = Recipe.read(workspace.recipes / f"{name}.yaml")
        born, before = workspace.data("generations", name), workspace.data("memories", recipe.row.teacher)
        birth(recipe, born)
        faces = workspace.data("faces", recipe.row.learns)
        told_of = files.file_of(workspace.data(), files.MEMORIES, name)
        curate(workspace.recipes / f"{name}.yaml", born, before, faces, told_of, workspace.data("memories", name))
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)
    yield root


@pytest.fixture
def raised(_raised: Path, tmp_path: Path) -> Workspace:
    """A workspace in which small-M1 learned 'swap' and small-M2 'mesh', each leaving a memory of sixteen."""
    return Workspace.at(shutil.copytree(_raised, tmp_path / "raised", symlinks=True))


def test_the_memory_that_is_replayed_next_is_the_teachers_of_the_branch_that_lives(raised: Workspace) -> None:
    lineage = raised.lineage()
    assert Witnesses(raised.data(), lineage).current == ["small-M2"]
    retry = lineage.generations["small-M2"].model_copy(update={"teacher": "small-M1"})
    head = lineage.heads["small"].model_copy(update={"generation": "small-M3"})
    generations = {**lineage.generations, "small-M3": retry}
    grown = lineage.model_copy(update={"generations": generations, "heads": {"small": head}})
    assert Witnesses(raised.data(), grown).current == ["small-M1"]


def remembered(workspace: Workspace, name: str) -> pd.DataFrame:
    table = Memory.load(workspace.data("memories", name)).table
    assert table is not None
    return table.rows


def test_a_withdrawn_source_is_gone_from_the_memory_that_is_replayed_next_and_history_stays(raised: Workspace) -> None:
    before, face = {}, b""
    for name in ("small-M1", "small-M2"):
        before[name] = {path: path.read_bytes() for path in sorted(raised.data("generations", name).iterdir())}
    swapped = remembered(raised, "small-M2").query("archive == 'swap'")
    source = swapped["source"].iloc[0]
    table = Memory.load(raised.data("memories", "small-M2")).table
    assert table is not None
    face = table.encoded([swapped.index[0]])[0]
    assert any(face in path.read_bytes() for path in raised.data("memories", "small-M2").iterdir())
    older = {path.name: path.read_bytes() for path in raised.data("memories", "small-M1").iterdir()}
    recipes = {path: path.read_bytes() for path in raised.recipes.iterdir()}

    order = Withdrawal(archive="swap", source=source)
    found = withdraw(raised, [order], why="asked by letter", say=lambda words: None)

    assert found.renewed == ["small-M2"] and not found.already
    assert not any(face in path.read_bytes() for path in raised.data("memories", "small-M2").iterdir())
    after = remembered(raised, "small-M2")
    assert source not in set(after.query("archive == 'swap'")["source"])
    assert len(after) == 16 and after["label"].sum() == 8  # the next best took the places
    assert {name: {path: path.read_bytes() for path in files} for name, files in before.items()} == before
    assert {path.name: path.read_bytes() for path in raised.data("memories", "small-M1").iterdir()} == older
    assert {path: path.read_bytes() for path in recipes} == recipes
    assert raised.params().withdrawn == (order,)
    text = raised.params_file.read_text()
    assert "# small" in text and "# the only line" in text

    assert found.seen["small-M1"].learned == 4 and found.seen["small-M1"].replayed == 0
    assert found.seen["small-M2"] == Seen(0, found.seen["small-M1"].kept, found.seen["small-M2"].kept)
    assert found.seen["small-M2"].kept > 0
    (entry,) = notes.read(raised.ledger)
    assert entry.what == {"archive": "swap", "source": source} and entry.why == "asked by letter"
    assert set(entry.saw) == {"small-M1", "small-M2"} and entry.saw["small-M1"]["learned"] == 4
    assert entry.who and entry.when
    words = told(found)
    assert f"source '{source}' of 'swap': will never be learned or replayed again." in words
    assert "small-M1 learned 4" in words and "its weights stay as they are" in words
    assert "data/memories/small-M1: an older generation's, never replayed" in words
    assert "of the same name in 'mesh': 2 clips, which stay" in words


@pytest.mark.slow
def test_what_was_withdrawn_and_then_killed_is_finished_by_the_same_command(
    raised: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Withdrawal(archive="mesh", identity="p0")
    held = remembered(raised, "small-M2").query("archive == 'mesh' and identity == 'p0'")
    assert len(held)

    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flows.pipeline.reproduce", killed)
        with pytest.raises(KeyboardInterrupt):
            withdraw(raised, [order], why="asked", say=lambda words: None)
    assert raised.params().withdrawn == (order,)
    found = withdraw(raised, [order], why="asked", say=lambda words: None)
    assert found.already and found.renewed == ["small-M2"]
    assert len(notes.read(raised.ledger)) == 1
    assert remembered(raised, "small-M2").query("archive == 'mesh' and identity == 'p0'").empty
    again = withdraw(raised, [order], why="asked twice", say=lambda words: None)
    assert again.already and again.renewed == []
    assert raised.params().withdrawn == (order,)
    assert len(notes.read(raised.ledger)) == 1


@pytest.mark.slow
def test_a_withdrawal_that_is_killed_again_and_again_is_finished_by_the_same_command(raised: Workspace) -> None:
    words = ["withdraw", "--identity", "p0", "--archive", "mesh", "-C", str(raised.root)]

    def begin() -> psutil.Popen:
        return psutil.Popen([sys.executable, "-m", "flows.cli", *words], cwd=ROOT, stdout=subprocess.DEVNULL)

    def state(place: Path) -> tuple[float, ...]:
        try:
            return tuple(path.stat().st_mtime_ns for path in (place, *sorted(place.glob("*"))))
        except OSError:  # it is going just now
            return ()

    assert len(remembered(raised, "small-M2").query("archive == 'mesh' and identity == 'p0'"))
    for moment in ("params.yaml", "ledger.jsonl", "data/memories/small-M2"):
        before, process = state(raised.root / moment), begin()
        while state(raised.root / moment) == before:
            assert process.poll() is None, f"ended before it could be killed at {moment}"
            time.sleep(0.001)
        started = process.children(recursive=True)
        process.kill()
        assert process.wait() == -9
        assert not psutil.wait_procs(started, timeout=30)[1], "somebody goes on"
    assert begin().wait(240) == 0
    assert raised.params().withdrawn == (Withdrawal(archive="mesh", identity="p0"),)
    assert len(notes.read(raised.ledger)) == 1
    assert remembered(raised, "small-M2").query("archive == 'mesh' and identity == 'p0'").empty
    assert not list(raised.root.rglob(".*.fresh"))


@pytest.mark.slow
def test_to_dvc_all_is_as_it_should_be_afterwards_and_a_purge_takes_the_face_out_of_the_cache(
    raised: Workspace,
) -> None:
    def dvc(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=raised.root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def cached(face: bytes) -> list[Path]:
        return [
            path for path in (raised.root / ".dvc" / "cache").rglob("*") if path.is_file() and face in path.read_bytes()
        ]

    stages = [f"{stage}@small-M{n}" for n in (1, 2) for stage in ("evolve", "curate")]
    dvc("commit", "--force", *stages)
    table = Memory.load(raised.data("memories", "small-M2")).table
    assert table is not None and dvc("status", *stages).strip() == "Data and pipelines are up to date."
    mesh = table.rows.query("archive == 'mesh'").index[0]  # small-M1 never remembered it
    face, source = table.encoded([mesh])[0], table.rows["source"][mesh]
    assert len(cached(face)) == 1

    found = withdraw(raised, named("mesh", source=source), why="asked", purge=True, say=lambda words: None)

    assert (found.renewed, found.purged, cached(face)) == (["small-M2"], 1, [])
    assert dvc("status", *stages).strip() == "Data and pipelines are up to date."
    after = remembered(raised, "small-M2")
    dvc("checkout", *stages)
    pd.testing.assert_frame_equal(remembered(raised, "small-M2"), after)
    assert source not in set(after.query("archive == 'mesh'")["source"])


def file_says(workspace: Workspace, kind: str, name: str) -> tuple[Withdrawal, ...]:
    return read_orders(files.file_of(workspace.data(), kind, name))


def test_only_the_memory_that_was_made_anew_was_told_and_what_lives_keeps_its_file(raised: Workspace) -> None:
    source = remembered(raised, "small-M2").query("archive == 'swap'")["source"].iloc[0]
    withdraw(raised, named("swap", source=source), why="asked", say=lambda words: None)
    order = Withdrawal(archive="swap", source=source)
    told_of = {
        (kind, name): file_says(raised, kind, name)
        for kind, names in ((files.ARCHIVES, ARCHIVES), (files.GENERATIONS, LIVING), (files.MEMORIES, LIVING))
        for name in names
    }
    assert {where: said for where, said in told_of.items() if said} == {(files.MEMORIES, "small-M2"): (order,)}


def test_a_generation_that_is_planned_and_not_born_is_told_at_once(raised: Workspace) -> None:
    (raised.data("generations", "small-M2") / "card.json").unlink()
    shutil.rmtree(raised.data("memories", "small-M2"))
    withdraw(raised, [*named("swap", source="s1"), *named("mesh", source="s2")], why="asked", say=lambda words: None)
    both = (Withdrawal(archive="mesh", source="s2"), Withdrawal(archive="swap", source="s1"))
    assert file_says(raised, files.GENERATIONS, "small-M2") == file_says(raised, files.MEMORIES, "small-M2") == both
    assert file_says(raised, files.GENERATIONS, "small-M1") == ()


def test_what_nobody_remembers_needs_no_memory_made_anew(raised: Workspace) -> None:
    found = withdraw(raised, named("swap", source="t0"), why="asked", say=lambda words: None)
    assert (found.renewed, found.seen, found.descendants) == ([], {}, [])
    assert "no generation has met it" in told(found)
    assert "scores of its test clips rest on them" in told(found)


def test_a_name_that_yaml_takes_for_a_number_or_a_truth_is_read_as_it_was_given(raised: Workspace) -> None:
    clips = raised.data("manifests", "swap") / manifest.MANIFEST_FILE
    rows = manifest.read(clips)
    manifest.write(rows.assign(identity=rows["identity"].replace("p3", "no")), clips)
    asked = [
        *named("swap", source="133_097"),
        *named("swap", identity="no"),
        *named("swap", clips=["1/t0.png"], frame=0),
    ]
    withdraw(raised, asked, why="asked", say=lambda words: None)
    assert raised.params().withdrawn == tuple(asked)


def test_whoever_descends_from_one_who_saw_it_is_named_too(raised: Workspace) -> None:
    kept = remembered(raised, "small-M1")
    rows = rows_of("swap").query("split == 'train'")
    free = [key for key in zip(rows["clip"], rows["frame"], strict=True) if not
            ((kept["clip"] == key[0]) & (kept["frame"] == key[1])).any()]  # fmt: skip
    clip, frame = free[0]
    found = withdraw(raised, named("swap", clips=[clip], frame=frame), why="asked", say=lambda words: None)
    assert found.seen == {"small-M1": Seen(learned=1)} and found.descendants == ["small-M2"]
    assert "small-M2 descends from one that did" in told(found)


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        (
            {"archive": "swop", "source": "s1"},
            UnknownName,
            "no archive 'swop'; known: mesh, swap. Did you mean 'swap'?",
        ),
        (
            {"archive": "swap", "source": "s11"},
            BadArchive,
            "expected source 's11' in archive 'swap'.*Did you mean 's1'",
        ),
        ({"archive": "swap", "identity": "zoe"}, BadArchive, r"none of that name among 4\."),
        ({"archive": "swap", "clip": "0/s1.png", "frame": 7}, BadArchive, r"found faces of frames \[0, 1\]"),
    ],
)
def test_what_is_not_there_cannot_be_withdrawn(
    raised: Workspace, what: dict[str, object], kind: type[Exception], words: str
) -> None:
    before = raised.params_file.read_bytes()
    with pytest.raises(kind, match=words):
        withdraw(raised, [Withdrawal.model_validate(what)], why="asked")
    assert raised.params_file.read_bytes() == before and not raised.ledger.exists()


def test_nothing_is_withdrawn_while_a_lifecycle_runs(raised: Workspace) -> None:
    with FileLock(raised.lock), pytest.raises(PerennialError, match=r"expected no lifecycle in .* found one running"):
        withdraw(raised, named("swap", source="s1"), why="asked")
    assert raised.params().withdrawn == ()


def test_an_archive_a_generation_learned_stays_and_the_way_out_is_told(raised: Workspace) -> None:
    before = raised.params_file.read_bytes()
    with pytest.raises(BadParams, match=r"small-M1 learned it and generations are examined on it.*withdraw SOURCE"):
        withdraw_archive(raised, "swap", why="a mistake")
    with pytest.raises(BadParams, match=r"found that small-M2 learned it"):
        withdraw_archive(raised, "mesh", why="a mistake")
    with pytest.raises(UnknownName, match="no archive 'maks'"):
        withdraw_archive(raised, "maks", why="a mistake")
    assert raised.params_file.read_bytes() == before and raised.data("faces", "swap").is_dir()


def test_an_archive_nobody_learned_leaves_params_and_the_workspace_and_closes_the_gap(raised: Workspace) -> None:
    said = raised.params_file.read_text()
    told = said.replace("sequence: [swap, mesh]", "sequence: [swap, torn, mesh, third]  # in this order")
    told = told.replace("benchmarks: [swap]", "benchmarks: [swap, torn]").replace(
        "after: swap}\n", "after: swap}\n{}", 1
    )
    told = told.replace("lines:\n", "lines:\n  other: {detector: rsia_net, strategy: er, sequence: [torn, third]}\n")
    later = [f"  {n}: {{layout: crops, faces: none, after: {a}}}\n" for n, a in (("torn", "mesh"), ("third", "torn"))]
    raised.params_file.write_text(told.replace("{}", "".join(later), 1))
    for kind in ("archives", "manifests", "validation", "faces"):
        (raised.data(kind, "torn") / "deeper").mkdir(parents=True)
    files.tell_archive(raised.data(), "torn", raised.params())

    withdraw_archive(raised, "torn", why="labels were wrong")

    params = raised.params()
    assert list(params.archives) == ["swap", "mesh", "third"] and params.archives["third"].after == "mesh"
    assert (params.sequence, params.benchmarks) == (("swap", "mesh", "third"), ("swap",))
    assert params.lines["other"].sequence == ("third",)
    assert list(raised.root.glob("data/**/torn*")) == []
    assert "# the only line" in raised.params_file.read_text()
    (entry,) = notes.read(raised.ledger)
    assert (entry.what, entry.why) == ({"archive": "torn"}, "labels were wrong")
    with pytest.raises(UnknownName):
        withdraw_archive(raised, "torn", why="again")


@pytest.mark.slow
def test_a_name_that_was_withdrawn_may_land_again_with_other_files(
    workspace: Workspace, archive: Path, crops_at, tmp_path: Path
) -> None:
    land(workspace, "swaps", str(archive), layout="crops")
    land(workspace, "torn", str(crops_at(tmp_path / "torn", 1)), layout="crops")
    withdraw_archive(workspace, "torn", why="labels were wrong")
    assert not (workspace.data("archives", "torn.dvc")).exists()
    assert workspace.params().sequence == ("swaps",)
    assert not land(workspace, "torn", str(crops_at(tmp_path / "mended", 3)), layout="crops").already
