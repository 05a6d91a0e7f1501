"""A protocol told: what a study measured in the protocol's own metric, beside the rows that were reported under it.

protocol.json   R in the protocol's metric, both means, forgetting, differences, and everything that is not known
protocol.md     the same as a table

A reported row is no target. It comes from other code, other faces and often another network; the interval of a difference
is ours alone, over sources and seeds, because a reported row has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from components.errors import BadParams
from components.evaluation import transfer
from components.evaluation.estimate import Estimate
from components.evaluation.metrics import draws, point, weighted
from components.evaluation.scores import Scores
from components.protocols import Protocol
from components.reports import Place
from components.reports.study import Run
from components.tables import markdown, plain

RESAMPLES = 1000
CONFIDENCE = 0.95
MEANS = ("tasks", "images")


@dataclass(frozen=True)
class Yardstick:
    """What is measured; where a protocol does not state it, the AUC of clips."""

    metric: str
    over: str

    @classmethod
    def of(cls, protocol: Protocol) -> Yardstick:
        return cls(protocol.test.metric or "auc", protocol.test.over or "clips")

    def rows(self, scores: Scores, task: str) -> pd.DataFrame | None:
        """What is counted of a task: archive, clip, source, label, p_fake; None where it was not examined."""
        if task not in scores.tables:
            return None
        return scores.clips(task) if self.over == "clips" else pq.read_table(scores.tables[task]).to_pandas()


def tell(
    name: str,
    protocol: Protocol,
    runs: Sequence[Run],
    place: Place,
    into: Path,
    *,
    archives: Mapping[str, str],
    resamples: int = RESAMPLES,
) -> Path:
    """Write protocol.json and protocol.md into `into`; returns the path of the table. Raises BadParams without runs.

    place       where the study's workspace keeps the scores of a generation
    archives    task -> the archive it is a part of: parts share their sources
    """
    runs = [run for run in runs if run.tasks == protocol.sequence]
    if not runs:
        raise BadParams(f"expected a finished run in the order of protocol '{name}', found none. Run the study first.")
    by_label: dict[str, list[Run]] = {}
    for run in runs:
        by_label.setdefault(run.entry.label, []).append(run)
    measured = {label: measure(protocol, of_label, place, archives, resamples) for label, of_label in by_label.items()}
    told = {
        "protocol": name,
        "stated": protocol.model_dump(mode="json"),
        "measured": measured,
        "beside": beside(protocol, measured),
    }
    into.mkdir(parents=True, exist_ok=True)
    (into / "protocol.json").write_text(json.dumps(told, indent=2, sort_keys=True, allow_nan=False) + "\n")
    (into / "protocol.md").write_text(table(name, protocol, told))
    return into / "protocol.md"


def measure(
    protocol: Protocol, runs: Sequence[Run], place: Place, archives: Mapping[str, str], resamples: int = RESAMPLES
) -> dict[str, Any]:
    """A label's means over its runs: final value a task, both averages with their interval, forgetting."""
    yardstick = Yardstick.of(protocol)
    squares = [square(run, place, yardstick) for run in runs]
    finals = np.array([R[-1] for R in squares])  # (runs, tasks)
    sizes = _sizes(runs[0], yardstick)
    found: dict[str, Any] = {
        "runs": len(runs),
        "metric": yardstick.metric,
        "over": yardstick.over,
        "final": dict(zip(runs[0].tasks, map(_known, finals.mean(0)), strict=True)),
        "counted": dict(zip(runs[0].tasks, map(int, sizes), strict=True)),
        "R": [[[_known(cell) for cell in row] for row in R] for R in squares],
        "forgetting": _known(float(np.mean([_value(transfer.forgetting(R)) for R in squares]))),
    }
    drawn = np.array([_drawn(run, yardstick, archives, resamples) for run in runs])  # (runs, resamples, tasks)
    for mean in MEANS:
        shares = np.full(len(sizes), 1 / len(sizes)) if mean == "tasks" else sizes / max(sizes.sum(), 1)
        found[mean] = {"average": _known((finals @ shares).mean()), **_interval(drawn @ shares)}
    return found


def square(run: Run, place: Place, yardstick: Yardstick) -> transfer.Square:
    """R (T, T) of a run; NaN where nobody was examined."""
    *before, _ = run.generations
    unknown = [None] * (len(run.tasks) - len(run.generations))  # of a line of foreign scores only the end is known
    examined = [*unknown, *(Scores.read_if_any(place("scores", name)) for name in before), run.last]
    return np.array([[_point(scores, task, yardstick) for task in run.tasks] for scores in examined])


