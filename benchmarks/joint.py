"""Raising M_i by CFFD against training anew on all tasks so far, at equal quality, for i = 2…8. Hours; taken up where left.

    python -m benchmarks --only joint
    python -m benchmarks.joint [FOLDER]

A line of eight generations is raised by the lifecycle (`benchmarks.generations`). Its quality after task i is the mean face
AUC of M_i over the people it never saw of tasks 1…i. A network from the same start then learns those tasks together, an equal
number of faces of each in a batch, epoch after epoch until it is as good, twice as long as joint training needs by its recipe
at most. The ratio is seconds of training, evolve to joint; where joint never became as good, that is said. What is done
lies in FOLDER (`.perennial/bench/joint`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.line import PARAMS
from benchmarks.ratios import ROOT, Row
from components import detectors, machine, strategies
from components.detectors import Detector
from components.evaluation import metrics
from components.evaluation.scoring import score
from components.faces.table import FaceTable
from components.generations import training
from components.generations.generation import load_detector
from components.generations.training import Lesson
from components.params import TrainingOptions, parse
from components.tasks.dataset import Faces
from components.vocabulary import TRAIN

KEPT = ROOT / ".perennial" / "bench" / "joint"
GENERATIONS = 8
PEOPLE = 24
MOST_EPOCHS = 24
WITHIN = 0.005
"""Of AUC: as good as that is as good."""


def rows(folder: Path = KEPT, generations: int = GENERATIONS, people: int = PEOPLE) -> Iterator[Row]:
    """One for each generation from the second on."""
    from flows.durations import clocked
    from flows.workspace import Workspace

    os.environ.setdefault("PERENNIAL_WORKERS", "1")
    root = folder / "workspace"
    if not (folder / "raised").is_file():
        _raise(root, generations, people)
        (folder / "raised").touch()
    workspace = Workspace.at(root)
    machine.deterministic(1)
    seconds, names = clocked(root), workspace.lineage().of("line")
    tables = [FaceTable.load(workspace.data("faces", f"task{i}")) for i in range(generations)]
    for number in range(2, generations + 1):
        name = names[number - 1]
        found = _kept(folder / f"joint-{number}.json", workspace.data("generations", name), tables[:number], folder)
        evolve = seconds[f"evolve@{name}"]
        how = f"AUC {found['auc']:.3f} after {found['epochs']} epochs, wanted {found['wanted']:.3f}"
        reached = "" if found["reached"] else "; joint never was as good"
        numbers = f"evolve {evolve:.0f} s against {found['seconds']:.0f} s, {how}{reached}"
        yield Row(
            f"raising M{number} by CFFD", "joint training at equal quality", evolve / found["seconds"], "lower", numbers
        )


def _raise(root: Path, generations: int, people: int) -> None:
    import shutil

    from benchmarks.generations import raised

    shutil.rmtree(root, ignore_errors=True)
    raised(root, generations, "cffd", people)


def _kept(file: Path, generation: Path, tables: list[FaceTable], folder: Path) -> dict[str, Any]:
    if not file.is_file():
        wanted = quality(load_detector(generation, machine.device()), tables)
        fresh = file.with_suffix(".fresh")
        fresh.write_text(json.dumps(jointly(tables, wanted, folder / f"{file.stem}.pt")))
        fresh.replace(file)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def quality(detector: Detector, tables: list[FaceTable]) -> float:
    """Mean face AUC over the people of each table who were not learned from."""
    found = []
    for table in tables:
        unseen = np.flatnonzero((table.rows["split"] != TRAIN).to_numpy())
        answers = score(detector, table, unseen, 64, machine.device())
        found.append(metrics.auc(table.rows["label"].to_numpy(np.int64)[unseen], answers))
    return float(np.mean(found))


def jointly(tables: list[FaceTable], wanted: float, checkpoint: Path) -> dict[str, Any]:
    """Train anew on all tables until `wanted` is reached; seconds of the training alone."""
    options = detectors.options("rsia_net", {"size": "tiny"})
    raw = detectors.paper_training("rsia_net", options) | PARAMS["training"]
    params = parse(TrainingOptions, raw, "training")
    torch.manual_seed(0)
    student = detectors.build("rsia_net", options)
    joint = strategies.build("joint", strategies.options("joint", {}))
    newest = Faces.training_split("newest", tables[-1])
    older = _together(tables[:-1], checkpoint.with_suffix(""), newest.methods)
    checkpoint.unlink(missing_ok=True)
    seconds, auc, epoch = 0.0, 0.0, 0
    while not epoch or (epoch < MOST_EPOCHS and auc < wanted - WITHIN):
        epoch += 1
        start = time.perf_counter()
        training.train(
            Lesson(student, None, joint, newest, older, params, epochs=epoch, seed=0),
            checkpoint=checkpoint,
            on_step=lambda *_: None,
        )
        seconds += time.perf_counter() - start
        auc = quality(student, tables)
        print(f"joint, {len(tables)} tasks, epoch {epoch}: AUC {auc:.3f} of {wanted:.3f}", file=sys.stderr, flush=True)
    checkpoint.unlink(missing_ok=True)
    return {"seconds": seconds, "auc": auc, "epochs": epoch, "wanted": wanted, "reached": auc >= wanted - WITHIN}


def _together(tables: list[FaceTable], folder: Path, met: tuple[str, ...]) -> Faces:
    """The training splits of several tables as one, in a table of its own."""
    learned = [np.flatnonzero((table.rows["split"] == TRAIN).to_numpy()) for table in tables]
    chosen = pd.concat(
        [table.rows.iloc[which] for table, which in zip(tables, learned, strict=True)], ignore_index=True
    )
    encoded = (one for table, which in zip(tables, learned, strict=True) for one in table.encoded(which))
    return Faces.whole("older", FaceTable.write(folder, chosen, encoded, tables[0].profile), met)


if __name__ == "__main__":
    for row in rows(Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT):
        print(row, flush=True)
