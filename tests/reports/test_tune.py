"""Which point of a grid is chosen, and what is written about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from components.evaluation.scores import COLUMNS, Scores
from components.reports.study import Run, RunKey
from components.reports.tune import Point, Tried, choose, error_of_gap, lines, scored, tell

TASKS = ("swap", "mesh")


def run(label: str, last: float, *, seed: int = 0, wrong: int = 0, folder: Path | None = None) -> Run:
    """A run that ends at an average AUC of `last`; with a folder, `wrong` of its 40 people are taken for forged."""
    tables = (
        {}
        if folder is None
        else {task: answers(folder / f"{label}_{seed}_{task}.parquet", task, wrong) for task in TASKS}
    )
    square = np.array([[0.9, 0.5], [last, last]])
    names = (f"{label}-M1", f"{label}-M2")
    return Run(
        RunKey(label, label, seed), names, TASKS, square, square, Scores(names[1], "0", {}, tables), 10, 4, 8, 10, 5.0
    )


def answers(path: Path, task: str, wrong: int) -> Path:
    rows = [
        (
            task,
            f"{person}_{label}.png",
            0,
            f"s{person}",
            "",
            "swap",
            label,
            0.9 if person < wrong else 0.2 + 0.6 * label,
        )
        for person in range(40)
        for label in (0, 1)
    ]
    pd.DataFrame(rows, columns=COLUMNS).to_parquet(path)
    return path


def tried(label: str, *last: float, departures: dict[str, Any] | None = None, metric: str = "average") -> Tried:
    values = {"strategy.genuine": 0, "memory.codec": "lossless", **(departures or {})}
    runs = [run(label, value, seed=seed) for seed, value in enumerate(last)]
    return scored(Point(label, values, departures or {}), runs, metric)


def test_the_best_mean_is_chosen_where_it_is_ahead_by_more_than_its_error() -> None:
    plain, more = tried("plain", 0.8, 0.81), tried("more", 0.9, 0.91, departures={"strategy.genuine": 1})
    chosen, behind = choose([plain, more], "average")
    assert chosen is more
    assert behind["plain"] == (pytest.approx(0.1), pytest.approx(0, abs=1e-9)), "both seeds say the same"
    assert behind["more"] == (0, 0)


def test_within_the_error_of_the_seeds_the_simplest_is_chosen() -> None:
    plain, more = tried("plain", 0.8, 0.9), tried("more", 0.9, 0.82, departures={"strategy.genuine": 1})
    assert choose([more, plain], "average")[0] is plain


def test_of_equals_the_first_is_chosen() -> None:
    one, two = (tried(name, 0.8, departures={"strategy.genuine": value}) for name, value in (("b", 2), ("a", 1)))
    assert choose([one, two], "average")[0] is one


def test_forgetting_counts_downwards() -> None:
    less, more = (tried(name, last, metric="forgetting_mammoth") for name, last in (("less", 0.85), ("more", 0.6)))
    chosen, behind = choose([more, less], "forgetting_mammoth")
    assert chosen is less
    assert behind["more"][0] == pytest.approx(more.mean - less.mean)


def test_a_point_of_which_runs_are_missing_is_not_chosen() -> None:
    lucky, whole = tried("lucky", 0.99), tried("whole", 0.8, 0.82)
    chosen, behind = choose([lucky, whole], "average")
    assert chosen is whole and "lucky" not in behind


def test_with_one_seed_other_sources_are_the_error(tmp_path: Path) -> None:
    sure, wrong = (
        scored(Point(name, {}, {}), [run(name, last, wrong=count, folder=tmp_path)], "average")
        for name, last, count in (("sure", 1.0, 0), ("wrong", 0.9, 4))
    )
    error = error_of_gap(sure, wrong, "average")
    # Four of 40 people lose a tenth of the AUC; the share of such people in a draw varies by sqrt(.1 * .9 / 40).
    assert error == pytest.approx((0.1 * 0.9 / 40) ** 0.5, rel=0.25)
    assert error_of_gap(sure, wrong, "bwt") == 0, "nothing is known of it"
    assert error_of_gap(sure, sure, "average") == 0


def test_what_was_tried_is_written_with_the_chosen_first_and_what_failed_last(tmp_path: Path) -> None:
    adopt = {"strategies": {"cffd": {"genuine": 1}}}
    failed = tried("failed", departures={"memory.codec": "webp"})
    points = [failed, tried("plain", 0.8, 0.81), tried("more", 0.9, 0.92, departures={"strategy.genuine": 1})]
    about = {"study": "grid", "strategy": "cffd", "detector": "rsia_net", "sequence": list(TASKS)}
    tell(points, tmp_path, metric="average", about=about, adopt=adopt)
    told = json.loads((tmp_path / "tune.json").read_text())
    assert [point["label"] for point in told["points"]] == ["more", "plain", "failed"]
    assert (told["chosen"], told["adopt"], told["split"]) == ("more", adopt, "validation")
    best, _, none = told["points"]
    assert (best["mean"], best["runs"], best["seconds"]) == (pytest.approx(0.91), 2, 5.0)
    assert best["values"] == {"strategy.genuine": 1, "memory.codec": "lossless"}
    assert (none["runs"], none["mean"], none["behind"]) == (0, None, None)
    page = (tmp_path / "tune.md").read_text()
    assert "**validation** split" in page and "| chosen | 1 | lossless | 2 | 0.9100 ± 0.0141 |" in page
    assert yaml.safe_load(page.split("```yaml\n")[1].split("```")[0]) == adopt
    assert yaml.safe_load(lines({})) is None
