"""`perennial examine`: living generations meet the benchmarks that joined after they were judged, each once.

What is to be found is written into the lineage first, a row a cell; then the rows are made. A run that was killed in
between is finished by running again, by `perennial run`, or by `dvc repro`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import flow

from components.generations.examinations import extended
from flows import dvc_process, engine, index, lifecycle, pipeline, shown
from flows.examinations import plan
from flows.outcome import Outcome
from flows.workspace import Workspace, only_one


def examine(root: Path, benchmarks: Sequence[str] = (), lines: Sequence[str] = ()) -> Outcome:
    """Examine every living generation of these lines on these benchmarks, by default all on all, where it never was.

    Examinations that were asked for before and have no result are made too. Verdicts stay as they are.
    """
    workspace = Workspace.at(Path(root))
    with only_one(workspace, patience_s=0), engine.beside() as engine_is_up:
        with dvc_process.stoppable():
            pipeline.checkout(workspace.root)
            pipeline.refresh(workspace.root, patience_s=lifecycle.PATIENCE_S)
        lineage = workspace.lineage()
        grown = extended(lineage, plan(workspace, benchmarks, lines))
        if grown != lineage:
            grown.write(workspace.lineage_file)
        planned = [key for key in grown.examinations if key not in lineage.examinations]
        with engine_is_up(), lifecycle.by_signal():
            return shown.outcome_of(recorded, workspace, planned)


@flow(name="examine", validate_parameters=False, task_runner=lifecycle.RUNNER)
def recorded(root: Path, planned: list[str]) -> Outcome:
    """Make what the lineage asks for, as Prefect shows it."""
    workspace, outcome = Workspace.at(root), Outcome(planned=planned)
    with dvc_process.stoppable():
        met = lifecycle.examine(workspace, outcome)
        lifecycle.publish(workspace, outcome, met)
        lifecycle.remember(workspace, outcome)
        index.write(workspace)
    return shown.ended(workspace, outcome)
