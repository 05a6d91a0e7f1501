"""What nothing rests on is said, and taken away when that was asked for; whatever else is there stays."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from components.digests import file_digest
from components.evaluation.examiner import KEPT
from components.gates.verdict import VERDICT_FILE
from components.generations.card import WEIGHTS, write_card
from components.generations.evolve import CHECKPOINTS
from components.generations.lineage import Bench, Head, Lineage
from components.generations.recipe import Row
from components.registry import ledger
from components.registry.ledger import Decision, Holder
from components.tracking import MODELS
from flows import cache, pipeline
from flows.gc import gc, told
from flows.land import land
from flows.study import FOLDER as STUDIES
from flows.workspace import AtWork, Workspace, only_one, template


@pytest.fixture
def landed(workspace: Workspace, archive: Path) -> Workspace:
    land(workspace, "swaps", str(archive), layout="crops")
    return workspace


def cached(workspace: Workspace) -> set[str]:
    """Digests of what is there."""
    files = (workspace.root / ".dvc/cache/files").rglob("*")
    return {path.parent.name + path.name for path in files if path.is_file()}


def rubbish(workspace: Workspace, words: str) -> None:
    """A file that was in the workspace once, as DVC keeps it."""
    folder = workspace.root / "once"
    folder.mkdir()
    (folder / "file.txt").write_text(words)
    cache.add(workspace.root, folder)
    (workspace.root / "once.dvc").unlink()
    shutil.rmtree(folder)


def born(workspace: Workspace, name: str) -> str:
    """Weights, card, verdict, and beside them what is kept of it; returns the weights' digest."""
    folder = workspace.data("generations", name)
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_text(name)
    weights = file_digest(folder / WEIGHTS)
    write_card(folder, {"generation": name, "weights": weights})
    verdict = workspace.data("verdicts", name) / VERDICT_FILE
    verdict.parent.mkdir(parents=True)
    verdict.write_text(json.dumps({"opens": True}))
    for kept in (KEPT / weights / "faces.parquet", CHECKPOINTS / name / "c.pt"):
        (workspace.root / kept).parent.mkdir(parents=True)
        (workspace.root / kept).write_text(name)
    shutil.copytree(folder, workspace.root / MODELS / name / "artifacts")
    return weights


@pytest.fixture
def family(workspace: Workspace) -> tuple[Workspace, dict[str, str]]:
    """M3 and M4 were raised from M1, the champion before; M2 is retired; M4, the youngest, has no verdict yet."""
    born_of = {"small-M1": "nobody", "small-M2": "small-M1", "small-M3": "small-M1", "small-M4": "small-M3"}
    about = {"line": "small", "detector": "rsia_net", "strategy": "cffd", "bench": "a"}
    rows = {name: Row(learns="a", teacher=teacher, **about) for name, teacher in born_of.items()}
    head = Head(generation="small-M4", detector="rsia_net", strategy="cffd")
    Lineage(benches={"a": Bench()}, generations=rows, heads={"small": head}).write(workspace.lineage_file)
    weights = {name: born(workspace, name) for name in rows}
    (workspace.data("verdicts", "small-M4") / VERDICT_FILE).unlink()
    before = None
    for name in ("small-M1", "small-M3"):
        to = Holder(name, weights[name])
        ledger.append(workspace.ledger, Decision("2026", "ann", ledger.PROMOTE, "small", before, to, "the gate opened"))
        before = to
    return workspace, weights


def test_what_the_workspace_rests_on_is_no_rubbish(landed: Workspace) -> None:
    before = cached(landed)
    found = gc(landed, delete=True)
    assert found.heaps == () and told(found, deleted=True)[-1].startswith("Nothing to take away")
    assert cached(landed) == before


def test_what_was_there_once_is_said_first_and_goes_when_that_is_asked_for(landed: Workspace) -> None:
    before = cached(landed)
    rubbish(landed, "a" * 5000)
    (heap,) = gc(landed).heaps
    assert (heap.things, heap.size > 5000) == (2, True), "the file, and the list of its folder"
    assert len(cached(landed)) == len(before) + 2
    lines = told(gc(landed, delete=True), deleted=True)
    assert lines[-1] == "Taken away: 5.1 kB." and cached(landed) == before
    assert gc(landed).heaps == ()


def test_the_old_code_that_results_were_made_of_stays_so_that_it_can_be_compared(landed: Workspace) -> None:
    lock = landed.root / "dvc.lock"
    old = "stages/ingest of another day"
    rubbish(landed, old)
    digest = hashlib.md5(old.encode()).hexdigest()
    assert digest in cached(landed)
    made = next(part for part in lock.read_text().split("- path: ") if part.startswith("data/code/stages/ingest"))
    lock.write_text(lock.read_text().replace(re.search(r"md5: (\w{32})", made)[1], digest))
    gc(landed, delete=True)
    assert digest in cached(landed)


def test_what_a_study_rests_on_stays(landed: Workspace) -> None:
    study = Workspace.create(landed.root / STUDIES / "one", template("params.yaml"))
    pipeline.start(study.root)
    cache.share(study.root, landed.root)
    (study.root / "data" / "kept.txt").write_text("of the study")
    cache.add(study.root, study.root / "data" / "kept.txt")
    before = cached(landed)
    assert gc(landed, delete=True).heaps == () and cached(landed) == before
    with only_one(study, patience_s=0), pytest.raises(AtWork, match="studies/one"):
        gc(landed)


def test_a_cache_that_others_may_share_is_left_alone(landed: Workspace, tmp_path: Path) -> None:
    rubbish(landed, "here")
    shutil.move(landed.root / ".dvc/cache", tmp_path / "shared")
    local = landed.root / ".dvc/config.local"
    local.write_text(local.read_text() + f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    found = gc(landed, delete=True)
    assert found.heaps == () and "which others may share" in told(found, deleted=True)[0]


def test_scores_checkpoints_and_models_stay_for_those_who_live_or_answer(
    family: tuple[Workspace, dict[str, str]],
) -> None:
    workspace, weights = family
    words = [heap.words for heap in gc(workspace, delete=True).heaps]
    assert [line.split(" ")[:2] for line in words] == [["1", "scores"], ["3", "checkpoints"], ["2", "models"]]
    there = lambda kind: {path.name for path in (workspace.root / kind).iterdir()}  # noqa: E731
    assert there(KEPT) == {weights[name] for name in ("small-M1", "small-M3", "small-M4")}
    assert there(CHECKPOINTS) == {"small-M4"}, "whose training may go on"
    assert there(MODELS) == {"small-M1", "small-M3"}, "the champion and the way back"
    assert all(workspace.data("generations", name).is_dir() for name in weights), "the retired stay in the register"
