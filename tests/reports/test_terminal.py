"""What `status` shows, to people and to machines."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from rich.console import Console

from components.evaluation import late
from components.evaluation.matrix import MATRIX_FILE
from components.evaluation.point_files import write
from components.generations.card import read_card
from components.reports.terminal import status_json, status_table


def status_of(root, champions=None):
    return status_json(root / "lineage.yaml", lambda kind, name: root / "data" / kind / name, champions)


def shown(status) -> str:
    console = Console(width=140, record=True, file=None, force_terminal=False, quiet=False, highlight=False)
    with console.capture() as capture:
        console.print(status_table(status))
    return capture.get()


def test_a_machine_reads_lines_generations_scores_and_champion(grow):
    status = status_of(grow(2), {"rsia": "rsia-M2"})
    assert json.loads(json.dumps(status)) == status
    line = status["lines"]["rsia"]
    assert line["champion"] == "rsia-M2"
    first, second = line["generations"]
    assert (first["name"], first["learns"], first["teacher"], first["opens"]) == (
        "rsia-M1",
        "deepfakes",
        "nobody",
        True,
    )
    assert second["scores"]["deepfakes"]["auc"] == pytest.approx(0.86)
    assert first["forgetting"] is None and second["forgetting"] == pytest.approx(0.04)
    assert second["average_auc"] == pytest.approx(0.88)


def test_a_generation_that_was_planned_and_not_raised_is_not_judged(grow):
    root = grow(2)
    shutil.rmtree(root / "data/verdicts/rsia-M2")
    second = status_of(root)["lines"]["rsia"]["generations"][1]
    assert second["opens"] is None and second["scores"] == {} and second["average_auc"] is None
    assert "not judged" in shown(status_of(root))


def test_the_champion_has_a_star_and_a_refusal_its_words(grow):
    text = shown(status_of(grow(2, opens=False), {"rsia": "rsia-M1"}))
    (starred,) = [row for row in text.splitlines() if "★" in row]
    assert "rsia-M1" in starred and "✓ open" in starred
    assert "✕ closed" in text and "fell <b>too far</b>" in text


def test_whoever_is_no_ancestor_of_the_youngest_is_retired_and_taught_it_nothing(grow):
    root = grow(3, opens=False)
    lineage = yaml.safe_load((root / "lineage.yaml").read_text())
    lineage["generations"]["rsia-M3"] |= {"teacher": "rsia-M1", "learns": "face2face"}
    (root / "lineage.yaml").write_text(yaml.safe_dump(lineage, sort_keys=False))
    status = status_of(root, {"rsia": "rsia-M1"})
    assert [one["retired"] for one in status["lines"]["rsia"]["generations"]] == [False, True, False]
    (retired,) = [row for row in shown(status).splitlines() if "retired" in row]
    assert "rsia-M2" in retired and "✕ closed" in retired


def test_the_champions_threshold_is_shown_or_why_it_has_none(grow):
    root = grow(2)
    answering = {"rsia": "rsia-M2"}
    assert "rsia-M2: no operating point: it was raised before there were operating points" in shown(
        status_of(root, answering)
    )
    write(root / "data/verdicts/rsia-M2", {"point": {"threshold": 0.731}, "reason": None, "ladder": None})
    status = status_of(root, answering)
    assert [one["threshold"] for one in status["lines"]["rsia"]["generations"]] == [None, 0.731]
    assert "rsia-M2: a clip is called forged above 0.731" in shown(status)


def test_an_empty_workspace_says_what_to_do(tmp_path):
    assert status_of(tmp_path) == {"lines": {}}
    assert "perennial run" in shown(status_of(tmp_path))


def test_cells_found_after_the_verdict_fill_the_row_they_belong_to(grow):
    root = grow(2)
    lineage = yaml.safe_load((root / "lineage.yaml").read_text())
    lineage["heads"] = {"rsia": {"generation": "rsia-M2", "examined": "rsia-M2_on_mask"}}
    (root / "lineage.yaml").write_text(yaml.safe_dump(lineage))
    weights = {name: read_card(root / "data/generations" / name)["weights"] for name in ("rsia-M1", "rsia-M2")}
    measured = {"auc": {"value": 0.61, "low": 0.5, "high": 0.7}}
    found = root / "data/examinations/rsia-M2_on_mask"
    found.mkdir(parents=True)
    cells = [late.Cell("rsia-M1", "mask", weights["rsia-M1"], measured), late.Cell("rsia-M2", "mask", "gone", measured)]
    late.write(found, cells)
    first, second = status_of(root)["lines"]["rsia"]["generations"]
    assert first["scores"]["mask"] == {"auc": 0.61, "low": 0.5, "high": 0.7}
    assert "mask" not in second["scores"], "weights that are gone answered"
    assert "mask" in shown(status_of(root))


def test_what_a_teacher_showed_beside_its_heir_stands_in_its_own_row(grow):
    root = grow(2)
    matrix = root / "data/verdicts/rsia-M1" / MATRIX_FILE
    raw = json.loads(matrix.read_text())
    raw["cells"]["rsia-M1"]["face2face"] = {"auc": {"value": None, "low": None, "high": None}}
    matrix.write_text(json.dumps(raw))
    first = status_of(root)["lines"]["rsia"]["generations"][0]
    assert first["scores"]["face2face"]["auc"] == pytest.approx(0.55)
