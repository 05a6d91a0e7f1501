"""What is to be done: DVC is asked where its answer decides, and nowhere else."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from components.archives.report import write_report
from components.digests import file_digest
from components.errors import BadParams, PerennialError, StageFailed
from components.faces.about import FACES_FILE
from components.gates.verdict import VERDICT_FILE
from components.generations.card import WEIGHTS, write_card
from components.generations.lineage import Bench, Head, Lineage
from components.generations.recipe import Recipe, Row
from components.registry import ledger
from components.registry.ledger import Decision, Holder
from components.vocabulary import NOBODY
from flows import drift, durations, near_duplicates, pending, retries
from flows.land import land
from flows.workspace import Workspace, only_one

ARCHIVE = {"layout": "lab", "role": "both", "faces": "none", "after": "nobody"}


def has_faces(workspace: Workspace, *names: str) -> None:
    """Archives that have landed and whose faces lie there, as if another DVC had made them."""
    workspace.rewrite(lambda document: document.update(archives=dict.fromkeys(names, ARCHIVE)))
    for name in names:
        _write(workspace.data("faces", name) / FACES_FILE, json.dumps({"digest": name}))


def was_learned(workspace: Workspace, archive: str) -> None:
    row = Row(line="small", detector="rsia_net", strategy="cffd", learns=archive, bench=archive)
    heads = {"small": Head(generation="small-M1", detector="rsia_net", strategy="cffd")}
    Lineage(benches={archive: Bench()}, generations={"small-M1": row}, heads=heads).write(workspace.lineage_file)


def has_born(workspace: Workspace, weights: bytes) -> str:
    """Weights, card and verdict of small-M1; returns the weights' digest."""
    folder = workspace.data("generations", "small-M1")
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(weights)
    write_card(folder, {"weights": file_digest(folder / WEIGHTS)})
    _write(workspace.data("verdicts", "small-M1") / VERDICT_FILE, "{}")
    return file_digest(folder / WEIGHTS)


def without_wiring(workspace: Workspace) -> None:
    """DVC can tell nothing any more: whoever asks it fails."""
    (workspace.root / "dvc.yaml").write_text("stages: [")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_faces_nobody_has_used_are_cut_anew_where_dvc_calls_them_stale(workspace: Workspace) -> None:
    has_faces(workspace, "a", "b")
    was_learned(workspace, "a")
    stale = pending.stale(workspace)
    assert {stage for stage in stale if "@b" in stage} == {"ingest@b", "validate@b", "crop@b", "gauge@b"}
    assert not {stage for stage in stale if "@a" in stage}
    assert pending.faceless(workspace, stale) == ("b",)


def test_an_archive_that_was_refused_for_its_drift_is_not_learned_and_is_asked_again_but_what_lives_keeps_it(
    workspace: Workspace,
) -> None:
    has_faces(workspace, "a", "b")
    for name, passed in (("a", False), ("b", True)):
        write_report(workspace.data("drift", name), {"passed": passed, "measures": []}, [])
    assert pending.ready(workspace, workspace.params()) == {"b"}
    assert pending.faceless(workspace, set()) == ("a",)
    was_learned(workspace, "a")
    assert pending.ready(workspace, workspace.params()) == {"a", "b"}


def test_what_drifts_is_said_with_the_measures_that_drift_most(workspace: Workspace) -> None:
    has_faces(workspace, "a", "b", "c")
    measures = [{"measure": f"m{n}", "drift": 0.9 - n / 10, "beyond": n < 4} for n in range(6)]
    write_report(workspace.data("drift", "a"), {"passed": True, "measures": measures}, [])
    write_report(workspace.data("drift", "b"), {"passed": True, "measures": measures[4:]}, [])
    (line,) = drift.told(drift.found(workspace))
    assert line.startswith("'a' is unlike what landed before it: m0 (0.90), m1 (0.80), m2 (0.70) and 1 more.")


