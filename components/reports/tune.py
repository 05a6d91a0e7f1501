"""A grid told: what was tried on the validation split, what was chosen, and what to write into params.yaml.

    tune.json    every point with its values, departures, mean, deviation, forgetting and seconds, the chosen one first
    tune.md      the same as a table

The rule: the best mean on the validation split; of all points within one standard error of it the simplest (the fewest
departures from what params.yaml says), and of those the one that was named first. The error of a point's distance to the best
has two parts: other sources (drawn for all tasks at once, on the final average AUC alone), and other seeds and orders (of
runs that share theirs, where there are two).

Source   Breiman et al. 1984, Classification and Regression Trees, 3.4.3: the one standard error rule
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.documents import dump_yaml
from components.errors import StageFailed
from components.evaluation import transfer
from components.reports.study import METRICS, Run
from components.tables import markdown, mean_if_known, plain

AVERAGE = "average"
ROUNDING = 1e-9
RULE = (
    "the best mean on the validation split; of those within one standard error of it the fewest departures from params.yaml, "
    "then the first"
)


@dataclass(frozen=True)
class Point:
    """One point of a grid."""

    label: str
    values: Mapping[str, Any]
    """Of every option of the grid, by ``section.option``."""
    departures: Mapping[str, Any]
    """Those that params.yaml does not say already."""


@dataclass(frozen=True)
class Tried:
    """A point and its runs that are finished."""

    point: Point
    runs: tuple[Run, ...]
    scores: tuple[float, ...]
    """Of the metric, one a run; NaN where it is undefined."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores)) if self.scores else float("nan")


def choose(tried: Sequence[Tried], metric: str) -> tuple[Tried, dict[str, tuple[float, float]]]:
    """The chosen point, and how far every measured one is behind the best, with the standard error of that, by label.

    Of points of which runs are missing nothing is said. Raises StageFailed where nothing was measured.
    """
    sign, whole = _sign(metric), max(len(one.runs) for one in tried)
    measured = [one for one in tried if len(one.runs) == whole and np.isfinite(one.mean)]
    if not measured:
        raise StageFailed(
            f"expected a point with a {metric} on the validation split, found none. See `perennial status`."
        )
    best = max(measured, key=lambda one: sign * one.mean)  # the first of equals
    behind = {one.point.label: (sign * (best.mean - one.mean), error_of_gap(best, one, metric)) for one in measured}
    close = [one for one in measured if behind[one.point.label][0] <= behind[one.point.label][1] + ROUNDING]
    return min(close, key=lambda one: len(one.point.departures)), behind


def error_of_gap(best: Tried, other: Tried, metric: str) -> float:
    """Standard error of the mean difference over the runs that share seed and order; 0 where nothing can be said of it."""
    ours, theirs = (
        {(run.entry.seed, run.entry.order): (run, score) for run, score in zip(one.runs, one.scores, strict=True)}
        for one in (best, other)
    )
    shared = [key for key in ours if key in theirs]
    if best is other or not shared:
        return 0.0
    gaps = [ours[key][1] - theirs[key][1] for key in shared]
    of_seeds = float(np.std(gaps, ddof=1)) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0
    return float(np.hypot(of_seeds, _error_of_sources([(ours[key][0], theirs[key][0]) for key in shared], metric)))


def _error_of_sources(pairs: Sequence[tuple[Run, Run]], metric: str) -> float:
    """Of the mean difference in final average AUC, a source drawn for all tasks at once; 0 of other metrics."""
    if metric != AVERAGE or not all(run.clips for pair in pairs for run in pair):
        return 0.0
    try:
        apart = [ours.pull.sub(theirs.pull, fill_value=0) for ours, theirs in pairs]
    except ValueError:  # a task with too few sources
        return 0.0
    return float(np.sqrt((pd.concat(apart).groupby(level=0).sum() ** 2).sum())) / len(pairs)


def tell(
    tried: Sequence[Tried], into: Path, *, metric: str, about: Mapping[str, Any], adopt: Mapping[str, Any]
) -> None:
    """Write tune.json and tune.md into `into`.

    about  what was tuned, for people and machines
    adopt  the part of params.yaml that says the choice; empty where it does already
    """
    into.mkdir(parents=True, exist_ok=True)
    chosen, behind = choose(tried, metric)
    ranked = sorted(tried, key=lambda one: (one is not chosen, behind.get(one.point.label, (np.inf, 0))[0]))
    points = [_told(one, behind.get(one.point.label)) for one in ranked]
    content = {
        **about,
        "split": "validation",
        "metric": metric,
        "rule": RULE,
        "chosen": chosen.point.label,
        "adopt": dict(adopt),
        "points": points,
    }
    (into / "tune.json").write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")
    (into / "tune.md").write_text(_page(content))


def scored(point: Point, runs: Sequence[Run], metric: str) -> Tried:
    """A point with the metric of each of its runs."""
    values = [METRICS[metric](run.auc).value for run in runs]
    return Tried(point, tuple(runs), tuple(float("nan") if value is None else value for value in values))


def lines(adopt: Mapping[str, Any]) -> str:
    """The part of params.yaml that says a choice, as YAML."""
    return dump_yaml(dict(adopt)) if adopt else "# params.yaml says so already\n"


def _sign(metric: str) -> int:
    """Less forgetting is better, more of everything else."""
    return -1 if metric.startswith("forgetting") else 1


def _told(one: Tried, behind: tuple[float, float] | None) -> dict[str, Any]:
    lost = [transfer.forgetting(run.auc).value for run in one.runs]
    seconds = [run.seconds for run in one.runs]
    mean = one.mean if np.isfinite(one.mean) else None
    return {
        "label": one.point.label,
        "values": dict(one.point.values),
        "departures": dict(one.point.departures),
        "runs": len(one.runs),
        "mean": mean,
        "sd": float(np.std(one.scores, ddof=1)) if mean is not None and len(one.scores) > 1 else None,
        "behind": None if behind is None else behind[0],
        "error": None if behind is None else behind[1],
        "forgetting": mean_if_known(lost),
        "seconds": mean_if_known(seconds),
    }


def _page(content: Mapping[str, Any]) -> str:
    """tune.md."""
    names = list(content["points"][0]["values"])
    head = ["", *names, "runs", content["metric"], "behind the best", "forgetting", "seconds a run"]
    rows = []
    for point in content["points"]:
        marked = "chosen" if point["label"] == content["chosen"] else ""
        spread = "" if point["sd"] is None else f" ± {point['sd']:.4f}"
        far = "–" if point["behind"] is None else f"{point['behind']:z.4f} ± {point['error']:.4f}"
        values = [str(point["values"][name]) for name in names]
        seconds = "–" if point["seconds"] is None else f"{point['seconds']:.0f}"
        rows.append(
            [
                marked,
                *values,
                str(point["runs"]),
                plain(point["mean"], 4) + spread,
                far,
                plain(point["forgetting"], 4),
                seconds,
            ]
        )
    table = markdown(head, rows)
    about = f"`{content['strategy']}` with `{content['detector']}` on {', '.join(content['sequence'])}"
    return (
        f"# What was tried and chosen: {content['study']}\n\n{about}, on the **validation** split.\n\n"
        f"Chosen by {RULE}.\n\n{table}\nIn params.yaml:\n\n```yaml\n{lines(content['adopt'])}```\n"
    )
