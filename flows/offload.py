"""The faces of an archive move to an object store, and stages fetch what they look at (`components.faces.elsewhere`).

They are the same faces, so what was made of them stands. DVC then versions the rows and the address: `dvc pull` brings a few
megabytes, and no copy of the images is kept in its cache from now on.
"""

from __future__ import annotations

from components.errors import BadParams
from components.faces import elsewhere
from flows import pipeline
from flows.workspace import Workspace, only_one


def offload(workspace: Workspace, archive: str, store: str) -> str:
    """Bring the faces of an archive to ``s3://bucket/prefix``; returns their address there.

    Raises BadParams where they lie in a store already, BadArchive where there are none.
    """
    faces, stage = workspace.data("faces", archive), f"crop@{archive}"
    with only_one(workspace, patience_s=0):
        if elsewhere.is_elsewhere(faces):
            raise BadParams(f"expected the faces of '{archive}' here, found them in a store already: see '{faces}'.")
        if stage in pipeline.stale(workspace.root, [stage]):
            raise BadParams(
                f"expected the faces of '{archive}' to be up to date, found {stage} to be run. Run it first."
            )
        address = elsewhere.put(faces, store)
        pipeline.commit_moved(workspace.root, str(faces.relative_to(workspace.root)))
    return address
