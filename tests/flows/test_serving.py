"""Who answers, as the books of a workspace know it."""

from __future__ import annotations

from pathlib import Path

from components.generations.card import write_card
from components.generations.lineage import Lineage, Row
from components.registry import ledger
from components.registry.ledger import Decision, Holder
from flows.serving import told_of
from flows.workspace import Workspace, template

WEIGHTS = "ab" * 32


def test_a_record_says_what_its_line_was_taught_until_then_and_when_each_lesson_became_champion(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws", template("params.yaml"))
    teacher, rows = "nobody", {}
    for number, task in enumerate(("swaps", "reenactments", "later"), 1):
        about = {"line": "line", "detector": "rsia_net", "strategy": "er", "bench": "nobody"}
        rows[f"line-M{number}"] = Row(learns=task, teacher=teacher, **about)
        teacher = f"line-M{number}"
    Lineage(generations=rows).write(workspace.lineage_file)
    first, second = (Holder(name, WEIGHTS) for name in ("line-M1", "line-M2"))
    for day, before, after in (("2026-11-01", None, first), ("2026-11-20", first, second)):
        ledger.append(workspace.ledger, Decision(day, "ann", "promote", "line", before, after, "opens"))
    folder = tmp_path / "generation"
    folder.mkdir()
    about = {"line": "line", "learns": "reenactments", "detector": "rsia_net", "strategy": "er"}
    write_card(folder, {**about, "generation": "line-M2", "weights": WEIGHTS, "code": {"digest": "cd"}})
    told = told_of(workspace, Holder("line-M2", WEIGHTS), folder)
    assert [(one.archive, one.generation, one.promoted) for one in told.taught] == [
        ("swaps", "line-M1", "2026-11-01"),
        ("reenactments", "line-M2", "2026-11-20"),
    ]
    assert (told.line, told.since, told.weights, told.code) == ("line", "2026-11-20", WEIGHTS, "cd")


def test_what_a_retired_generation_learned_was_not_taught_to_those_in_its_place(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws", template("params.yaml"))
    about = {"line": "line", "detector": "rsia_net", "strategy": "er", "bench": "nobody"}
    born = [("line-M1", "nobody", "swaps"), ("line-M2", "line-M1", "mesh"), ("line-M3", "line-M1", "later")]
    rows = {name: Row(learns=task, teacher=teacher, **about) for name, teacher, task in born}
    Lineage(generations=rows).write(workspace.lineage_file)
    folder = tmp_path / "generation"
    folder.mkdir()
    write_card(folder, {**about, "learns": "later", "generation": "line-M3", "weights": WEIGHTS})
    told = told_of(workspace, Holder("line-M3", WEIGHTS), folder)
    assert [one.archive for one in told.taught] == ["swaps", "later"]
