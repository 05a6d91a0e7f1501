"""How often the tests of the gate and of a study cry wolf: simulated worlds in which nothing fell and nobody leads.

    python -m benchmarks.sizes [WORLDS]

The gate: two detectors as good as one another on one benchmark whose clips share sources. A study: two strategies as good as
one another on four tasks that share people and genuine faces. Beside a study's test stands what it was until 0.2: people
drawn anew for every task, and no account of seeds. At a level of .05, .05 is right; .0025 is what twenty benchmarks leave.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from components.evaluation.comparison import compare
from components.evaluation.gap import Answers, gap, pulled
from components.evaluation.metrics import auc

TASKS, PEOPLE = 4, 50
BENCHMARKS = [(6, 6, 1, 1.5), (12, 12, 2, 1.5), (12, 12, 2, 3.5), (30, 30, 2, 3.5), (60, 5, 2, 1.5), (60, 60, 3, 1.5)]
"""Sources, those of them with a genuine clip, forged clips of each, and how far apart the classes lie in deviations."""
STUDIES = [(3, 0.7, 0.1), (3, 0.7, 0.0), (3, 0.0, 0.2), (2, 0.7, 0.1), (5, 0.7, 0.1)]
"""Seeds, deviation over people of what is hard for a strategy, deviation over seeds of how far apart the classes lie."""


def gates(worlds: int) -> None:
    """Print a line a benchmark: how often one that did not fall is called worse."""
    generator = np.random.default_rng(0)
    for sources, genuine, forged, apart in BENCHMARKS:
        who = np.r_[np.arange(genuine), np.repeat(np.arange(sources), forged)]
        labels = np.r_[np.zeros(genuine, int), np.ones(sources * forged, int)]
        p = []
        for _ in range(worlds):
            shared = apart * labels + generator.normal(0, 0.7, sources)[who] + generator.normal(0, 0.5, len(who))
            old, new = (
                shared + generator.normal(0, 0.7, sources)[who] + generator.normal(0, 0.5, len(who)) for _ in range(2)
            )
            p.append(compare(benchmark(who, labels, new), benchmark(who, labels, old), margin=0.0).p_worse or 0.0)
        found = [float((np.array(p) < alpha).mean()) for alpha in (0.05, 0.0025)]
        print(f"gate   {sources:3} sources, {genuine:3} genuine, {forged} forged each, {apart}: "
              f"{found[0]:.3f} at .05, {found[1]:.4f} at .0025", flush=True)  # fmt: skip


def studies(worlds: int) -> None:
    """Print a line a study: how often one of two equals is said to lead."""
    generator = np.random.default_rng(1)
    for seeds, hard, luck in STUDIES:
        found = []
        for _ in range(worlds):
            easy = generator.normal(0, 1, PEOPLE)
            both = [strategy(generator, easy, seeds, hard, luck) for _ in range(2)]
            tested = gap([([answered(run) for run in both[0]], [answered(run) for run in both[1]])])
            of_tasks = [sum(side * pulled([run[task]]) for side, runs in zip((1, -1), both, strict=True) for run in runs)
                        for task in range(TASKS)]  # fmt: skip
            error = float(np.sqrt(sum((pull**2).sum() for pull in of_tasks))) / seeds / TASKS
            found.append((tested.p_apart < 0.05, tested.p_ahead < 0.05, abs(tested.value) > 1.96 * error))
        two, one, before = np.mean(found, axis=0)
        print(f"study  {seeds} seeds, people {hard}, seeds {luck}: {two:.3f} two-sided, {one:.3f} one-sided at .05; "
              f"until 0.2 {before:.3f}", flush=True)  # fmt: skip


def strategy(
    generator: np.random.Generator, easy: np.ndarray, seeds: int, hard: float, luck: float
) -> list[list[pd.DataFrame]]:
    """Runs of tasks: everybody's genuine clip, the same in every task, and a forged one of each task."""
    genuine, who, labels = easy + generator.normal(0, hard, PEOPLE), np.arange(PEOPLE), np.repeat([0, 1], PEOPLE)
    return [
        [
            benchmark(
                np.tile(who, 2),
                labels,
                np.r_[genuine + generator.normal(0, 0.3, PEOPLE), skill + 0.5 * easy + generator.normal(0, 1, PEOPLE)],
            )
            for _ in range(TASKS)
        ]
        for skill in 1.5 + generator.normal(0, luck, seeds)
    ]


def benchmark(sources: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    about = {"archive": "one", "clip": np.arange(len(labels)), "source": sources.astype(str)}
    return pd.DataFrame({**about, "label": labels, "p_fake": scores})


def answered(tasks: list[pd.DataFrame]) -> Answers:
    return Answers(float(np.mean([auc(t["label"].to_numpy(), t["p_fake"].to_numpy()) for t in tasks])), pulled(tasks))


if __name__ == "__main__":
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    gates(worlds)
    studies(worlds)
