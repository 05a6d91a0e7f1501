"""The first page of a workspace, written whenever what it says may have changed: after a run, a move of champions, a study."""

from __future__ import annotations

from pathlib import Path

from components.errors import PerennialError
from components.reports.index import write_index
from components.reports.terminal import status_json
from components.settings import settings
from flows.workspace import Workspace


def write(workspace: Workspace) -> Path:
    """Bring ``reports/index.html`` up to date."""
    from flows.serving import champions

    status = status_json(workspace.lineage_file, workspace.data, champions(workspace))
    return write_index(workspace.index.parent, workspace.root.name, status, tracking(workspace))


def tracking(workspace: Workspace) -> str:
    """MLflow's page; of a server that is away its address, and of a file how to look at it."""
    from components.tracking import DATABASE, connect  # MLflow: a run that has nothing to do needs none of it

    uri = settings().tracking_uri
    if not uri.startswith(("http://", "https://")):
        books = '"$PERENNIAL_TRACKING_URI"' if uri else f"sqlite:///{DATABASE}"
        return f"mlflow ui --backend-store-uri {books}"
    try:
        return connect(workspace.root).page
    except PerennialError:
        return uri
