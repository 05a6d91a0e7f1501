"""What a person waits for although nothing is computed: whole processes, in a workspace of 237 stage instances.

    python benchmarks/waits.py [--against CHECKOUT] [--repeats 5] [--only WORDS] [--out FILE]

The workspace holds 12 archives and 46 generations of 4 lines, planned as `perennial plan` plans them; what stages would
have made are stand-ins of a few bytes, and weights of `WEIGHTS_BYTES`, written down by ``dvc commit``. So DVC, the
lineage and the ledger are as large as they would be, and nothing is trained.

Prints medians: wall seconds (seconds of the processor) of `status`, `history`, `run` with nothing to do, and the start
of every stage as ``dvc.yaml`` words it, whose inputs are not there: it ends as soon as it has begun. With `--against`,
the same of another checkout, in turns with this one, each in a workspace made by its own code.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parents[1]
ARCHIVES = [f"forgery{number:02}" for number in range(12)]
LINES = {
    "rsia_net": ("cffd", 12),
    "lnclip": ("er", 12),
    "masm": ("dfil", 11),
    "lsda": ("finetune", 11),
}
"""Line, which bears the name of its detector: its strategy, and how many archives it has learned."""
WEIGHTS_BYTES = 8_000_000
PARAMS = {
    "sequence": ARCHIVES,
    "benchmarks": ARCHIVES,
    "faces": {"size_px": 256},
    "validation": {},
    "gate": [{"rule": "absolute", "min_auc": 0.7}, {"rule": "relative", "max_drop": 0.05}, {"rule": "infra"}],
}
STAGES = (
    "ingest",
    "validate",
    "crop",
    "gauge",
    "add_benchmark",
    "evolve",
    "curate",
    "evaluate",
    "calibrate",
    "judge",
    "publish",
)
CHOICES = {"detector": "rsia_net", "strategy": "cffd", "layout": "lab", "faces": "none", "role": "both"}
"""Of the stages that are started."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="A checkout to compare with.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="Rows whose names hold one of these words: a,b.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make:
        make(asked.make)
        return
    checkouts = {"here": HERE} | ({"before": asked.against.resolve()} if asked.against else {})
    with tempfile.TemporaryDirectory() as room:
        roots = {name: Path(room) / name for name in checkouts}
        for name, checkout in checkouts.items():
            _process([sys.executable, str(Path(__file__).resolve()), "--make", str(roots[name])], checkout, HERE)
        said = {name: commands(root) for name, root in roots.items()}
        took = {
            what: measured(checkouts, roots, {name: words[what] for name, words in said.items()}, asked.repeats)
            for what in said["here"]
            if any(word in what for word in asked.only.split(","))
        }
    table = told(took)
    print(table)
    if asked.out:
        asked.out.write_text(table + "\n")


def commands(root: Path) -> dict[str, list[str]]:
    """What is measured, by name: what follows ``python``, started in the workspace at `root`."""
    found = {what: ["-m", "flows.cli", what.split(",")[0]] for what in ("status", "history", "run, nothing to do")}
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    for name in STAGES:
        command = re.sub(
            r"\$\{(?:item\.)?(\w+)\}", lambda said: CHOICES.get(said[1], "nothing"), stages[name]["do"]["cmd"]
        )
        found[f"{name} starts"] = command.split()[1:]
    return found


