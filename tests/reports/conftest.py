"""A small line as the stages leave it: two or more generations, score tables, face tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from components import detectors
from components.digests import file_digest
from components.evaluation import MATRIX_FILE
from components.faces.table import FaceTable, encode, write_parquet
from components.gates.verdict import VERDICT_FILE
from components.generations.card import CURVE, WEIGHTS
from components.generations.generation import save_generation

TASKS = ("deepfakes", "face2face", "faceswap")
OPTIONS = {"size": "tiny", "trunk": "small", "width": 8, "input_px": 96}
EXAMINED = ("clip", "frame", "source", "identity", "method", "label", "archive")
Grow = Callable[..., Path]


def estimate(value: float | None) -> dict[str, Any]:
    if value is None:
        return {"value": None, "low": None, "high": None, "reason": "one class only"}
    return {"value": value, "low": max(value - 0.03, 0), "high": min(value + 0.03, 1), "reason": None}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


@pytest.fixture(scope="session")
def grow(tmp_path_factory: pytest.TempPathFactory) -> Grow:
    """``grow(2)``: a workspace with a line of two generations, the second of which `opens` or not."""

    def workspace(
        count: int,
        *,
        opens: bool = True,
        method: str = "swap",
        undefined: bool = False,
        line: str = "rsia",
        tasks: tuple[str, ...] = TASKS,
        codes: tuple[str | None, ...] = (None, None, None),
    ) -> Path:
        root = tmp_path_factory.mktemp("line")
        names = [f"{line}-M{i + 1}" for i in range(count)]
        tables = {task: _faces(root, task, method) for task in tasks}
        cells: dict[str, Any] = {}
        summary: dict[str, Any] = {}
        champion = None
        for i, name in enumerate(names):
            weights = _raise(root / "data/generations" / name, _about(names, i, line, tasks), codes[i])
            aucs = [0.9 - 0.04 * (i - j) if j <= i else 0.55 for j in range(len(tasks))]
            cells[name] = {
                t: {"auc": estimate(None if undefined and not i else a)} for t, a in zip(tasks, aucs, strict=True)
            }
            summary[name] = {
                "average_auc": {"value": 0.9 - 0.02 * i, "reason": None},
                "forgetting": {"value": 0.04 * i if i else None, "reason": None if i else "nothing older"},
            }
            opened = opens or not i
            refusal = {"rule": "relative", "passed": opened, "words": "fell <b>too far</b>" if not opened else "held"}
            verdict = {
                "generation": name,
                "line": line,
                "opens": opened,
                "candidate": {"name": name, "weights": weights},
                "champion": {"name": champion, "weights": "0"} if champion else None,
                "champion_after": name if opened else champion,
                "rules": [refusal, {"rule": "infra", "passed": None, "words": "skipped"}],
            }
            champion = verdict["champion_after"]
            write(root / "data/verdicts" / name / VERDICT_FILE, verdict)
            matrix = {
                "line": line,
                "generations": names[: i + 1],
                "learns": dict(zip(names[: i + 1], tasks, strict=False)),
            }
            matrix |= {"benchmarks": list(tasks), "cells": dict(cells), "summary": dict(summary)}
            write(root / "data/verdicts" / name / MATRIX_FILE, matrix)
            scores = root / "data/scores" / name
            scores.mkdir(parents=True)
            for number, (task, table) in enumerate(tables.items()):
                forged = np.random.default_rng(number).random(len(table))
                write_parquet(table.rows[list(EXAMINED)].assign(p_fake=forged), scores / f"{task}.parquet")
        rows = {
            name: {
                "line": line, "detector": "rsia_net", "strategy": "cffd", "learns": tasks[i],
                "teacher": names[i - 1] if i else "nobody", "bench": tasks[-1],
            }
            for i, name in enumerate(names)
        }  # fmt: skip
        (root / "lineage.yaml").write_text(yaml.safe_dump({"generations": rows}, sort_keys=False))
        return root

    return workspace


def _about(names: list[str], index: int, line: str, tasks: tuple[str, ...]) -> dict[str, Any]:
    teacher = names[index - 1] if index else "nobody"
    return {"generation": names[index], "line": line, "learns": tasks[index], "teacher": teacher}


def _raise(folder: Path, about: dict[str, Any], code: str | None) -> str:
    torch.manual_seed(int(folder.name.rpartition("M")[2]))
    detector = detectors.build("rsia_net", detectors.options("rsia_net", OPTIONS))
    made = {"detector": "rsia_net", "options": OPTIONS, "strategy": "cffd"}
    save_generation(folder, detector, {}, about | made | ({"code": {"digest": code}} if code else {}))
    (folder / CURVE).write_text("epoch,cross_entropy,distil\n0,0.7,\n1,0.5,0.2\n")
    return file_digest(folder / WEIGHTS)


def _faces(root: Path, task: str, method: str) -> FaceTable:
    rng = np.random.default_rng(len(task))
    rows = [
        {
            "archive": task, "clip": f"{task}/{n // 2}.mp4", "frame": n % 2 * 9, "label": n // 2 % 2,
            "method": method if n // 2 % 2 else "genuine", "identity": "", "source": str(n // 2), "split": "test",
            "landmarks": np.zeros(10), "box": np.zeros(4), "score": 1.0,
        }
        for n in range(12)
    ]  # fmt: skip
    images = (encode(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in rows)
    return FaceTable.write(root / "data/faces" / task, pd.DataFrame(rows), images, {"detector": "none"})
