"""What MLflow shows after a generation was recorded, however often and however interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.pyfunc import scoring_server
from starlette.testclient import TestClient

from components.archives.report import write_report
from components.errors import BrokenLineage
from components.evaluation import MATRIX_FILE, point_files
from components.evaluation.scores import METRICS_FILE
from components.gates.verdict import VERDICT_FILE
from components.registry import catalogue
from components.registry.record import (
    CODE_STATE_TAG,
    CODE_TAG,
    COMMIT_TAG,
    DRIFT_TAG,
    record,
    tell_code,
    tell_examination,
    tell_retired,
)
from components.reports import PAGE_FILE
from components.tracking import Tracking, connect

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
    assert files == {VERDICT_FILE, MATRIX_FILE, METRICS_FILE}


def test_the_operating_point_and_the_ladder_are_metrics_of_the_generation_and_of_its_line(bear, tracking):
    first = bear(1)
    standing = {"accuracy": 0.8, "balanced_accuracy": 0.81, "calibration_error": 0.05, "misses": {"deepfakes": None}}
    verdict = json.loads((first.verdict / VERDICT_FILE).read_text())
    standing["false_alarms"] = {"deepfakes": 0.04}
    (first.verdict / VERDICT_FILE).write_text(json.dumps({**verdict, "standing": standing}))
    alarms = {"value": 0.04, "low": None, "high": None, "reason": None}
    point = {"threshold": 0.731, "found": {"cllr": 0.2, "false_alarms": alarms}}
    climbed = {"faces": 64, "clean": 0.95, "rungs": {"jpeg_50": 0.6, "noise_15": None}}
    point_files.write(first.verdict, {"point": point, "reason": None, "ladder": {"deepfakes": climbed}})
    recorded = record(first.generation, tracking=tracking, **first.recording)
    (line,) = runs(tracking, "line")
    expected = {
        "threshold/score": 0.731, "threshold/cllr": 0.2, "threshold/accuracy": 0.8, "threshold/balanced_accuracy": 0.81,
        "threshold/calibration_error": 0.05, "threshold/false_alarms/deepfakes": 0.04, "ladder/deepfakes/clean": 0.95,
        "ladder/deepfakes/jpeg_50": 0.6,
    }  # fmt: skip
    for run in (tracking.client.get_run(recorded.run_id), line):
        shown = {name: v for name, v in run.data.metrics.items() if name.startswith(("threshold/", "ladder/"))}
        assert shown == pytest.approx(expected)
    files = {file.path for file in tracking.client.list_artifacts(recorded.run_id)}
    assert files == {VERDICT_FILE, MATRIX_FILE, METRICS_FILE, point_files.POINT_FILE}


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
    page = tmp_path / PAGE_FILE
    page.write_text("<p>page</p>")
    before = record(first.generation, tracking=tracking, report=page, **first.recording)
    counted = counts(tracking)
    assert record(first.generation, tracking=tracking, report=page, **first.recording) == before
    assert counts(tracking) == counted


def test_the_page_of_the_line_follows_while_a_generation_keeps_its_own(bear, tracking, tmp_path):
    first = bear(1)
    page = tmp_path / PAGE_FILE
    page.write_text("old")
    recorded = record(first.generation, tracking=tracking, report=page, **first.recording)
    page.write_text("new")
    record(first.generation, tracking=tracking, report=page, **first.recording)
    (line,) = runs(tracking, "line")
    read = lambda run_id: Path(mlflow.artifacts.load_text(f"runs:/{run_id}/report/index.html"))  # noqa: E731
    assert (str(read(recorded.run_id)), str(read(line.info.run_id))) == ("old", "new")


def test_a_run_shows_how_far_the_faces_it_learned_drifted_and_the_line_has_data_docs(bear, tracking, tmp_path):
    first, docs = bear(1), tmp_path / PAGE_FILE
    docs.write_text("docs")
    measures = [
        {"measure": "sharpness of genuine faces", "drift": 0.4, "beyond": True},
        {"measure": "contrast of genuine faces", "drift": 0.0, "beyond": False},
    ]
    write_report(tmp_path / "drift", {"measures": measures}, [])
    for _ in range(2):
        recorded = record(first.generation, tracking=tracking, drift=tmp_path / "drift", docs=docs, **first.recording)
    run = tracking.client.get_run(recorded.run_id)
    assert run.data.tags[DRIFT_TAG] == "sharpness of genuine faces"
    history = tracking.client.get_metric_history(recorded.run_id, "drift/sharpness of genuine faces")
    assert [(point.step, point.value) for point in history] == [(1, 0.4)]
    (line,) = runs(tracking, "line")
    for run_id in (recorded.run_id, line.info.run_id):
        assert mlflow.artifacts.load_text(f"runs:/{run_id}/data_docs/{PAGE_FILE}") == "docs"


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
    example = model.input_example
    assert model.predict(example).shape == (1,)
    for asked in (faces[0], faces[0].tolist(), faces[:1].astype(float), faces[:1] / 255, list(faces[:1])):
        np.testing.assert_allclose(model.predict(asked), answers[:1], rtol=1e-4)
    with pytest.raises(mlflow.exceptions.MlflowException, match="expected faces as"):
        model.predict(faces[..., 0])
    server = TestClient(scoring_server.init(model))  # what `mlflow models serve` runs
    for asked in (
        {"inputs": faces[:1].tolist()},
        {"instances": faces[0].tolist()},
        {"inputs": (faces[0] / 255).tolist()},
    ):
        said = server.post("/invocations", json=asked)
        assert said.json()["predictions"] == pytest.approx(answers[:1].tolist(), rel=1e-4), said.text
    assert server.post("/invocations", json={"inputs": [1, 2]}).status_code == 400


FRESH = """
import sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/perennial-rsia@challenger")
import components.generations.generation as ours
print(ours.__file__)
print(model.predict(np.zeros((2, 64, 64, 3), np.uint8)).shape)
"""


@pytest.mark.slow
def test_the_registered_model_brings_its_own_code_to_a_process_that_has_none(bear, tracking, tmp_path):
    first = bear(1)
    record(first.generation, tracking=tracking, **first.recording)
    elsewhere = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    process = subprocess.run(
        [sys.executable, "-P", "-c", FRESH, tracking.uri],
        capture_output=True, text=True, cwd=tmp_path, env=elsewhere, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    place, shape = process.stdout.split("\n")[:2]
    assert "/code/components/" in place or "site-packages" in place
    assert shape == "(2,)"


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
    assert [v.tags[catalogue.WEIGHTS_TAG] for v in catalogue.versions("rsia", tracking)] == [
        first.weights,
        again.weights,
    ]


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
    verdict = first.verdict / VERDICT_FILE
    verdict.write_text(verdict.read_text().replace(first.weights, "f" * 64))
    with pytest.raises(BrokenLineage, match=f"speak of weights {first.weights[:12]}, found ffffffffffff"):
        record(first.generation, tracking=tracking, **first.recording)


MADE = {
    "code": {"digest": "a" * 64, "commit": "c0ffee"},
    "environment": {"device": "cpu", "versions": {"torch": "2.9"}},
}


def test_a_run_says_which_code_raised_it_and_where(bear, tracking):
    first = bear(1, about=MADE)
    recorded = record(first.generation, tracking=tracking, today="a" * 64, **first.recording)
    run = tracking.client.get_run(recorded.run_id)
    said = [run.data.tags[tag] for tag in (CODE_TAG, COMMIT_TAG, CODE_STATE_TAG)]
    assert said == ["a" * 64, "c0ffee", "today's"]
    assert run.data.params["environment.device"] == "cpu" and run.data.params["environment.versions.torch"] == "2.9"


def test_a_run_follows_when_todays_code_becomes_another_and_back(bear, tracking):
    first = bear(1, about=MADE)
    recorded = record(first.generation, tracking=tracking, today="a" * 64, **first.recording)
    for today, changed, state in [("b", True, "older"), ("b", False, "older"), ("a" * 64, True, "today's")]:
        assert tell_code(first.generation, today=today, tracking=tracking) is changed
        assert tracking.client.get_run(recorded.run_id).data.tags[CODE_STATE_TAG] == state


def test_a_generation_of_an_older_release_was_raised_by_code_before_it(bear, tracking):
    first = bear(1)
    assert tell_code(first.generation, today="a" * 64, tracking=tracking) is False, "it has no run yet"
    tags = tracking.client.get_run(record(first.generation, tracking=tracking, **first.recording).run_id).data.tags
    assert tags[CODE_STATE_TAG] == "before 0.2" and CODE_TAG not in tags and COMMIT_TAG not in tags


def test_nobody_says_of_code_what_nobody_asked(bear, tracking):
    first = bear(1, about=MADE)
    tags = tracking.client.get_run(record(first.generation, tracking=tracking, **first.recording).run_id).data.tags
    assert tags[CODE_TAG] == "a" * 64 and CODE_STATE_TAG not in tags


def test_the_challenger_is_the_newest_generation_until_it_is_champion(bear, tracking):
    first, second = bear(1), bear(2, opens=False)
    record(second.generation, tracking=tracking, **second.recording)
    record(first.generation, tracking=tracking, **first.recording)  # caught up later
    challenger = catalogue.holder("rsia", catalogue.CHALLENGER, tracking)
    assert challenger is not None and challenger.tags[catalogue.GENERATION_TAG] == "rsia-M2"


def test_whoever_is_retired_stays_in_the_register_and_is_no_challenger(bear, tracking):
    first, second = bear(1), bear(2, opens=False)
    for born in (first, second):
        record(born.generation, tracking=tracking, **born.recording)
    assert tell_retired("rsia", {"rsia-M2"}, tracking) and not tell_retired("rsia", {"rsia-M2"}, tracking)
    assert [v.tags.get(catalogue.RETIRED_TAG) for v in catalogue.versions("rsia", tracking)] == [None, "true"]
    (run,) = [run for run in runs(tracking, "generation") if catalogue.RETIRED_TAG in run.data.tags]
    assert run.data.tags[catalogue.GENERATION_TAG] == "rsia-M2"
    challenger = catalogue.holder("rsia", catalogue.CHALLENGER, tracking)
    assert challenger is not None and challenger.tags[catalogue.GENERATION_TAG] == "rsia-M1"
    assert tell_retired("rsia", (), tracking), "its branch lives again"
    challenger = catalogue.holder("rsia", catalogue.CHALLENGER, tracking)
    assert challenger is not None and challenger.tags[catalogue.GENERATION_TAG] == "rsia-M2"
    assert not [run for run in runs(tracking, "generation") if catalogue.RETIRED_TAG in run.data.tags]


def test_a_run_lasts_from_the_beginning_of_training_to_the_verdict(bear, tracking):
    first = bear(1)
    recorded = record(first.generation, tracking=tracking, raised=(1.7e9, 1.7e9 + 480.5), **first.recording)
    run = tracking.client.get_run(recorded.run_id).info
    assert (run.status, run.start_time, run.end_time) == ("FINISHED", 1_700_000_000_000, 1_700_000_480_500)
    assert record(first.generation, tracking=tracking, **first.recording) == recorded


INTERRUPTED = """
import os, shutil, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from components.registry.record import CODE_STATE_TAG, CODE_TAG, COMMIT_TAG, record, tell_code, tell_examination
from components.reports import PAGE_FILE
from components.tracking import connect

