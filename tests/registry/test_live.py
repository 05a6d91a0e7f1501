"""A run is there while its generation learns, and is the generation's own once that was judged."""

from __future__ import annotations

import pytest

from components.registry import live
from components.registry.record import LIVE_TAG, record, runs_where, tell_retired
from components.tracking import Tracking

BEGAN = 1.7e9
EPOCHS = ({"epoch": 0, "cross_entropy": 0.7}, {"epoch": 1, "cross_entropy": 0.5, "distil": 0.2})
"""Of the curve of every generation here, which has one epoch more."""


def drawn(tracking: Tracking, run_id: str, name: str = "cross_entropy") -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in tracking.client.get_metric_history(run_id, f"training/{name}")]


def of_the_generation(tracking: Tracking) -> list[str]:
    return [run.info.run_id for run in runs_where("tags.`perennial.kind` = 'generation'", tracking)]


def learning(tracking: Tracking, *rows: dict[str, float]) -> str:
    run = live.begin("rsia-M1", "rsia", BEGAN, tracking)
    for row in rows:
        live.draw(run, row, tracking)
    return run


def test_curves_grow_while_it_learns_and_a_training_that_was_cut_off_draws_no_epoch_twice(tracking):
    run = learning(tracking, *EPOCHS)
    assert drawn(tracking, run) == [(0, 0.7), (1, 0.5)]
    live.fail(run, tracking)
    assert tracking.client.get_run(run).info.status == "FAILED"
    assert learning(tracking, *EPOCHS) == run
    assert drawn(tracking, run) == [(0, 0.7), (1, 0.5)] and drawn(tracking, run, "distil") == [(1, 0.2)]
    assert tracking.client.get_run(run).info.status == "RUNNING"


def test_what_is_no_number_is_not_drawn(tracking):
    run = learning(tracking, {"epoch": 1, "cross_entropy": float("nan"), "distil": 0.1})
    assert drawn(tracking, run) == [] and drawn(tracking, run, "distil") == [(1, 0.1)]


def test_a_judged_generation_is_recorded_in_the_run_that_saw_it_learn(bear, tracking):
    first = bear(1)
    run = learning(tracking, *EPOCHS)
    recorded = record(first.generation, tracking=tracking, raised=(BEGAN, BEGAN + 60), **first.recording)
    assert recorded.run_id == run and of_the_generation(tracking) == [run]
    found = tracking.client.get_run(run)
    assert (found.info.status, found.info.start_time) == ("FINISHED", int(BEGAN * 1000))
    assert found.info.end_time == int((BEGAN + 60) * 1000)
    assert drawn(tracking, run) == [(0, 0.7), (1, 0.5), (2, 0.4)] and found.data.params["memory.budget"] == "500"
    assert LIVE_TAG not in found.data.tags
    assert record(first.generation, tracking=tracking, **first.recording) == recorded


@pytest.mark.parametrize("recorded_before", [False, True])
def test_curves_of_another_training_are_cleared_away(bear, tracking, recorded_before):
    first = bear(1)
    if recorded_before:
        record(first.generation, tracking=tracking, **first.recording)
    run = learning(tracking, {"epoch": 0, "cross_entropy": 0.9})
    recorded = record(first.generation, tracking=tracking, **first.recording)
    assert recorded.run_id != run and of_the_generation(tracking) == [recorded.run_id]
    assert drawn(tracking, recorded.run_id) == [(0, 0.7), (1, 0.5), (2, 0.4)]


def test_who_is_retired_while_it_learns_leaves_no_run(tracking):
    run = learning(tracking, *EPOCHS)
    tell_retired("rsia", {"rsia-M2"}, tracking)
    assert of_the_generation(tracking) == [run]
    tell_retired("rsia", {"rsia-M1"}, tracking)
    assert of_the_generation(tracking) == []