def test_faces_a_generation_learned_from_stay_and_dvc_is_not_asked_about_them(workspace: Workspace) -> None:
    has_faces(workspace, "a")
    without_wiring(workspace)
    with pytest.raises(StageFailed):
        pending.stale(workspace)
    was_learned(workspace, "a")
    digest = has_born(workspace, b"weights")
    _write(workspace.page("small"), f"a page of {digest}")
    _write(workspace.metrics("small"), "{}")
    assert pending.stale(workspace) == set()
    assert pending.faceless(workspace, set()) == ()


def test_a_page_that_does_not_show_the_youngest_is_asked_about(workspace: Workspace) -> None:
    has_faces(workspace, "a")
    was_learned(workspace, "a")
    has_born(workspace, b"weights")
    _write(workspace.page("small"), "a page of others")
    stale = pending.stale(workspace)
    assert stale == {"publish@small"}
    assert pending.outdated(workspace, stale) == ("small",)


def test_an_archive_without_faces_needs_them_whatever_dvc_says(workspace: Workspace) -> None:
    has_faces(workspace, "a")
    (workspace.data("faces", "a") / FACES_FILE).unlink()
    without_wiring(workspace)
    assert pending.faceless(workspace, pending.stale(workspace)) == ("a",)


def test_a_marker_bears_the_name_that_weights_and_verdict_give_it(workspace: Workspace) -> None:
    weights = has_born(workspace, b"weights")
    verdict = file_digest(workspace.data("verdicts", "small-M1") / VERDICT_FILE)
    name = hashlib.sha256(f"{weights}{verdict}".encode()).hexdigest()[:16]
    assert pending.marker(workspace, "small-M1").name == f"small-M1-{name}"
    (workspace.data("generations", "small-M1") / WEIGHTS).unlink()  # nobody reads them to find the marker
    assert pending.marker(workspace, "small-M1").name == f"small-M1-{name}"


def test_choices_that_passed_are_looked_at_again_once_they_change(workspace: Workspace) -> None:
    pending.proposal(workspace)
    workspace.rewrite(lambda document: document["lines"]["small"].update(changes={"detector": {"sise": "tiny"}}))
    for _ in range(2):  # what did not pass is not remembered
        with pytest.raises(BadParams, match="sise"):
            pending.proposal(workspace)


def raised(workspace: Workspace, *opens: bool) -> None:
    """A line of generations, each the teacher of the next, and what the gate said of them."""
    rows = {
        f"small-M{n}": Row(
            line="small",
            detector="rsia_net",
            strategy="cffd",
            learns="a",
            bench="a",
            teacher=f"small-M{n - 1}" if n > 1 else NOBODY,
        )
        for n in range(1, len(opens) + 1)
    }
    head = Head(generation=f"small-M{len(opens)}", detector="rsia_net", strategy="cffd")
    Lineage(benches={"a": Bench()}, generations=rows, heads={"small": head}).write(workspace.lineage_file)
    champion = None
    for (name, row), opened in zip(rows.items(), opens, strict=True):
        said = {
            "opens": opened,
            "champion": champion and {"name": champion},
            "champion_after": name if opened else champion,
        }
        _write(workspace.data("verdicts", name) / VERDICT_FILE, json.dumps(said))
        champion = said["champion_after"]
        choices = {"name": "rsia_net"}, {"name": "cffd"}
        resolved = dict(zip(("detector", "strategy"), choices, strict=True))
        about = {"generation": name, "row": row, "memory": {}, "training": {}, "evaluation": {}, "seed": 0}
        Recipe.resolved(**about, **resolved, gate=[{"rule": "infra"}], benchmarks=["a"]).write(
            workspace.recipes / f"{name}.yaml"
        )


def decided(workspace: Workspace, action: str, came_from: str, to: str) -> None:
    before = Holder(came_from, "weights") if came_from else None
    ledger.append(
        workspace.ledger, Decision(ledger.now(), "ann", action, "small", before, Holder(to, "weights"), "for a reason")
    )