def beside(protocol: Protocol, measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every reported row, and how far ours is from it; the interval is ours. Null where we have none of that name."""
    rows = []
    for row in protocol.reported:
        ours = measured.get(row.strategy or "", {}).get(_mean(protocol), {})
        gaps = {key: None if ours.get(key) is None else ours[key] - row.average for key in ("average", "low", "high")}
        gap = {"difference": gaps["average"], "low": gaps["low"], "high": gaps["high"]}
        rows.append({**row.model_dump(mode="json"), "label": row.strategy if ours else None, **gap})
    return rows


def table(name: str, protocol: Protocol, told: Mapping[str, Any]) -> str:
    """Markdown: ours, the reported rows with the difference, and what is not known."""
    measured, yardstick, mean = told["measured"], Yardstick.of(protocol), _mean(protocol)
    what = f"{yardstick.metric.upper()} over {yardstick.over}"
    averages = {"tasks": f"average {what}, tasks alike", "images": f"by the number of {yardstick.over}"}
    ours = [
        [
            label,
            str(m["runs"]),
            *map(plain, m["final"].values()),
            *(_ranged(m[key]) for key in MEANS),
            plain(m["forgetting"]),
        ]
        for label, m in measured.items()
    ]
    reported = [
        [
            row["row"],
            plain(row["average"]),
            plain(row["forgetting"]),
            row["label"] or "–",
            "–" if row["difference"] is None else _difference(row),
            row["source"] + (f"; through {row['through']}" if row["through"] else ""),
        ]
        for row in told["beside"]
    ]
    said = [f"Protocol `{name}`: {protocol.title}. Source: {protocol.source}."]
    said += [markdown(["ours", "runs", *protocol.sequence, *averages.values(), "forgetting"], ours)]
    if reported:
        head = ["reported", "average", "forgetting", "beside it", "ours is ahead by", "source"]
        said += [
            "Reported by others, on other faces and with other networks: no target. The difference is of "
            f'"{averages[mean]}"; its interval (95 %) is of our sources and runs alone.',
            markdown(head, reported),
        ]
    said += ["Not known:", "\n".join(f"- {fact}: {words}" for fact, words in protocol.unknown.items())]
    said += [] if protocol.network is None else [f"The paper's network is {protocol.network}."]
    return "\n\n".join(part.rstrip("\n") for part in said) + "\n"


def _mean(protocol: Protocol) -> str:
    return protocol.test.mean or "tasks"


def _sizes(run: Run, yardstick: Yardstick) -> np.ndarray:
    """What is counted of each task, (T,)."""
    counted = [yardstick.rows(run.last, task) for task in run.tasks]
    return np.array([0 if rows is None else len(rows) for rows in counted], dtype=np.float64)


def _point(scores: Scores | None, task: str, yardstick: Yardstick) -> float:
    rows = None if scores is None else yardstick.rows(scores, task)
    if rows is None:
        return float("nan")
    labels, p_fake = rows["label"].to_numpy(np.int64), rows["p_fake"].to_numpy(np.float64)
    return _value(point(yardstick.metric, labels, p_fake))


def _drawn(run: Run, yardstick: Yardstick, archives: Mapping[str, str], resamples: int) -> np.ndarray:
    """Final values under every draw of sources, (resamples, T): a source is drawn once for all parts of its archive.

    NaN where a draw lacks a class, or a task was not examined.
    """
    parts = [yardstick.rows(run.last, task) for task in run.tasks]
    if any(rows is None for rows in parts):
        return np.full((resamples, len(parts)), np.nan)
    known = [
        rows.assign(of=archives.get(task, task))
        for task, rows in zip(run.tasks, parts, strict=True)
        if rows is not None
    ]
    sources = pd.factorize(pd.concat([rows["of"] + "\n" + rows["source"] for rows in known]))[0]
    ends = np.cumsum([len(rows) for rows in known])[:-1]
    drawn = []
    for weights in draws(sources, resamples, seed=0):
        values = [
            weighted(rows["label"].to_numpy(np.int64), rows["p_fake"].to_numpy(np.float64), w)[yardstick.metric]
            for rows, w in zip(known, np.split(weights, ends, axis=1), strict=True)
        ]
        drawn.append(np.stack(values, axis=1))
    return np.concatenate(drawn)


def _interval(drawn: np.ndarray) -> dict[str, float | None]:
    """Of a mean over runs (runs, resamples) of which sources and runs are drawn; none where most draws lack a class."""
    count, resamples = drawn.shape
    which = np.random.default_rng(0).integers(count, size=(count, resamples))
    means = np.take_along_axis(drawn, which, axis=0).mean(0)
    defined = means[~np.isnan(means)]
    if 2 * defined.size < resamples:
        return {"low": None, "high": None}
    tail = (1 - CONFIDENCE) / 2
    return {"low": float(np.quantile(defined, tail)), "high": float(np.quantile(defined, 1 - tail))}


def _value(estimate: Estimate) -> float:
    return float("nan") if estimate.value is None else estimate.value


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _ranged(mean: Mapping[str, float | None]) -> str:
    return plain(mean["average"]) + ("" if mean["low"] is None else f" [{mean['low']:.3f}, {mean['high']:.3f}]")


def _difference(row: Mapping[str, Any]) -> str:
    interval = "" if row["low"] is None else f" [{row['low']:+z.3f}, {row['high']:+z.3f}]"
    return f"{row['difference']:+z.3f}{interval}"
