"""What can be done once an archive has landed: a command that works, and what stands in its way."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from components.archives.manifest import BENCHMARK
from components.errors import MissingWeights
from components.faces import detection
from components.vocabulary import FORGED, REAL, TEST, TRAIN
from flows.workspace import Workspace


def after_landing(workspace: Workspace, name: str, rows: pd.DataFrame) -> tuple[str, ...]:
    """Sentences, the first of which ends with the next command; `rows` is the archive's manifest."""
    params, lineage = workspace.params(), workspace.lineage()
    entry, few = params.archives[name], params.validation.min_per_class
    if entry.role != BENCHMARK and (lacking := _lacking(rows, (TRAIN, TEST), few)):
        if lineage.rests_on(name) or _lacking(rows.assign(split=TEST), (TEST,), few):
            return (f"{lacking}: it will not pass validation. Next: perennial run, which says why",)
        return (f"There is too little to learn from: {lacking}. Next: perennial land {name} --again --role benchmark",)
    steps = ["Next: perennial run"]
    try:
        detection.weights(entry.faces)
    except MissingWeights as fault:
        steps.append(f"Before that: {fault}")
    if entry.role != "task" and lineage.generations and name not in lineage.benches:
        steps.append(f"Existing generations are not examined on it. After that: perennial examine {name}")
    return tuple(steps)


def _lacking(rows: pd.DataFrame, splits: Collection[str], few: int) -> str:
    """`train has 0 real and 3 forged clips, 2 of each are needed`, of the splits that have less; nothing if none has."""
    counts = {
        split: [int(((rows["split"] == split) & (rows["label"] == label)).sum()) for label in (REAL, FORGED)]
        for split in splits
    }
    words = [
        f"{split} has {real} real and {forged} forged clips"
        for split, (real, forged) in counts.items()
        if min(real, forged) < few
    ]
    return f"{', '.join(words)}, {few} of each are needed" if words else ""