def test_accepted_is_who_passed_the_gate_or_was_promoted_by_a_person_and_was_not_rolled_back(
    workspace: Workspace,
) -> None:
    raised(workspace, True, False, True)
    found = pending.outcomes(workspace)
    assert found.accepted == {"small-M1", "small-M3"} and set(found.refused) == {"small-M2"} and not found.champions
    decided(workspace, ledger.PROMOTE, "", "small-M1")
    decided(workspace, ledger.PROMOTE, "small-M1", "small-M3")
    decided(workspace, ledger.ROLLBACK, "small-M3", "small-M1")
    found = pending.outcomes(workspace)
    assert set(found.refused) == {"small-M2", "small-M3"} and found.champions == {"small": "small-M1"}
    decided(workspace, ledger.PROMOTE, "small-M1", "small-M2")
    found = pending.outcomes(workspace)
    assert found.accepted == {"small-M1", "small-M2"} and found.champions == {"small": "small-M2"}


@pytest.mark.parametrize(
    ("opens", "moves", "found"),
    [
        ((True, True), [("promote", 0, 1), ("promote", 1, 2)], {}),
        ((True, True, True), [("promote", 0, 1)], {}),  # the others will be, as soon as they are recorded
        ((True, True), [("promote", 0, 1), ("promote", 1, 2), ("rollback", 2, 1)], {2: 1}),
        ((True, True), [("promote", 0, 1), ("promote", 1, 2), ("rollback", 2, 1), ("promote", 1, 2)], {}),
        ((True, False), [("promote", 0, 1), ("promote", 1, 2)], {2: 2}),
        ((True, False, False), [("promote", 0, 1), ("promote", 1, 2)], {2: 2, 3: 2}),
        ((False,), [("promote", 0, 1)], {1: 1}),
        # judged while a person went back: nobody will promote M3
        ((True, True, True), [("promote", 0, 1), ("promote", 1, 2), ("rollback", 2, 1)], {3: 1}),
    ],
    ids=["in peace", "not recorded yet", "back", "back and forth", "refused", "refused twice", "founder", "meanwhile"],
)
def test_whoever_a_person_made_champion_is_whom_the_next_is_compared_with(
    workspace: Workspace, opens: tuple[bool, ...], moves: list[tuple[str, int, int]], found: dict[int, int]
) -> None:
    raised(workspace, *opens)
    for action, before, to in moves:
        decided(workspace, action, before and f"small-M{before}", f"small-M{to}")
    known = pending.outcomes(workspace).reseated
    assert known == {f"small-M{teacher}": f"small-M{champion}" for teacher, champion in found.items()}


@pytest.mark.parametrize("after", ["continue", "hold"])
def test_a_row_names_the_champion_that_a_person_went_back_to(workspace: Workspace, after: str) -> None:
    has_faces(workspace, "a", "b")
    workspace.rewrite(lambda document: document["lines"]["small"].update(after_refusal=after, sequence=["a", "b"]))
    raised(workspace, True, False)
    decided(workspace, ledger.PROMOTE, "", "small-M1")
    decided(workspace, ledger.PROMOTE, "small-M1", "small-M2")
    (recipe,) = pending.proposal(workspace).recipes.values()
    assert (recipe.row.learns, recipe.row.teacher, recipe.row.champion) == ("b", "small-M2", "small-M2")


def test_a_line_that_waits_says_what_it_waits_for(workspace: Workspace) -> None:
    has_faces(workspace, "a")
    raised(workspace, True, False)
    assert retries.told(workspace) == [], "by default a line goes on from whoever was refused"
    workspace.rewrite(lambda document: document["lines"]["small"].update(after_refusal="hold"))
    assert retries.told(workspace) == ["small waits, because small-M2 was refused: perennial retry small-M2"]
    workspace.rewrite(lambda document: document["lines"]["small"].update(after_refusal="retry"))
    assert retries.told(workspace)[0].endswith("choose otherwise in params.yaml, then perennial run")


