"""The first page of a workspace, written whenever what it says may have changed: after a run, a move of champions, a study."""

from __future__ import annotations

from pathlib import Path

from components.reports.index import write_index
from components.reports.terminal import status_json
from components.settings import settings
from components.tracking import DATABASE, connect
from flows.workspace import Workspace


def write(workspace: Workspace) -> Path:
    """Bring ``reports/index.html`` up to date; raises PerennialError where a tracking server is named and does not answer."""
    from flows.serving import champions

    status = status_json(workspace.lineage_file, workspace.data, champions(workspace))
    page = connect(workspace.root).page if settings().tracking_uri else ""
    how = page or f"mlflow ui --backend-store-uri sqlite:///{DATABASE}"
    return write_index(workspace.index.parent, workspace.root.name, status, how)
