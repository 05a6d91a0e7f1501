"""What MLflow shows after a generation was recorded, however often and however interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from components.errors import BrokenLineage
from components.registry import catalogue
from components.registry.record import record
from components.tracking import Tracking

ROOT = Path(__file__).parents[2]


def runs(tracking: Tracking, kind: str) -> list[Any]:
    return list(tracking.client.search_runs([tracking.experiment], f"tags.`perennial.kind` = '{kind}'"))


def counts(tracking: Tracking) -> dict[str, int]:
    """Everything that could be doubled."""
    return {
        "lines": len(runs(tracking, "line")),
        "generations": len(runs(tracking, "generation")),
        "models": len(tracking.client.search_logged_models([tracking.experiment])),
        "versions": len(tracking.client.search_model_versions()),
        "points": sum(
            len(tracking.client.get_metric_history(run.info.run_id, key))
            for kind in ("line", "generation")
            for run in runs(tracking, kind)
            for key in run.data.metrics
        ),
    }


def test_a_generation_is_a_run_under_its_line_with_params_losses_row_inputs_and_verdict(bear, tracking):
    first = bear(1)
    recorded = record(first.generation, tracking=tracking, **first.recording)
    run = tracking.client.get_run(recorded.run_id)
    (line,) = runs(tracking, "line")
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == line.info.run_id
    assert run.data.params["memory.budget"] == "500"
    assert run.data.params["gate.0.min_auc"] == "0.8"
    assert len(run.data.params["note"]) == 500
    assert run.data.metrics["auc/face2face"] == pytest.approx(0.85)
    assert "eer/face2face" not in run.data.metrics, "what is undefined is not drawn as a number"
    losses = tracking.client.get_metric_history(recorded.run_id, "training/cross_entropy")
    assert [(m.step, m.value) for m in losses] == [(0, 0.7), (1, 0.5), (2, 0.4)]
    assert [m.step for m in tracking.client.get_metric_history(recorded.run_id, "training/distil")] == [1, 2]
    inputs = {(i.dataset.name, i.tags[0].value) for i in run.inputs.dataset_inputs}
    assert inputs == {("deepfakes", "training")} | {(b, "evaluation") for b in ("deepfakes", "face2face", "faceswap")}
    files = {file.path for file in tracking.client.list_artifacts(recorded.run_id)}
    assert files == {"verdict.json", "matrix.json", "metrics.json"}


def test_the_line_shows_its_matrix_and_its_forgetting_over_generations(bear, tracking):
    first = bear(1)
    second = bear(2, champion=first)
    for born in (first, second):
        record(born.generation, tracking=tracking, **born.recording)
    (line,) = runs(tracking, "line")
    history = tracking.client.get_metric_history(line.info.run_id, "auc/deepfakes")
    assert [m.step for m in history] == [1, 2]
    assert [m.step for m in tracking.client.get_metric_history(line.info.run_id, "forgetting")] == [2]


def test_recording_again_changes_nothing(bear, tracking, tmp_path):
    first = bear(1)
    page = tmp_path / "index.html"
    page.write_text("<p>page</p>")
    before = record(first.generation, tracking=tracking, report=page, **first.recording)
    counted = counts(tracking)
    assert record(first.generation, tracking=tracking, report=page, **first.recording) == before
    assert counts(tracking) == counted


def test_the_page_of_the_line_follows_while_a_generation_keeps_its_own(bear, tracking, tmp_path):
    first = bear(1)
    page = tmp_path / "index.html"
    page.write_text("old")
    recorded = record(first.generation, tracking=tracking, report=page, **first.recording)
    page.write_text("new")
    record(first.generation, tracking=tracking, report=page, **first.recording)
    (line,) = runs(tracking, "line")
    read = lambda run_id: Path(mlflow.artifacts.load_text(f"runs:/{run_id}/report/index.html"))  # noqa: E731
    assert (str(read(recorded.run_id)), str(read(line.info.run_id))) == ("old", "new")


def test_the_registered_model_loads_without_pickle_and_answers_with_probabilities(bear, tracking):
    first = bear(1)
    recorded = record(first.generation, tracking=tracking, **first.recording)
    uri = f"models:/{recorded.name}@challenger"
    folder = Path(mlflow.artifacts.download_artifacts(uri))
    assert not [file for file in folder.rglob("*") if file.suffix in {".pkl", ".pickle", ".pth", ".pt"}]
    assert (folder / "code/components/generations/generation.py").is_file()
    path = list(sys.path)
    model = mlflow.pyfunc.load_model(uri)
    sys.path[:] = path
    faces = np.random.default_rng(0).integers(0, 256, (3, 80, 80, 3), np.uint8)
    answers = model.predict(faces)
    assert answers.shape == (3,) and answers.dtype == np.float32
    assert ((answers >= 0) & (answers <= 1)).all()
    with pytest.raises(mlflow.exceptions.MlflowException):
        model.predict(faces.astype(np.float64))


def test_a_generation_judged_again_keeps_its_version_and_gets_another_run(bear, tracking):
    first = bear(1, opens=False)
    before = record(first.generation, tracking=tracking, **first.recording)
    first.judge(opens=True, champion=None)
    after = record(first.generation, tracking=tracking, **first.recording)
    assert after.version == before.version and after.run_id != before.run_id
    (version,) = catalogue.versions("rsia", tracking)
    assert version.tags[catalogue.OPENS_TAG] == "true"


def test_a_generation_raised_again_with_other_weights_is_another_version(bear, tracking):
    first = bear(1)
    record(first.generation, tracking=tracking, **first.recording)
    again = bear(1, seed=77)
    record(again.generation, tracking=tracking, **again.recording)
    assert [v.tags[catalogue.WEIGHTS_TAG] for v in catalogue.versions("rsia", tracking)] == [first.weights, again.weights]


def test_an_unfinished_run_is_made_again_and_leaves_no_trace(bear, tracking):
    first = bear(1)
    recorded = record(first.generation, tracking=tracking, **first.recording)
    counted = counts(tracking)
    tracking.client.delete_model_version(recorded.name, recorded.version)
    tracking.client.update_run(recorded.run_id, status="RUNNING")
    again = record(first.generation, tracking=tracking, **first.recording)
    assert again.run_id != recorded.run_id
    assert counts(tracking) == counted


def test_weights_that_are_not_those_of_the_verdict_are_not_recorded(bear, tracking):
    first = bear(1)
    verdict = first.verdict / "verdict.json"
    verdict.write_text(verdict.read_text().replace(first.weights, "f" * 64))
    with pytest.raises(BrokenLineage, match=f"speak of weights {first.weights[:12]}, found ffffffffffff"):
        record(first.generation, tracking=tracking, **first.recording)


def test_the_challenger_is_the_newest_generation_until_it_is_champion(bear, tracking):
    first, second = bear(1), bear(2, opens=False)
    record(second.generation, tracking=tracking, **second.recording)
    record(first.generation, tracking=tracking, **first.recording)  # caught up later
    challenger = catalogue.holder("rsia", catalogue.CHALLENGER, tracking)
    assert challenger is not None and challenger.tags[catalogue.GENERATION_TAG] == "rsia-M2"


PROJECTION = """
import sys
from pathlib import Path
from components.tracking import connect
from components.registry.record import record
workspace, name = Path(sys.argv[1]), sys.argv[2]
data = workspace / "data"
tracking = connect(workspace)
print("ready", flush=True)
record(data / "generations" / name, recipe=workspace / f"recipes/{name}.yaml", scores=data / "scores" / name,
       verdict=data / "verdicts" / name, tracking=tracking)
print("done", flush=True)
"""


def project(workspace: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROJECTION, str(workspace), "rsia-M1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("after_s", [0.05, pytest.param(0.3, marks=pytest.mark.slow), pytest.param(0.6, marks=pytest.mark.slow),
                                     pytest.param(0.9, marks=pytest.mark.slow), pytest.param(1.3, marks=pytest.mark.slow)])  # fmt: skip
def test_a_projection_killed_at_any_moment_is_finished_by_running_again(bear, tracking, tmp_path, after_s):
    first = bear(1)
    process = project(tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    record(first.generation, tracking=tracking, **first.recording)
    counted = counts(tracking)
    assert (counted["lines"], counted["generations"], counted["models"], counted["versions"]) == (1, 1, 1, 1)
    (run,) = runs(tracking, "generation")
    assert run.info.status == "FINISHED" and "auc/deepfakes" in run.data.metrics
    history = tracking.client.get_metric_history(runs(tracking, "line")[0].info.run_id, "auc/deepfakes")
    assert len(history) == 1
