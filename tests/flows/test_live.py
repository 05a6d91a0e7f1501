"""A training is drawn in MLflow while it runs, and never waits for it."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from components.generations.lineage import Bench, Head, Lineage
from components.generations.recipe import Row
from components.progress import EPOCH
from components.registry.record import LIVE_TAG, runs_where
from components.settings import settings
from components.tracking import connect
from flows import live
from flows.workspace import Workspace


@pytest.fixture
def planned(workspace: Workspace) -> Workspace:
    row = Row(line="small", detector="rsia_net", strategy="cffd", learns="a", bench="a")
    heads = {"small": Head(generation="small-M1", detector="rsia_net", strategy="cffd")}
    Lineage(benches={"a": Bench()}, generations={"small-M1": row}, heads=heads).write(workspace.lineage_file)
    return workspace


def epoch(number: int, loss: float) -> str:
    return EPOCH + json.dumps({"epoch": number, "loss": loss})


def test_epochs_of_a_training_are_drawn_and_other_lines_are_left_to_others(
    planned: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PATIENCE_S", 60.0)
    with live.curves(planned, "evaluate@small-M1") as hear:
        assert not hear(epoch(1, 0.5))
    with pytest.raises(RuntimeError, match="killed"), live.curves(planned, "evolve@small-M1") as hear:
        assert hear(epoch(1, 0.5)) and not hear("small-M1  epoch 1/2  loss 0.500")
        raise RuntimeError("killed")
    tracking = connect(planned.root)
    (run,) = runs_where(f"tags.`{LIVE_TAG}` = 'small-M1'", tracking)
    assert (run.info.status, run.data.metrics) == ("FAILED", {"training/loss": 0.5})
    with live.curves(planned, "evolve@small-M1") as hear:
        hear(epoch(1, 0.5))
        hear(epoch(2, 0.25))
    history = tracking.client.get_metric_history(run.info.run_id, "training/loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25)]


def test_a_server_that_is_away_ends_no_training(planned: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_TRACKING_URI", "http://127.0.0.1:9")
    settings.cache_clear()
    with live.curves(planned, "evolve@small-M1") as hear:
        assert hear(epoch(1, 0.5))
    monkeypatch.undo()
    settings.cache_clear()
    assert not (planned.root / "mlflow.db").exists()


def test_lines_that_learn_side_by_side_are_both_drawn_in_books_that_were_not_there(
    planned: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PATIENCE_S", 60.0)
    lineage = planned.lineage()
    names = [f"small-M{number}" for number in range(1, 5)]
    grown = dict.fromkeys(names, lineage.generations["small-M1"])
    lineage.model_copy(update={"generations": grown}).write(planned.lineage_file)
    with ExitStack() as learning:
        for hear in [learning.enter_context(live.curves(planned, f"evolve@{name}")) for name in names]:
            hear(epoch(1, 0.5))
    tracking = connect(planned.root)
    assert sorted(run.info.run_name for run in runs_where(f"tags.`{LIVE_TAG}` like '%'", tracking)) == names