def test_a_retry_is_planned_with_what_differs_in_words_and_the_retired_are_raised_no_more(workspace: Workspace) -> None:
    has_faces(workspace, "a", "b")
    raised(workspace, True, False, False)
    decided(workspace, ledger.PROMOTE, "", "small-M1")
    lineage = workspace.lineage()
    rows = {
        n: row.model_copy(update={"learns": t}) for (n, row), t in zip(lineage.generations.items(), "aba", strict=True)
    }
    lineage.model_copy(update={"generations": rows}).write(workspace.lineage_file)
    for name, row in rows.items():
        file = workspace.recipes / f"{name}.yaml"
        Recipe.read(file).model_copy(update={"row": row}).write(file)
    workspace.rewrite(lambda document: document.update(training={"epochs": 77}))
    (workspace.data("verdicts", "small-M3") / VERDICT_FILE).unlink()
    assert pending.unjudged(workspace) == ("small-M3",)
    said = retries.retry(workspace, "small-M2")
    assert said.startswith("small-M4 learns 'b' from the champion, small-M1. Other choices: ")
    assert "training.epochs 10 -> 77" in said and said.endswith("register: small-M2, small-M3. Next: perennial run")
    assert pending.unjudged(workspace) == ("small-M4",), "nobody raises who would be retired"
    assert (workspace.data("withdrawals", "generations") / "small-M4.yaml").is_file()
    assert retries.told(workspace) == []


def test_what_a_generation_took_is_known_from_its_training_to_its_verdict(tmp_path: Path) -> None:
    assert durations.raised(tmp_path, "small-M1") is None
    durations.clock(tmp_path, "evolve@small-M1", 40)
    durations.clock(tmp_path, "judge@small-M1", 2)
    found = durations.raised(tmp_path, "small-M1")
    assert found and found[1] - found[0] == pytest.approx(40, abs=1)
    assert durations.clocked(tmp_path) == {"evolve@small-M1": 40, "judge@small-M1": 2}


def test_an_archive_too_much_of_which_looks_like_another_split_is_learned_by_nobody(workspace: Workspace) -> None:
    has_faces(workspace, "a", "b")
    workspace.rewrite(lambda document: document.update(sequence=["a", "b"], benchmarks=["a"]))
    report = {"faces": "b", "clips": 9, "face": 4, "frame": 1, "passed": False}
    _write(near_duplicates.folder_of(workspace, "b") / "report.json", json.dumps(report))
    planned = pending.proposal(workspace)
    assert [recipe.row.learns for recipe in planned.recipes.values()] == ["a"]
    assert planned.waiting == ("b",)
    (told,) = near_duplicates.told(workspace)
    assert told.startswith(
        "4 of 9 clips of 'b' show a face that looks like one of another split, 1 such a frame: reports/"
    )
    was_learned(workspace, "b")
    assert not near_duplicates.refused(workspace)  # somebody has seen it
    _write(workspace.data("faces", "b") / FACES_FILE, json.dumps({"digest": "cut anew"}))
    assert not near_duplicates.told(workspace)


def test_who_looks_beside_a_running_lifecycle_is_told_of_it_and_asks_no_dvc(workspace: Workspace) -> None:
    without_wiring(workspace)
    with (
        only_one(workspace, patience_s=0),
        pytest.raises(PerennialError, match=r"found one running\. Wait for it to end"),
    ):
        pending.look(workspace)


def test_what_is_missing_and_lies_in_the_cache_is_put_back_before_anybody_looks(
    workspace: Workspace, archive: Path
) -> None:
    land(workspace, "swaps", str(archive), layout="crops")
    rows = next(workspace.data("manifests", "swaps").glob("*.parquet"))
    shutil.rmtree(rows.parent)
    assert pending.look(workspace).archives == ("swaps",)
    assert rows.is_file()
