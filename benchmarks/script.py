"""A small generation from clips to a verdict by the stages, against one hand-written script that does the same work.

    python -m benchmarks.script

Ours: validate, crop, add_benchmark, evolve, curate, evaluate and judge, each a process of its own as in dvc.yaml, without DVC
and Prefect. The script: one process that decodes, aligns, trains the same network for the same steps, scores the test
split and keeps faces at random; no tables, no digests, no confidence intervals, no gate, nothing that survives a kill.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import line, ratios
from benchmarks.ratios import ROOT, Row

PEOPLE = 12
PARAMS: dict[str, Any] = {
    **line.PARAMS,
    "training": {"founder_epochs": 8, "epochs": 8, "faces_per_clip": 4},
    "evaluation": {"bootstrap": 1000},
}
FIVE_POINTS = np.array([[0.31, 0.39], [0.69, 0.39], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]], np.float32)
"""Where the script puts eyes, nose and the corners of the mouth, as shares of the side."""


def rows(pairs: int = 2) -> Iterator[Row]:
    """One."""
    from benchmarks import stages
    from flows.lifecycle import Outcome, plan

    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "workspace"
        workspace = stages.landed(root, tasks=1, people=PEOPLE, params=PARAMS)
        took: dict[str, stages.Took] = {}

        def by_stages() -> float:
            for kept in ("scores", "decoded", "checkpoints"):
                shutil.rmtree(root / ".perennial" / kept, ignore_errors=True)
            for stage in ("validate", "crop"):
                took[stage] = stages.run(root, stage, "task0")
            if not workspace.lineage().generations:
                plan(workspace, Outcome())
            took["add_benchmark"] = stages.run(root, "add_benchmark", "task0")
            for stage in stages.OF_A_GENERATION:
                took[stage] = stages.run(root, stage, "line-M1")
            return sum(one.wall_s for one in took.values())

        cpu: list[float] = []

        def by_hand() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = ratios.seconds(lambda: _script(workspace.data("archives", "task0")))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            return seconds

        found = ratios.alternating(by_stages, by_hand, pairs)
        row = ratios.compared("a generation by its stages", "one hand-written script", found, unit="s")
        each = ", ".join(f"{stage} {one.cpu_s:.1f}" for stage, one in took.items())
        ours = sum(one.cpu_s for one in took.values())
        numbers = f"{row.numbers}; CPU {ours:.1f} s ({each}) against {cpu[-1]:.1f} s"
        yield Row(row.name, row.baseline, row.ratio, row.better, numbers)


def _script(archive: Path) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", "benchmarks.script", str(archive)], check=True, env=os.environ | {"PYTHONPATH": path}
    )


def by_hand(archive: Path) -> float:
    """The script: AUC of the test split."""
    import cv2
    import pandas as pd
    import torch
    from sklearn.metrics import roc_auc_score

    from components import detectors
    from components.tasks.dataset import Batch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    side = PARAMS["faces"]["size_px"]
    clips = pd.read_csv(archive / "clips.csv")
    marks = pd.read_parquet(archive / "landmarks.parquet")
    points = dict(zip(zip(marks["file"], marks["frame"], strict=True), marks["landmarks"], strict=True))
    faces, labels, splits = [], [], []
    for clip in clips.itertuples():
        film = cv2.VideoCapture(str(archive / str(clip.file)))
        for frame in range(PARAMS["faces"]["frames"]):
            _, picture = film.read()
            found = np.asarray(points[clip.file, frame], np.float32).reshape(5, 2)
            matrix, _ = cv2.estimateAffinePartial2D(found, FIVE_POINTS * side)
            faces.append(cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_AREA)[..., ::-1])
            labels.append(clip.label)
            splits.append(clip.split)
    pixels = torch.from_numpy(np.ascontiguousarray(np.stack(faces))).permute(0, 3, 1, 2).float() / 255
    targets, split = torch.tensor(labels), np.array(splits)
    network = detectors.build("rsia_net", detectors.options("rsia_net", {"size": "tiny"})).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3, weight_decay=1e-5)
    learned = np.flatnonzero(split == "train")
    for _ in range(PARAMS["training"]["founder_epochs"]):
        for chosen in np.array_split(np.random.permutation(learned), -(-len(learned) // 32)):
            batch = Batch.of(pixels[chosen], targets[chosen])
            total = torch.stack(list(network.losses(network(batch.faces), batch).values())).sum()
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(total)
            optimiser.step()
    network.eval()
    asked = np.flatnonzero(split == "test")
    with torch.inference_mode():
        answers = network(pixels[asked]).logits.softmax(-1)[:, 1]
    with tempfile.TemporaryDirectory() as place:
        torch.save(network.state_dict(), Path(place) / "weights.pt")
        np.save(Path(place) / "memory.npy", np.stack(faces)[np.random.choice(learned, PARAMS["memory"]["budget"])])
    return float(roc_auc_score(targets[asked], answers))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(f"AUC {by_hand(Path(sys.argv[1])):.3f}", file=sys.stderr)
    else:
        for row in rows():
            print(row)
