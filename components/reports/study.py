"""A study told: strategies on one sequence, over seeds and orders, as one table, one figure and one JSON file.

    read_run(place, entry, …)   reads what a line of a workspace left behind, on the validation split or on the test split
    tell(runs, into, …)         writes

    study.json     everything below as data: the split, R matrices, metrics, costs, differences
    stages.csv     label, seed, order, stage, learned, task, auc, acc, split: one row a cell of R
    table.md       means and deviations over the runs of a label, who leads and whether that is chance, and what it cost
    study.png      average AUC after every stage, and what was forgotten at the end

What was not measured is null with a reason in study.json, an empty cell in stages.csv and a dash in table.md. The
reference of every difference is one label (CFFD unless said otherwise); joint training, where it is there, is what a gap is
measured to. Runs of other studies on other streams can be pooled with a study's own in the tests. The validation split is
there to choose by; what was chosen is told once on the test split.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

matplotlib.use("Agg")
from matplotlib import pyplot

from components.errors import BadParams
from components.evaluation import point_files, transfer
from components.evaluation.comparison import holm
from components.evaluation.estimate import Estimate
from components.evaluation.gap import Answers, Gap, gap, pulled
from components.evaluation.matrix import CELL_METRICS, Matrix
from components.evaluation.metrics import accuracy
from components.evaluation.operating_point import OperatingPoint, Standing
from components.evaluation.point_files import NOT_CALIBRATED
from components.evaluation.scores import VALIDATION, Scores
from components.generations.card import CARRY_OVER, read_card
from components.memory import EXEMPLARS
from components.reports import Place
from components.tables import markdown, mean_if_known, plain

Split = Literal["validation", "test"]
JOINT = "joint"
PLANNED = ("cffd", "er")
"""The one comparison planned before any study was run: does the first lead the second? One-sided, in no correction."""
ALPHA = 0.05
BEHIND = -0.01
"""A label is not behind the other where the one-sided 95 % interval of its lead lies above."""
WORDS: dict[Split, str] = {
    "validation": "On the **validation** split, of which nothing was learned: to choose by.",
    "test": "On the **test** split, by which nothing may be chosen.",
}
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
AVERAGED = ("average", "average_acc", "pooled_acc", "fitted_acc", "forgetting_since_learned")
"""Columns of the table that tell of the spread over runs."""
COUNTED = ("images", "exemplars", "memory_bytes", "stored_bytes")
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
    exemplars: int | None
    """Faces in the memory of the last generation."""
    memory_bytes: int | None
    """What that memory takes on disk."""
    stored_bytes: int | None
    """Memory and carry-over of the last generation; None, as the other counts, where a detector is not ours."""
    seconds: float | None
    """Wall time of raising and curating its generations; None where nobody looked at the clock."""
    unseen: Mapping[str, Estimate] = field(default_factory=dict)
    """AUC of the last generation on every benchmark nobody learned."""
    commits: tuple[str | None, ...] = ()
    """Of the code that raised its generations; None where that lay in no checkout."""
    point: OperatingPoint | None = None
    """Of the last generation."""
    no_point: str = NOT_CALIBRATED
    """Why it has none."""

    @cached_property
    def clips(self) -> list[pd.DataFrame]:
        """What the last generation answered of each task; none where it was not examined on all of them."""
        examined = all(task in self.last.tables for task in self.tasks)
        return [self.last.clips(task) for task in self.tasks] if examined else []

    @cached_property
    def pull(self) -> pd.Series:
        """How far each source pulls the average AUC over the tasks; raises ValueError where a task has too few."""
        return pulled(self.clips)

    @property
    def pooled_acc(self) -> Estimate:
        """Share of the clips of all tasks together called right at the one threshold."""
        if not self.clips:
            return Estimate.undefined("it was not examined on every task")
        together = pd.concat(self.clips)
        return Estimate(accuracy(together["label"].to_numpy(), together["p_fake"].to_numpy()))

    @property
    def fitted_acc(self) -> Estimate:
        """The same at the threshold that the last generation was given."""
        if self.point is None:
            return Estimate.undefined(self.no_point)
        if not self.clips:
            return Estimate.undefined("it was not examined on every task")
        found = Standing.of(self.point, dict(zip(self.tasks, self.clips, strict=True)))
        return Estimate(found.accuracy)

    def metric(self, name: str, of: str = "auc") -> Estimate:
        return METRICS[name](self.auc if of == "auc" else self.acc)


def read_run(
    place: Place, entry: RunKey, generations: Sequence[str], seconds: Mapping[str, float], *, on: Split = "test"
) -> Run:
    """The run of a line whose last generation was judged; raises BrokenLineage where something is missing, BadParams where
    nobody looked at the validation split.

    place     where the workspace keeps what it has of that kind (verdicts, scores, …) and name
    seconds   wall time by stage instance, as far as it is known
    """
    last = generations[-1]
    matrix = Matrix.read(place("verdicts", last))
    if on == "validation":
        matrix = _on_validation(matrix, {name: place("scores", name) for name in generations})
    tasks = tuple(matrix.learns[name] for name in generations)
    clocked = [seconds.get(f"{stage}@{name}") for name in generations for stage in ("evolve", "curate")]
    memory, cards = place("memories", last), [read_card(place("generations", name)) for name in generations]
    memory_bytes = _size_bytes(memory)
    return Run(
        entry,
        tuple(generations),
        tasks,
        matrix.square("auc"),
        matrix.square("acc"),
        Scores.read(place("scores", last) / VALIDATION if on == "validation" else place("scores", last)),
        sum(card["images_seen"] for card in cards),
        _rows(memory / EXEMPLARS),
        memory_bytes,
        memory_bytes + _size_bytes(place("generations", last) / CARRY_OVER),
        None if None in clocked else sum(s for s in clocked if s is not None),
        {name: matrix.cell(last, name)["auc"] for name in matrix.benchmarks if name not in tasks},
        tuple(dict.fromkeys((card.get("code") or {}).get("commit") for card in cards)),
        OperatingPoint.read_if_any(place("verdicts", last)),
        str(point_files.told(place("verdicts", last))["reason"]),
    )


def _on_validation(judged: Matrix, scores: Mapping[str, Path]) -> Matrix:
    """R of the same generations on the validation split, from the folders of their scores."""
    matrix = Matrix.empty(judged.line)
    for name, folder in scores.items():
        found = Scores.read_if_any(folder / VALIDATION)
        if found is None:
            raise BadParams(
                f"expected scores of '{name}' on the validation split, found none: it was examined with "
                "evaluation.validation off, as studies of older versions were. Tell of it with --on test, or begin another "
                "study."
            )
        cells = {b: {m: e for m, e in found.estimates(b).items() if m in CELL_METRICS} for b in found.measured}
        matrix = matrix.with_row(name, judged.learns[name], cells)
    return matrix


def tell(
    runs: Sequence[Run],
    into: Path,
    *,
    reference: str,
    on: Split = "test",
    others: Mapping[str, Sequence[Run]] | None = None,
) -> dict[str, Any]:
    """Write study.json, stages.csv, table.md and study.png into `into`; returns what study.json holds.

    on       the split that the runs were read on
    others   runs on other streams, by the name of their study: pooled with these where strategies are compared
    """
    if not runs:
        raise BadParams("expected at least one finished run to tell of, found none. Run the study first.")
    into.mkdir(parents=True, exist_ok=True)
    labels = tuple(dict.fromkeys(run.entry.label for run in runs))
    unseen = tuple(dict.fromkeys(name for run in runs for name in run.unseen))
    told = {
        "split": on,
        "labels": list(labels),
        "reference": reference,
        "runs": [_told(run) for run in runs],
        "means": {label: _means([run for run in runs if run.entry.label == label], unseen) for label in labels},
        "differences": differences([runs, *(others or {}).values()], reference),
        "pooled_with": list(others or {}),
        "commits": _commits(runs),
    }
    (into / "study.json").write_text(json.dumps(told, indent=2, sort_keys=True, allow_nan=False) + "\n")
    _write_stages(runs, into / "stages.csv", on)
    (into / "table.md").write_text(f"{WORDS[on]}\n\n{table(told)}")
    draw(runs, into / "study.png", on)
    return told


def differences(streams: Sequence[Sequence[Run]], reference: str) -> dict[str, Any]:
    """By how much the reference leads each other label in final average AUC, and whether that is chance.

    streams   runs of one study each; a label is compared on every stream that has it and the reference, in the orders
              both were run in, and the streams count alike

    What is tested is whether it would hold for other people and other seeds (`gap`). PLANNED is tested one-sidedly by
    itself; all others two-sidedly with Holm's correction over them. Where a task has too few sources, or a label a single
    run, there is a difference but no test of it.
    """
    rest = [label for label in dict.fromkeys(run.entry.label for runs in streams for run in runs) if label != reference]
    shared = {label: pairs for label in rest if (pairs := _pairs(streams, reference, label))}
    found, gaps = {label: _difference(pairs) for label, pairs in shared.items()}, {}
    for label, pairs in shared.items():
        if found[label]["difference"] is None:
            continue
        try:
            gaps[label] = gap([(_answers(ours), _answers(theirs)) for ours, theirs in pairs])
        except ValueError as fault:
            found[label]["reason"] = f"no test: {fault}"
    corrected = [label for label in gaps if (reference, label) != PLANNED]
    adjusted = dict(zip(corrected, holm([gaps[label].p_apart for label in corrected]), strict=True))
    for label, tested in gaps.items():
        found[label] |= _tested(tested, adjusted.get(label), len(corrected))
    return found


def table(told: Mapping[str, Any]) -> str:
    """Three Markdown tables, with a note each: what was known and forgotten, who leads whom, and what it cost."""
    parts = [_known(told), markdown(*_costs(told)), _raised_by(told["commits"])]
    if told["differences"]:
        parts[1:1] = [markdown(*_leads(told)), _tests(told)]
    return "\n".join(parts)


def _known(told: Mapping[str, Any]) -> str:
    labels, means = told["labels"], told["means"]
    tasks, unseen = list(means[labels[0]]["final_auc"]), list(means[labels[0]]["unseen_auc"])
    joint = means.get(JOINT, {}).get("average", {}).get("mean")
    head = ["strategy", "runs", *tasks, *(f"{name} (unseen)" for name in unseen), "average AUC",
            "ACC at .5, mean of tasks", "ACC at .5, all clips", "accuracy at one threshold", "forgetting", "BWT", "FWT",
            "anti-forgetting",
            "plasticity", "gap to joint"]  # fmt: skip
    rows = []
    for label in labels:
        mean = means[label]
        behind = None if joint is None or mean["average"]["mean"] is None else joint - mean["average"]["mean"]
        rows.append(
            [
                label,
                str(mean["runs"]),
                *(plain(mean["final_auc"][task]["mean"]) for task in tasks),
                *(plain(mean["unseen_auc"][name]["mean"]) for name in unseen),
                *(_spread(mean[name]) for name in AVERAGED),
                *(plain(mean[name]["mean"]) for name in ("bwt", "fwt", "anti_forgetting", "plasticity")),
                plain(behind),
            ]
        )
    note = (
        "Accuracy at one threshold: of all clips, at the one that the last generation was given on validation clips"
        f"{', which these are' if told['split'] == 'validation' else ''}; a dash where a run has none.\n"
    )
    return f"{markdown(head, rows)}\n{note}"


def _leads(told: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    head = ["strategy", "streams", f"{told['reference']} leads by", "p", "not behind", "smallest lead seen"]
    return head, [[label, str(found["streams"]), *_lead(found)] for label, found in told["differences"].items()]


def _tests(told: Mapping[str, Any]) -> str:
    """What the columns of the leads are, in words."""
    reference, found = told["reference"], told["differences"]
    streams = " and ".join(["this study's", *told["pooled_with"]])
    pooled = f"Streams pooled: {streams}. " if told["pooled_with"] else ""
    planned = [label for label in found if (reference, label) == PLANNED]
    said = (
        f"against {planned[0]} the planned one-sided test, else two-sided after Holm"
        if planned
        else "two-sided, after Holm"
    )
    return (
        f"{pooled}Lead in average AUC with its 95 % interval over people and seeds. p: {said}. Not behind: the lead's "
        f"one-sided 95 % interval lies above {BEHIND:.2f}. Smallest lead seen: four times in five, at level {ALPHA:.2f}.\n"
    )


def _costs(told: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    head = ["strategy", "seconds a run", "images seen", "exemplars", "MB of exemplars", "MB handed down"]
    rows = []
    for label in told["labels"]:
        cost = told["means"][label]["cost"]
        counts = [
            "–" if (known := cost[name]) is None else f"{known:.0f}" for name in ("seconds", "images", "exemplars")
        ]
        sizes = [
            "–" if (known := cost[name]) is None else f"{known / 1e6:.2f}" for name in ("memory_bytes", "stored_bytes")
        ]
        rows.append([label, *counts, *sizes])
    return head, rows


def _commits(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Commit of the code -> the labels whose runs it raised; "" where it is not known."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for commit in run.commits:
            labels = found.setdefault(commit or "", [])
            labels += [run.entry.label] if run.entry.label not in labels else []
    return found


def _raised_by(commits: Mapping[str, Sequence[str]]) -> str:
    named = {commit[:12] or "unknown": labels for commit, labels in commits.items()}
    if len(named) > 1:
        each = "; ".join(f"{commit} ({', '.join(labels)})" for commit, labels in named.items())
        return f"**The runs were raised by several commits**: {each}.\n"
    return f"Commit of the code: {', '.join(named) or 'unknown'}.\n"


def draw(runs: Sequence[Run], path: Path, on: Split = "test") -> None:
    """Average AUC over the tasks learned so far after every stage (band: deviation over runs), and final forgetting."""
    labels = list(dict.fromkeys(run.entry.label for run in runs))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), width_ratios=(3, 2), layout="constrained")
    figure.suptitle(f"{on} split", fontsize=10)
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
    lost = [
        [_value(run.metric("forgetting_since_learned")) for run in runs if run.entry.label == label] for label in labels
    ]
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


def _pairs(streams: Sequence[Sequence[Run]], reference: str, label: str) -> list[tuple[list[Run], list[Run]]]:
    """Of every stream that has both, the runs of the reference and of the label in the orders both were run in."""
    pairs = []
    for runs in streams:
        ours, theirs = ([run for run in runs if run.entry.label == name] for name in (reference, label))
        both = {run.entry.order for run in ours} & {run.entry.order for run in theirs}
        if both:
            pairs.append(([r for r in ours if r.entry.order in both], [r for r in theirs if r.entry.order in both]))
    return pairs


def _difference(pairs: Sequence[tuple[Sequence[Run], Sequence[Run]]]) -> dict[str, Any]:
    averages = [[np.mean([_value(run.metric("average")) for run in runs]) for runs in pair] for pair in pairs]
    value = float(np.mean([ours - theirs for ours, theirs in averages]))
    counts = {"streams": len(pairs), "runs": [sum(len(pair[side]) for pair in pairs) for side in (0, 1)]}
    if np.isnan(value):
        return {"difference": None, "reason": "a score it needs is undefined", **counts}
    return {"difference": value, **counts}


def _answers(runs: Sequence[Run]) -> list[Answers]:
    """Raises ValueError where a run was not examined on a task, or a task has too few sources."""
    if not all(run.clips for run in runs):
        raise ValueError("a task was not examined")
    return [Answers(_value(run.metric("average")), run.pull) for run in runs]


def _tested(found: Gap, p_holm: float | None, family: int) -> dict[str, Any]:
    """Interval, p-value and power of a lead; `p_holm` None for the planned test, else of a `family` of tests."""
    low, high = found.interval()
    bound = found.interval(1 - 2 * ALPHA)[0]
    planned = p_holm is None
    p = {"p": found.p_ahead, "sides": 1} if planned else {"p": found.p_apart, "sides": 2, "p_holm": p_holm}
    smallest = found.smallest(ALPHA if planned else ALPHA / 2 / family)
    seen = {"bound": bound, "not_behind": bound > BEHIND, "smallest": smallest}
    return {"low": low, "high": high, "error": found.error, "freedom": found.freedom, **p, **seen}


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
        "pooled_acc": {"value": run.pooled_acc.value, "reason": run.pooled_acc.reason},
        "fitted_acc": {"value": run.fitted_acc.value, "reason": run.fitted_acc.reason},
        "cost": {"seconds": run.seconds, **{name: getattr(run, name) for name in COUNTED}},
        "commits": list(run.commits),
    }


def _means(runs: Sequence[Run], unseen: Sequence[str]) -> dict[str, Any]:
    """Mean and deviation (over runs, n - 1) of every metric; None where a run lacks it."""
    absent = Estimate.undefined("not every run was examined on it")
    metrics = {name: _over([run.metric(name) for run in runs]) for name in METRICS}
    return {
        **metrics,
        "average_acc": _over([run.metric("average", "acc") for run in runs]),
        "pooled_acc": _over([run.pooled_acc for run in runs]),
        "fitted_acc": _over([run.fitted_acc for run in runs]),
        "final_auc": {task: _over([_final(run, task) for run in runs]) for task in runs[0].tasks},
        "unseen_auc": {name: _over([run.unseen.get(name, absent) for run in runs]) for name in unseen},
        "runs": len(runs),
        "cost": {
            "seconds": mean_if_known([run.seconds for run in runs]),
            **{name: mean_if_known([getattr(run, name) for run in runs]) for name in COUNTED},
        },
    }


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


def _write_stages(runs: Sequence[Run], path: Path, on: Split) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "seed", "order", "stage", "learned", "task", "auc", "acc", "split"])
        for run in runs:
            for i, learned in enumerate(run.tasks):
                for j, task in enumerate(run.tasks):
                    cells = [f"{R[i, j]:.6f}" if np.isfinite(R[i, j]) else "" for R in (run.auc, run.acc)]
                    where = [run.entry.label, run.entry.seed, run.entry.order, i + 1, learned, task]
                    writer.writerow([*where, *cells, on])


def _spread(over: Mapping[str, Any]) -> str:
    return plain(over["mean"]) + (f" ± {over['sd']:.3f}" if over["sd"] is not None else "")


def _lead(found: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """The cells of one lead: how far, p, whether it is not behind, and the smallest that would have been seen."""
    if found["difference"] is None:
        return "–", "–", "–", "–"
    lead = f"{found['difference']:+z.3f}"
    if "p" not in found:
        return lead, "–", "–", "–"
    p = f"{found['p']:.3f} (planned)" if found["sides"] == 1 else f"{found['p_holm']:.3f}"
    interval = f"{lead} [{found['low']:+z.3f}, {found['high']:+z.3f}]"
    return interval, p, "yes" if found["not_behind"] else "no", plain(found["smallest"])


def _value(estimate: Estimate) -> float:
    return float("nan") if estimate.value is None else estimate.value


def _nested(R: transfer.Square) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in R]


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows) if path.is_file() else 0


def _size_bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0
