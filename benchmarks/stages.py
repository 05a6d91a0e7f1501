"""The stages of a line one after another, each a process of its own as in dvc.yaml, without DVC and Prefect between them.

    raised(root, tasks=4, people=8)      a workspace in which one line has learned so many archives of the lab, and what it took

What a stage took is told as seconds and as seconds of CPU time: the second is a fair measure on a machine that has other
work to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import yaml

from benchmarks.line import PARAMS
from components.lab.archive import render_archive
from components.lab.forgeries import FAMILIES
from flows import pipeline
from flows.land import land
from flows.lifecycle import Outcome, plan
from flows.workspace import Workspace

OF_AN_ARCHIVE = ("ingest", "validate", "crop")
OF_A_GENERATION = ("evolve", "curate", "evaluate", "calibrate", "judge")


@dataclass(frozen=True)
class Took:
    """Of one stage instance."""

    stage: str
    name: str
    wall_s: float
    cpu_s: float


def landed(root: Path, *, tasks: int, people: int, params: Mapping[str, Any], strategy: str = "cffd") -> Workspace:
    """A workspace where so many archives of the lab have landed, the families taking turns, and one line waits."""
    line = {"line": {"detector": "rsia_net", "strategy": strategy}}
    workspace = Workspace.create(root, yaml.safe_dump({**params, "lines": line}, sort_keys=False))
    pipeline.start(workspace.root)
    for number, family in enumerate(islice(cycle(FAMILIES), tasks)):
        rendered = root / ".perennial" / "rendered" / f"task{number}"
        render_archive(
            rendered, families=[family], people=people, clips_per_person=2, frames=4, size_px=160, seed=number,
            first_person=number * people,
        )  # fmt: skip
        land(workspace, f"task{number}", str(rendered), layout="lab")
    return workspace


def raised(root: Path, *, tasks: int, people: int, params: Mapping[str, Any] = PARAMS) -> list[Took]:
    """Every stage of a line that learns them all, and what it took, in the order in which they ran."""
    workspace = landed(root, tasks=tasks, people=people, params=params)
    names = list(workspace.params().archives)
    took = [one for name in names for one in _each(workspace, OF_AN_ARCHIVE, name)]
    plan(workspace, Outcome())
    took += [one for name in names for one in _each(workspace, ("add_benchmark",), name)]
    return took + [one for name in workspace.lineage().of("line") for one in _each(workspace, OF_A_GENERATION, name)]


def _each(workspace: Workspace, stages: Iterable[str], name: str) -> list[Took]:
    return [run(workspace.root, stage, name) for stage in stages]


def command(root: Path, stage: str, name: str) -> list[str]:
    """What dvc.yaml says an instance of a stage is, as words."""
    wiring = yaml.safe_load((root / "dvc.yaml").read_text())["stages"][stage]
    known = yaml.safe_load((root / "params.yaml").read_text()) | yaml.safe_load((root / "lineage.yaml").read_text())
    item = known[wiring["foreach"].strip("${}")][name]
    words = wiring["do"]["cmd"].replace("${key}", name)
    for key, value in item.items():
        words = words.replace(f"${{item.{key}}}", str(value))
    return [sys.executable, *words.split()[1:]]


def run(root: Path, stage: str, name: str) -> Took:
    """Run one instance in its own process; raises RuntimeError with its last words where it fails."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    }
    log = root / ".perennial" / "stage.log"
    start = time.perf_counter()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command(root, stage, name), cwd=root, env=environment, stdout=sink, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{stage}@{name} failed: {log.read_text(errors='replace')[-2000:]}")
    return Took(stage, name, time.perf_counter() - start, usage.ru_utime + usage.ru_stime)
