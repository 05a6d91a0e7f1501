"""What was deleted in MLflow and still takes room there: runs whose recording was cut off and made again, and their models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow.entities import LifecycleStage, Run, ViewType
from mlflow.exceptions import MlflowException

from components.errors import Refused, StageFailed
from components.tracking import Tracking


def folders(tracking: Tracking) -> dict[str, Path]:
    """Deleted run of our experiment -> its folder of artifacts; only where those lie on this machine.

    Raises Refused where a registered version rests on something that was deleted: nothing of it may go.
    """
    deleted = {run.info.run_id: run for run in _deleted_runs(tracking)}
    for version in tracking.client.search_model_versions():
        if version.run_id in deleted or not _is_there(version.model_id, tracking):
            raise Refused(
                f"expected the run and the model of version {version.version} of '{version.name}' to be active, found one "
                f"of them deleted. Restore run '{version.run_id}' in MLflow, or delete the version, then ask again."
            )
    paths = {name: urlsplit(run.info.artifact_uri) for name, run in deleted.items()}
    return {name: Path(unquote(at.path)).parent for name, at in paths.items() if at.scheme in ("", "file")}


def take_away(runs: list[str], tracking: Tracking) -> None:
    """Have MLflow forget these deleted runs for good, their artifacts, and every deleted model; only in a database file."""
    if not runs:
        return
    command = ["-m", "mlflow", "gc", "--backend-store-uri", tracking.uri, "--tracking-uri", tracking.uri]
    done = subprocess.run(
        [sys.executable, *command, "--run-ids", ",".join(runs)], capture_output=True, text=True, env=dict(os.environ)
    )
    if done.returncode:
        raise StageFailed(f"mlflow gc failed: {(done.stderr.strip() or done.stdout.strip())[-500:]}")


def _deleted_runs(tracking: Tracking) -> list[Run]:
    found = tracking.client.search_runs([tracking.experiment], run_view_type=ViewType.DELETED_ONLY, max_results=10_000)
    return [run for run in found if run.info.lifecycle_stage == LifecycleStage.DELETED]


def _is_there(model_id: str | None, tracking: Tracking) -> bool:
    if not model_id:
        return True
    try:
        tracking.client.get_logged_model(model_id)
    except MlflowException:
        return False
    return True