root, empty, moments = Path(sys.argv[1]), Path(sys.argv[2]), [int(n) for n in sys.argv[3:]]
name = "rsia-M1"

def project(workspace, dies_at=None):
    commits = 0
    def commit(connection):
        nonlocal commits
        commits += 1
        if commits == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
    tracking = connect(workspace)
    event.listen(Engine, "commit", commit)
    data = root / "data"
    record(data / "generations" / name, recipe=root / f"recipes/{name}.yaml", scores=data / "scores" / name,
           verdict=data / "verdicts" / name, tracking=tracking)

def forked(*args):
    child = os.fork()
    if child == 0:
        project(*args)
        os._exit(0)
    return os.waitpid(child, 0)[1]

(root / "warm").mkdir()
project(root / "warm")  # MLflow imports half of itself on first use: once, before the forks
for moment in moments:
    workspace = root / f"killed-{moment}"
    workspace.mkdir()
    shutil.copy(empty, workspace)
    survived = forked(workspace, moment) == 0

    if survived:
        shutil.rmtree(workspace)
        break
    assert forked(workspace) == 0
    print(workspace, flush=True)
"""

EARLY_AND_LATE = (15, 40)


@pytest.mark.parametrize("moments", [EARLY_AND_LATE, pytest.param(range(1, 200, 4), marks=pytest.mark.slow)])
def test_a_projection_killed_at_any_commit_is_finished_by_running_again(bear, empty_books, tmp_path, moments):
    bear(1)
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path), str(empty_books), *map(str, moments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert process.returncode == 0, process.stderr
    workspaces = process.stdout.split()
    assert len(workspaces) >= 2
    for workspace in workspaces:
        caught_up = connect(Path(workspace))
        counted = counts(caught_up)
        assert (counted["lines"], counted["generations"], counted["models"], counted["versions"]) == (1, 1, 1, 1), (
            workspace
        )
        (run,) = runs(caught_up, "generation")
        assert run.info.status == "FINISHED" and "auc/deepfakes" in run.data.metrics
        (line,) = runs(caught_up, "line")
        assert len(caught_up.client.get_metric_history(line.info.run_id, "auc/deepfakes")) == 1


def examined(born: Any, auc: float = 0.61) -> Path:
    """What the stage examine leaves of a benchmark that joined late."""
    folder = born.root / "data/examinations" / f"{born.name}_on_mask"
    folder.mkdir(parents=True, exist_ok=True)
    cell = {"faces": "f" * 64, "auc": {"value": auc, "low": None, "high": None}}
    cell["eer"] = {"value": None, "low": None, "high": None, "reason": "one class"}
    metrics = {"generation": born.name, "weights": born.weights, "benchmarks": {"mask": cell}}
    (folder / METRICS_FILE).write_text(json.dumps(metrics))
    return folder


def test_a_late_examination_is_told_to_the_run_of_its_generation_and_of_its_line_once(bear, tracking):
    first = bear(1)
    recorded = record(first.generation, tracking=tracking, **first.recording)
    about = {"generation": first.generation, "verdict": first.verdict, "tracking": tracking}
    assert tell_examination(examined(first), **about)
    told = counts(tracking)
    run, (line,) = tracking.client.get_run(recorded.run_id), runs(tracking, "line")
    assert run.data.metrics["auc/mask"] == line.data.metrics["auc/mask"] == pytest.approx(0.61)
    assert "eer/mask" not in run.data.metrics
    assert "mask" in [given.dataset.name for given in run.inputs.dataset_inputs]
    assert run.info.status == line.info.status == "FINISHED"
    assert not tell_examination(examined(first), **about)
    assert counts(tracking) == told


def test_an_examination_of_weights_that_are_gone_is_refused(bear, tracking):
    first = bear(1)
    folder = examined(first)
    raw = json.loads((folder / METRICS_FILE).read_text())
    (folder / METRICS_FILE).write_text(json.dumps({**raw, "weights": "0" * 64}))
    with pytest.raises(BrokenLineage, match=r"to speak of weights .* found 000000000000"):
        tell_examination(folder, generation=first.generation, verdict=first.verdict, tracking=tracking)


def test_the_books_of_a_workspace_lie_in_it_whatever_its_name_means_in_an_address(tmp_path):
    workspace = tmp_path / "50%25 done? #1"
    connect(workspace)
    assert (workspace / "mlflow.db").is_file()
    assert list(tmp_path.iterdir()) == [workspace]


def test_models_and_versions_describe_themselves(bear, tracking):
    first = bear(1)
    second = bear(2, champion=first, opens=False)
    for born in (first, second):
        record(born.generation, tracking=tracking, **born.recording)
    founder, refused = catalogue.versions("rsia", tracking)
    assert "It learned `deepfakes` as the founder of its line." in founder.description
    assert "| face2face | no | 0.850 | 0.830–0.870 | 8 |" in founder.description
    assert (
        "It learned `face2face`, with a memory of the older tasks, from `rsia-M1`, which had learned `deepfakes`."
        in refused.description
    )
    assert "The gate stayed closed: it is not fit to answer. AUC 0.500 is below 0.800" in refused.description
    assert "No operating point: it was raised before there were operating points." in refused.description
    model = tracking.client.get_registered_model(catalogue.model_name("rsia"))
    assert "| rsia-M2 | face2face | 0.850 | 0.030 |" in model.description
    (line,) = runs(tracking, "line")
    assert line.data.tags["mlflow.note.content"] == model.description


def test_a_verdict_that_changed_changes_the_description(bear, tracking):
    first = bear(1)
    record(first.generation, tracking=tracking, **first.recording)
    first.judge(opens=False, champion=None)
    record(first.generation, tracking=tracking, **first.recording)
    (version,) = catalogue.versions("rsia", tracking)
    assert "The gate stayed closed" in version.description


def test_runs_of_lines_compare_by_params_and_one_forgetting_stands_in_front(bear, tracking):
    first = bear(1, about={"code": {"digest": "d" * 64, "commit": "c" * 40}})
    second = bear(2, champion=first)
    matrix = json.loads((second.verdict / MATRIX_FILE).read_text())
    matrix["summary"][second.name] |= {
        "forgetting_acc": {"value": 0.01, "reason": None},
        "bwt": {"value": -0.03, "reason": None},
    }
    (second.verdict / MATRIX_FILE).write_text(json.dumps(matrix))
    recorded = [record(born.generation, tracking=tracking, **born.recording) for born in (first, second)]
    (line,) = runs(tracking, "line")
    assert line.data.params == {"detector": "rsia_net", "strategy": "cffd", "memory.budget": "500"}
    summaries = {key for key in line.data.metrics if "/" not in key}
    assert summaries == {"average_auc", "forgetting"}
    assert {"transfer/forgetting_acc", "transfer/bwt"} <= set(line.data.metrics)
    tags = tracking.client.get_run(recorded[0].run_id).data.tags
    assert tags["mlflow.source.git.commit"] == "c" * 40 and tags["mlflow.user"]


def test_a_server_has_a_page_that_opens_on_training_and_a_file_has_none(tracking):
    assert tracking.page == ""
    served = Tracking("http://mlflow:5000/", "7", tracking.models)
    assert served.page == "http://mlflow:5000/#/experiments/7/runs?workflowType=machine_learning"
