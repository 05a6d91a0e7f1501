"""A benchmark joins after generations were judged: nobody met it, `perennial examine` lets each of them, once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from components.evaluation import late
from components.generations.examinations import extended
from components.registry.record import LINE_TAG
from components.tracking import connect
from flows.examinations import never_examined
from flows.workspace import Workspace

KEYS = ["cffd-M1_on_third", "cffd-M2_on_third"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def joined(raised, copied, archives):
    """A copy of `raised` in which a third archive landed as a benchmark alone, and has faces."""
    place = copied(raised)
    place.perennial("land", "third", str(archives["third"]), "--layout", "lab", "--role", "benchmark")
    place.perennial("run")
    return place


def verdicts(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((root / "data" / "verdicts").rglob("*.json"))}


def points(root: Path) -> dict[str, int]:
    """How often MLflow was told a metric of the late benchmark, by run and metric."""
    tracking = connect(root)
    runs = tracking.client.search_runs([tracking.experiment], f"tags.`{LINE_TAG}` = 'cffd'")
    return {
        f"{run.info.run_name} {key}": len(tracking.client.get_metric_history(run.info.run_id, key))
        for run in runs
        for key in run.data.metrics
        if key.endswith("/third")
    }


def test_status_says_who_never_met_a_benchmark_and_examine_lets_them_once(joined, copied):
    place = copied(joined)
    before = verdicts(place.root)
    assert "2 generations were never examined on 'third': perennial examine" in place.perennial("status")
    assert "no line 'plain'; known: cffd" in place.perennial("examine", "--line", "plain", fails=True)
    assert "no benchmark 'thrid'" in place.perennial("examine", "thrid", fails=True)
    place.perennial("examine")
    assert list(yaml.safe_load((place.root / "lineage.yaml").read_text())["examinations"]) == KEYS
    assert verdicts(place.root) == before
    assert "never examined" not in place.perennial("status")
    shown = json.loads(place.perennial("status", "--json"))
    assert shown["never_examined"] == {}
    assert all(one["scores"]["third"]["auc"] is not None for one in shown["lines"]["cffd"]["generations"])
    page = (place.root / "reports" / "lines" / "cffd" / "index.html").read_text()
    assert "Measured after the verdict: cffd-M1 on third, cffd-M2 on third." in page and "M1 on third: AUC" in page
    told = points(place.root)
    assert {f"{run} auc/third" for run in ("cffd", "cffd-M1", "cffd-M2")} <= told.keys()
    assert told.pop("cffd auc/third") == 2 and {told[f"cffd-M{i} auc/third"] for i in (1, 2)} == {1}
    kept = list((place.root / ".perennial" / "scores").rglob("*.parquet"))
    assert "Nothing to examine" in place.perennial("examine", "third")
    assert "is up to date" in place.perennial("run")
    assert list((place.root / ".perennial" / "scores").rglob("*.parquet")) == kept
    assert "up to date" in place.dvc("repro")


def test_a_run_finishes_what_was_asked_for_before_a_kill_and_dvc_alone_makes_the_same_bytes(joined, copied):
    place = copied(joined)
    workspace = Workspace.at(place.root)
    extended(workspace.lineage(), never_examined(workspace)).write(workspace.lineage_file)  # and then it was killed
    assert [name for name in place.lifecycle()["ran"] if name.startswith("examine@")] == [f"examine@{k}" for k in KEYS]
    made = {key: place.outs[f"examine@{key}"] for key in KEYS}
    cells = late.read(place.root / "data" / "examinations" / KEYS[1])
    assert [(cell.generation, cell.benchmark) for cell in cells] == [("cffd-M1", "third"), ("cffd-M2", "third")]
    shutil.rmtree(place.root / ".perennial" / "scores")
    place.dvc("repro", "--force", "--single-item", *(f"examine@{key}" for key in KEYS))
    assert {key: place.outs[f"examine@{key}"] for key in KEYS} == made