def measured(
    checkouts: Mapping[str, Path], roots: Mapping[str, Path], commands: Mapping[str, list[str]], repeats: int
) -> dict[str, tuple[float, float]]:
    """Medians of (wall seconds, processor seconds) by checkout, taken in turns; the first round does not count."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
    for round_ in range(repeats + 1):
        for name, checkout in checkouts.items():
            took = _process([sys.executable, *commands[name]], checkout, roots[name])
            if round_:
                found[name].append(took)
    return {
        name: (statistics.median(wall for wall, _ in took), statistics.median(cpu for _, cpu in took))
        for name, took in found.items()
    }


def _process(command: list[str], checkout: Path, folder: Path) -> tuple[float, float]:
    """Wall seconds and processor seconds, children's too, of one process with the code of `checkout`."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode and ("nothing" not in " ".join(command) or "expected" not in done.stderr):
        raise SystemExit(f"{command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def told(took: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """A table in Markdown."""
    names = list(next(iter(took.values())))
    lines = ["| s (s of the processor) | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for what, times in took.items():
        lines.append(f"| {what} | " + " | ".join(f"{wall:.2f} ({cpu:.2f})" for wall, cpu in times.values()) + " |")
    return "\n".join(lines)


# -- a workspace ---------------------------------------------------------------------------------------------------------


def make(root: Path) -> None:
    """A workspace at `root` in which everything was done by the code that is imported here."""
    from components.faces import weights
    from components.faces.about import FACES_FILE
    from components.generations import lineage as lineages
    from components.params import Params
    from components.withdrawal import files
    from flows import pipeline
    from flows.workspace import Workspace

    lines = {
        name: {"detector": name, "strategy": strategy, "sequence": ARCHIVES[:many]}
        for name, (strategy, many) in LINES.items()
    }
    archives = {
        name: {"layout": "lab", "role": "both", "faces": "none", "after": before}
        for name, before in zip(ARCHIVES, ["nobody", *ARCHIVES], strict=False)
    }
    said = {"archives": archives, **PARAMS, "lines": lines}
    workspace = Workspace.create(root, yaml.safe_dump(said, sort_keys=False))
    pipeline.start(workspace.root)
    params: Params = workspace.params()
    for name in ARCHIVES:
        _write(workspace.data("archives", name) / "clip.txt", name)
        files.tell_archive(workspace.data(), name, params)
        weights.tell(workspace.data(), name, "none")
    _dvc(workspace.root, "add", *(str(workspace.data("archives", name)) for name in ARCHIVES))
    lineages.append(
        lineages.propose(params, workspace.lineage(), ready=ARCHIVES), workspace.lineage_file, workspace.recipes
    )
    for name in workspace.lineage().generations:
        files.tell_generation(workspace.data(), name, params, workspace.lineage())
    for name in ARCHIVES:
        for kind in ("manifests", "validation", "benches"):
            _write(workspace.data(kind, name) / "about.txt", kind + name)
        _write(workspace.data("faces", name) / FACES_FILE, json.dumps({"digest": name, "faces": 1, "profile": {}}))
    _raise(workspace)
    _dvc(workspace.root, "commit", "--force")
    _remember(workspace)


def _raise(workspace: object) -> None:
    """Cards, scores and verdicts of every generation, and a page for every line."""
    import numpy as np

    from components import code
    from components.evaluation import matrix
    from components.gates.verdict import VERDICT_FILE
    from components.generations.card import WEIGHTS, file_digest, write_card
    from components.generations.recipe import Recipe
    from flows import provenance
    from flows.workspace import Workspace

    assert isinstance(workspace, Workspace)
    generator, today, lineage = np.random.default_rng(0), provenance.today(workspace), workspace.lineage()
    shown: dict[str, str] = {}
    for name, row in lineage.generations.items():
        folder, verdict = workspace.data("generations", name), workspace.data("verdicts", name)
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(generator.bytes(WEIGHTS_BYTES))
        made_of = code.raised_by(today, row.detector, row.strategy)
        write_card(
            folder,
            {
                "generation": name, "line": row.line, "detector": row.detector, "strategy": row.strategy,
                "learns": row.learns, "teacher": row.teacher, "weights": file_digest(folder / WEIGHTS),
                "recipe": Recipe.read(workspace.recipes / f"{name}.yaml").digest, "code": {"digest": made_of},
            },
        )  # fmt: skip
        shown[row.line] = file_digest(folder / WEIGHTS)
        _write(workspace.data("memories", name) / "about.txt", name)
        _write(workspace.data("scores", name) / "about.txt", name)
        said = {"generation": name, "line": row.line, "opens": True, "candidate": {"weights": shown[row.line]}}
        _write(verdict / VERDICT_FILE, json.dumps({**said, "champion": None, "rules": []}))
        line = lineage.of(row.line)
        so_far = line[: line.index(name) + 1]
        cell = {"auc": {"value": 0.9, "low": 0.85, "high": 0.95, "reason": None}}
        rows = {
            "line": row.line, "generations": so_far, "benchmarks": ARCHIVES,
            "cells": {one: dict.fromkeys(ARCHIVES, cell) for one in so_far},
            "summary": {one: {"average_auc": {"value": 0.9}, "forgetting": {"value": 0.01}} for one in so_far},
        }  # fmt: skip
        _write(verdict / matrix.MATRIX_FILE, json.dumps(rows))
    for line, weights in shown.items():
        _write(workspace.page(line), f"<html>{weights}</html>")


def _remember(workspace: object) -> None:
    """Ledger lines and markers, as if every generation had been recorded and promoted."""
    from components.generations.card import read_card
    from components.registry import ledger
    from flows.pending import marker, pending
    from flows.workspace import Workspace

    assert isinstance(workspace, Workspace)
    before: dict[str, ledger.Holder] = {}
    for name, row in workspace.lineage().generations.items():
        to = ledger.Holder(name, read_card(workspace.data("generations", name))["weights"], "1")
        decision = ledger.Decision(
            ledger.now(), "bench", ledger.PROMOTE, row.line, before.get(row.line), to, "the gate opened"
        )
        ledger.append(workspace.ledger, decision)
        before[row.line] = to
        seen = marker(workspace, name)
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.touch()
    if left := pending(workspace):
        raise SystemExit(f"expected a workspace in which nothing is to be done, found {left}")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _dvc(root: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
