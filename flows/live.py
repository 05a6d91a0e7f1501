"""The curves of a training, drawn in MLflow while it runs; whatever MLflow does, the training does not wait for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock, Thread

from components.progress import EPOCH
from flows.workspace import Workspace

PATIENCE_S = 10.0
"""For the last epochs to be drawn, once the training has ended."""
Row = dict[str, float]
_DRAWING = Lock()
"""Lines learn side by side; MLflow and all that it imports are met by one thread at a time."""


@contextmanager
def curves(workspace: Workspace, stage: str) -> Iterator[Callable[[str], bool]]:
    """While the stage runs: a function that hears each line of its output and says whether it was one for machines."""
    kind, _, generation = stage.partition("@")
    if kind != "evolve":
        yield lambda _: False
        return
    rows: SimpleQueue[Row | bool] = SimpleQueue()
    arguments = (workspace, generation, time.time(), rows)
    drawing = Thread(target=_draw, args=arguments, name=f"curves of {generation}", daemon=True)
    drawing.start()

    def hear(line: str) -> bool:
        if not line.startswith(EPOCH):
            return False
        rows.put(json.loads(line.removeprefix(EPOCH)))
        return True

    ended_well = False
    try:
        yield hear
        ended_well = True
    finally:
        rows.put(ended_well)
        drawing.join(PATIENCE_S)


def _draw(workspace: Workspace, generation: str, began: float, rows: SimpleQueue[Row | bool]) -> None:
    """Until somebody says how it ended. A run is begun with the first epoch: a stage that had nothing to do has none."""
    run = ""
    try:
        while not isinstance(row := rows.get(), bool):
            with _DRAWING:
                from components.registry import live
                from components.tracking import connect

                tracking = connect(workspace.root)
                run = run or live.begin(generation, workspace.lineage().generations[generation].line, began, tracking)
                live.draw(run, row, tracking)
        if run and not row:
            with _DRAWING:
                live.fail(run, tracking)
    except Exception:  # no server, no permission, no disk: `record` draws what is missing, and says what is wrong
        return
