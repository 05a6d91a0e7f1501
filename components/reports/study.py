"""A study told: strategies on one sequence, over seeds and orders, as one table, one figure and one JSON file.

    tell(workspace, entries, into)   reads what the lines of a workspace left behind and writes

    study.json     everything below as data: R matrices, metrics, costs, differences
    stages.csv     label, seed, order, stage, learned, task, auc, acc: one row a cell of R
    table.md       means and deviations over the runs of a label
    study.png      average AUC after every stage, and what was forgotten at the end

What was not measured is null with a reason in study.json, an empty cell in stages.csv and a dash in table.md. The
reference of every difference is one label (CFFD unless said otherwise); joint training, where it is there, is what a gap is
measured to.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot

from components.errors import BadParams
from components.evaluation import transfer
from components.evaluation.comparison import holm
from components.evaluation.estimate import Estimate
from components.evaluation.matrix import Matrix
from components.evaluation.metrics import draws, weighted
from components.evaluation.scores import Scores
from components.generations.card import CARRY_OVER, read_card
from components.reports import Place
from components.vocabulary import LABELS

JOINT = "joint"
RESAMPLES = 1000
METRICS: dict[str, Callable[[transfer.Square], Estimate]] = {
    "average": transfer.average,
    "average_incremental": transfer.average_incremental,
    **{f"forgetting_{name}": partial(transfer.forgetting, variant=name) for name in transfer.VARIANTS},
    "bwt": transfer.bwt,
    "bwt_all": transfer.bwt_all,
    "fwt": transfer.fwt,
    "anti_forgetting": transfer.anti_forgetting,
    "anti_forgetting_mean": transfer.anti_forgetting_mean,
    "plasticity": transfer.plasticity,
}
# Okabe and Ito's palette, then greys: colours most eyes tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999", "#7a5195", "#8c564b")
DASHES = ("-", "--", ":")  # when colours begin again


@dataclass(frozen=True)
class RunKey:
    """One run: a line of the study's workspace, and what it stands for."""

    line: str
    label: str
    seed: int
    order: int = 0


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    entry: RunKey
    generations: tuple[str, ...]
    tasks: tuple[str, ...]
    auc: transfer.Square
    acc: transfer.Square
    last: Scores
    images: int | None
    stored_bytes: int | None
    """Memory and carry-over of the last generation; None, as of images, where a detector is not ours."""
    seconds: float | None
    """Wall time of raising and curating its generations; None where nobody looked at the clock."""
    unseen: Mapping[str, Estimate] = field(default_factory=dict)
    """AUC of the last generation on every benchmark nobody learned."""

    def metric(self, name: str, of: str = "auc") -> Estimate:
        return METRICS[name](self.auc if of == "auc" else self.acc)


def read_run(place: Place, entry: RunKey, generations: Sequence[str], seconds: Mapping[str, float]) -> Run:
    """The run of a line whose last generation was judged; raises BrokenLineage where something is missing.

    place     where the workspace keeps what it has of that kind (verdicts, scores, …) and name
    seconds   wall time by stage instance, as far as it is known
    """
    last = generations[-1]
    matrix = Matrix.read(place("verdicts", last))
    tasks = tuple(matrix.learns[name] for name in generations)
    clocked = [seconds.get(f"{stage}@{name}") for name in generations for stage in ("evolve", "curate")]
    kept = [place("memories", last), place("generations", last) / CARRY_OVER]
    return Run(
        entry,
        tuple(generations),
        tasks,
        matrix.square("auc"),
        matrix.square("acc"),
        Scores.read(place("scores", last)),
        sum(read_card(place("generations", name))["images_seen"] for name in generations),
        sum(_size_bytes(path) for path in kept),
        None if None in clocked else sum(s for s in clocked if s is not None),
        {name: matrix.cell(last, name)["auc"] for name in matrix.benchmarks if name not in tasks},
    )


