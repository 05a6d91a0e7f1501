"""What `status` shows, to people and to machines."""

from __future__ import annotations

import json
import shutil

import pytest
from rich.console import Console

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


def test_an_empty_workspace_says_what_to_do(tmp_path):
    assert status_of(tmp_path) == {"lines": {}}
    assert "perennial run" in shown(status_of(tmp_path))
