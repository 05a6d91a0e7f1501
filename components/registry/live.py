"""A generation's run in MLflow while it learns: its curves epoch by epoch, since its training began.

`record` goes on with that run once the generation was judged; where its curves are not those on disk, it makes another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from components.registry import catalogue
from components.registry.record import LINE_TAG, LIVE_TAG, PARENT_TAG, line_run, metric, runs_where
from components.tracking import Tracking


def begin(generation: str, line: str, began: float, tracking: Tracking) -> str:
    """The id of the run of a generation that began to learn then, in seconds since 1970; one that was cut off goes on."""
    for run in runs_where(f"tags.`{LIVE_TAG}` = '{generation}'", tracking):
        tracking.client.update_run(run.info.run_id, status="RUNNING")
        return str(run.info.run_id)
    about = {
        PARENT_TAG: line_run(line, tracking).info.run_id,
        LINE_TAG: line,
        LIVE_TAG: generation,
        "perennial.kind": "generation",
        catalogue.GENERATION_TAG: generation,
    }
    run = tracking.client.create_run(tracking.experiment, int(began * 1000), about, generation)
    return str(run.info.run_id)


def draw(run_id: str, row: Mapping[str, float], tracking: Tracking) -> None:
    """The means of one epoch; one that is drawn already, by a training that was cut off, stays."""
    drawn = tracking.client.get_run(run_id).data.metrics
    step = int(row["epoch"])
    points = [metric(f"training/{name}", value, step) for name, value in row.items() if name != "epoch"]
    known = {point.key for point in points if point.key in drawn and _reaches(run_id, point.key, step, tracking)}
    news = [point for point in points if math.isfinite(point.value) and point.key not in known]
    if news:
        tracking.client.log_batch(run_id, metrics=news)


def fail(run_id: str, tracking: Tracking) -> None:
    """The training ended without a generation; another attempt goes on with the run."""
    tracking.client.set_terminated(run_id, "FAILED")


def _reaches(run_id: str, key: str, step: int, tracking: Tracking) -> bool:
    return any(point.step == step for point in tracking.client.get_metric_history(run_id, key))