def tell(runs: Sequence[Run], into: Path, *, reference: str, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Write study.json, stages.csv, table.md and study.png into `into`; returns what study.json holds."""
    if not runs:
        raise BadParams("expected at least one finished run to tell of, found none. Run the study first.")
    into.mkdir(parents=True, exist_ok=True)
    labels = tuple(dict.fromkeys(run.entry.label for run in runs))
    unseen = tuple(dict.fromkeys(name for run in runs for name in run.unseen))
    told = {
        "labels": list(labels),
        "reference": reference,
        "runs": [_told(run) for run in runs],
        "means": {label: _means([run for run in runs if run.entry.label == label], unseen) for label in labels},
        "differences": differences(runs, reference, resamples) if reference in labels else {},
    }
    (into / "study.json").write_text(json.dumps(told, indent=2, sort_keys=True, allow_nan=False) + "\n")
    _write_stages(runs, into / "stages.csv")
    (into / "table.md").write_text(table(told))
    draw(runs, into / "study.png")
    return told


def differences(runs: Sequence[Run], reference: str, resamples: int) -> dict[str, Any]:
    """Final average AUC of the reference minus that of each other label, with a paired test.

    The same draws of sources are applied to both; the difference of the average over tasks and over the runs both labels
    have (same seed, same order) gives interval and p-value (two-sided, percentile), Holm's correction over the labels.
    Where a task has only one source, or most draws lack a class, there is a difference but no test of it.
    What is tested is whether it would hold on other clips; the deviation over seeds stands beside it in the table.
    """
    by_label: dict[str, dict[tuple[int, int], tuple[Run, np.ndarray]]] = {}
    for run in runs:
        answered = run, _drawn_averages(run, resamples)
        by_label.setdefault(run.entry.label, {})[run.entry.seed, run.entry.order] = answered
    found: dict[str, Any] = {}
    for label, theirs in by_label.items():
        shared = [key for key in by_label[reference] if key in theirs]
        if label == reference or not shared:
            continue
        ours = by_label[reference]
        gaps = np.mean([ours[key][1] - theirs[key][1] for key in shared], axis=0)
        means = [_value(ours[k][0].metric("average")) - _value(theirs[k][0].metric("average")) for k in shared]
        if np.isnan(means).any():
            found[label] = {"difference": None, "reason": "a score it needs is undefined", "runs": len(shared)}
        else:
            found[label] = {"difference": float(np.mean(means)), **_tested(gaps), "runs": len(shared)}
    tested = [label for label in found if "p" in found[label]]
    for label, p in zip(tested, holm([found[label]["p"] for label in tested]), strict=True):
        found[label]["p_holm"] = p
    return found


def table(told: Mapping[str, Any]) -> str:
    """Two Markdown tables: what was known and forgotten, and what it cost."""
    labels, means = told["labels"], told["means"]
    tasks, unseen = list(means[labels[0]]["final_auc"]), list(means[labels[0]]["unseen_auc"])
    joint = means.get(JOINT, {}).get("average", {}).get("mean")
    known = ["strategy", "runs", *tasks, *(f"{name} (unseen)" for name in unseen), "average AUC", "average ACC",
             "forgetting", "BWT", "FWT", "anti-forgetting", "plasticity", "gap to joint",
             f"{told['reference']} leads by", "p (Holm)"]  # fmt: skip
    costs = ["strategy", "seconds a run", "images seen", "MB handed down"]
    rows, prices = [], []
    for label in labels:
        mean = means[label]
        gap = None if joint is None or mean["average"]["mean"] is None else joint - mean["average"]["mean"]
        rows.append(
            [
                label,
                str(mean["runs"]),
                *(_plain(mean["final_auc"][task]["mean"]) for task in tasks),
                *(_plain(mean["unseen_auc"][name]["mean"]) for name in unseen),
                *(_spread(mean[name]) for name in ("average", "average_acc", "forgetting_chaudhry")),
                *(_plain(mean[name]["mean"]) for name in ("bwt", "fwt", "anti_forgetting", "plasticity")),
                _plain(gap),
                *_lead(told["differences"].get(label)),
            ]
        )
        cost = mean["cost"]
        prices.append(
            [
                label,
                "–" if cost["seconds"] is None else f"{cost['seconds']:.0f}",
                "–" if cost["images"] is None else f"{cost['images']:.0f}",
                "–" if cost["stored_bytes"] is None else f"{cost['stored_bytes'] / 1e6:.2f}",
            ]
        )
    return _markdown(known, rows) + "\n" + _markdown(costs, prices)


def draw(runs: Sequence[Run], path: Path) -> None:
    """Average AUC over the tasks learned so far after every stage (band: deviation over runs), and final forgetting."""
    labels = list(dict.fromkeys(run.entry.label for run in runs))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), width_ratios=(3, 2), layout="constrained")
    for number, label in enumerate(labels):
        curves = np.array([transfer.stage_averages(run.auc) for run in runs if run.entry.label == label])
        stages, middle, spread = np.arange(1, curves.shape[1] + 1), curves.mean(0), _deviation(curves)
        again, which = divmod(number, len(COLOURS))
        colour, dashes = COLOURS[which], DASHES[again % len(DASHES)]
        left.plot(stages, middle, marker="o", color=colour, linestyle=dashes, label=label)
        left.fill_between(stages, middle - spread, middle + spread, color=colour, alpha=0.12, linewidth=0)
    left.set_xticks(stages)
    left.set_xlabel("tasks learned")
    left.set_ylabel("average AUC on them")
    left.grid(axis="y", alpha=0.3)
    left.legend(fontsize=8, ncols=2, frameon=False)
    lost = [[_value(run.metric("forgetting_chaudhry")) for run in runs if run.entry.label == label] for label in labels]
    places = np.arange(len(labels))[::-1]
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(labels))]
    right.barh(places, [np.mean(v) for v in lost], xerr=[_deviation(v) for v in lost], color=colours, height=0.7)
    right.set_yticks(places, labels)
    right.set_xlabel("forgetting: AUC lost on older tasks since their best")
    right.grid(axis="x", alpha=0.3)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    pyplot.close(figure)


def _drawn_averages(run: Run, resamples: int) -> np.ndarray:
    """Final average AUC over the tasks under every draw of sources, (resamples,); a task's draws depend on it alone.

    NaN under a draw without one of the classes, and everywhere where a task was not examined or has only one source.
    """
    per_task = []
    for number, task in enumerate(sorted(run.tasks)):
        if task not in run.last.tables:
            return np.full(resamples, np.nan)
        clips = run.last.clips(task).sort_values(["archive", "clip"], kind="stable")
        labels = clips["label"].to_numpy(np.int64)
        sources = pd.factorize(clips["archive"].astype(str) + "\n" + clips["source"].astype(str))[0]
        if set(labels) != set(LABELS) or not sources.max():
            return np.full(resamples, np.nan)
        scores = clips["p_fake"].to_numpy(np.float64)
        per_task.append(np.concatenate([weighted(labels, scores, w)["auc"] for w in draws(sources, resamples, number)]))
    drawn: np.ndarray = np.mean(per_task, axis=0)
    return drawn


def _tested(gaps: np.ndarray) -> dict[str, Any]:
    """Interval and p-value of a difference that came out as `gaps` (resamples,) under the draws."""
    defined = gaps[~np.isnan(gaps)]
    if not defined.size or 2 * defined.size < gaps.size:
        return {"reason": "no test: a task has too few sources for draws that hold both classes"}
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return {
        "low": float(np.quantile(defined, 0.025)),
        "high": float(np.quantile(defined, 0.975)),
        "p": float(min(1.0, 2 * (1 + tail) / (1 + defined.size))),
    }


def _told(run: Run) -> dict[str, Any]:
    entry = run.entry
    return {
        "line": entry.line,
        "label": entry.label,
        "seed": entry.seed,
        "order": entry.order,
        "tasks": list(run.tasks),
        "auc": _nested(run.auc),
        "acc": _nested(run.acc),
        "unseen": {name: {"value": e.value, "reason": e.reason} for name, e in run.unseen.items()},
        "metrics": {
            of: {name: {"value": e.value, "reason": e.reason} for name in METRICS if (e := run.metric(name, of))}
            for of in ("auc", "acc")
        },
        "cost": {"seconds": run.seconds, "images": run.images, "stored_bytes": run.stored_bytes},
    }


def _means(runs: Sequence[Run], unseen: Sequence[str]) -> dict[str, Any]:
    """Mean and deviation (over runs, n - 1) of every metric; None where a run lacks it."""
    absent = Estimate.undefined("not every run was examined on it")
    metrics = {name: _over([run.metric(name) for run in runs]) for name in METRICS}
    return {
        **metrics,
        "average_acc": _over([run.metric("average", "acc") for run in runs]),
        "final_auc": {task: _over([_final(run, task) for run in runs]) for task in runs[0].tasks},
        "unseen_auc": {name: _over([run.unseen.get(name, absent) for run in runs]) for name in unseen},
        "runs": len(runs),
        "cost": {
            "seconds": _mean_if_known([run.seconds for run in runs]),
            "images": _mean_if_known([run.images for run in runs]),
            "stored_bytes": _mean_if_known([run.stored_bytes for run in runs]),
        },
    }


def _mean_if_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _over(estimates: Sequence[Estimate]) -> dict[str, Any]:
    values = [e.value for e in estimates if e.value is not None]
    if len(values) < len(estimates):
        return {"mean": None, "sd": None, "reason": next(e.reason for e in estimates if e.value is None)}
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _final(run: Run, task: str) -> Estimate:
    score = float(run.auc[-1, run.tasks.index(task)])
    if np.isnan(score):
        return Estimate.undefined(f"'{run.generations[-1]}' was not examined on '{task}'")
    return Estimate(score)


def _deviation(values: Sequence[float] | np.ndarray) -> Any:
    """Over runs, the first axis, n - 1; 0 of one run."""
    return np.std(values, axis=0, ddof=1) if len(values) > 1 else np.zeros(np.shape(values)[1:])


def _write_stages(runs: Sequence[Run], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "seed", "order", "stage", "learned", "task", "auc", "acc"])
        for run in runs:
            for i, learned in enumerate(run.tasks):
                for j, task in enumerate(run.tasks):
                    cells = [f"{R[i, j]:.6f}" if np.isfinite(R[i, j]) else "" for R in (run.auc, run.acc)]
                    writer.writerow([run.entry.label, run.entry.seed, run.entry.order, i + 1, learned, task, *cells])


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3f}"


def _spread(over: Mapping[str, Any]) -> str:
    return _plain(over["mean"]) + (f" ± {over['sd']:.3f}" if over["sd"] is not None else "")


def _lead(found: Mapping[str, Any] | None) -> tuple[str, str]:
    if not found or found["difference"] is None:
        return "–", "–"
    if "p_holm" not in found:
        return f"{found['difference']:+z.3f}", "–"
    return f"{found['difference']:+z.3f} [{found['low']:+z.3f}, {found['high']:+z.3f}]", f"{found['p_holm']:.3f}"


def _value(estimate: Estimate) -> float:
    return float("nan") if estimate.value is None else estimate.value


def _nested(R: transfer.Square) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in R]


def _size_bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0
