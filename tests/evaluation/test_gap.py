"""The lead of one strategy over another: people shared by all tasks are drawn once, and seeds are a level of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from components.evaluation.gap import Answers, Gap, gap, pulled
from components.evaluation.metrics import auc, draws, weighted

PEOPLE, TASKS, SEEDS = 30, 3, 3


def strategy(
    generator: np.random.Generator, *, seeds: int = SEEDS, luck: float = 0.15, lead: float = 0.0
) -> list[list[pd.DataFrame]]:
    """Runs of tasks: everybody's genuine clip, the same in every task, and a forged one of each task.

    How hard a person is depends on the strategy, not on task or seed; `luck` is the deviation of a seed's skill.
    """
    hard = generator.normal(0, 0.7, PEOPLE)
    return [
        [table(generator, hard, 1.5 + lead + skill) for _ in range(TASKS)] for skill in generator.normal(0, luck, seeds)
    ]


def table(generator: np.random.Generator, hard: np.ndarray, skill: float) -> pd.DataFrame:
    scores = [hard + generator.normal(0, 0.3, PEOPLE), skill + generator.normal(0, 1, PEOPLE)]
    people = [f"s{person}" for person in range(PEOPLE)]
    return pd.DataFrame({"source": people * 2, "label": np.repeat([0, 1], PEOPLE), "p_fake": np.concatenate(scores)})


def auc_of(task: pd.DataFrame) -> float:
    return auc(task["label"].to_numpy(), task["p_fake"].to_numpy())


def answered(runs: Sequence[Sequence[pd.DataFrame]]) -> list[Answers]:
    return [Answers(float(np.mean([auc_of(task) for task in tasks])), pulled(tasks)) for tasks in runs]


def test_the_pulls_of_the_sources_have_the_variance_of_drawing_each_source_once_for_all_tasks() -> None:
    (tasks,) = strategy(np.random.default_rng(3), seeds=1)
    found = pulled(tasks)
    sources = np.tile(np.arange(PEOPLE), 2)
    drawn = np.mean(
        [
            np.concatenate(
                [weighted(t["label"].to_numpy(), t["p_fake"].to_numpy(), w)["auc"] for w in draws(sources, 4000, 0)]
            )
            for t in tasks
        ],
        axis=0,
    )
    assert np.sqrt((found**2).sum()) == pytest.approx(np.nanstd(drawn), rel=0.1)
    apart = [pulled([task]) for task in tasks]
    assert np.sqrt(sum((pull**2).sum() for pull in apart)) / TASKS < 0.8 * np.nanstd(drawn), "as if people were others"


def test_no_lead_is_called_one_about_one_time_in_twenty_and_without_people_and_seeds_far_more_often() -> None:
    generator, found = np.random.default_rng(0), []
    for _ in range(100):
        one, other = (strategy(generator, luck=0.3) for _ in range(2))
        ours, theirs = answered(one), answered(other)
        apart = [[pulled([run[task]]) for run in runs] for runs in (one, other) for task in range(TASKS)]
        naive = [sum(pulls) / SEEDS for pulls in apart]
        of_tasks = [naive[task] - naive[task + TASKS] for task in range(TASKS)]
        error = float(np.sqrt(sum((pull**2).sum() for pull in of_tasks))) / TASKS
        tested = gap([(ours, theirs)])
        found.append((tested.p_apart < 0.05, tested.p_ahead < 0.05, abs(tested.value) > 1.96 * error))
    two_sided, one_sided, as_it_was = np.mean(found, axis=0)
    assert max(two_sided, one_sided) <= 0.1
    assert as_it_was > 0.2


def test_a_clear_lead_is_seen_from_either_side() -> None:
    generator = np.random.default_rng(1)
    better, worse = answered(strategy(generator, lead=2.0)), answered(strategy(generator))
    ahead, behind = gap([(better, worse)]), gap([(worse, better)])
    assert ahead.value == pytest.approx(-behind.value) and ahead.value > 0.05
    assert ahead.p_ahead < 0.02 < 0.98 < behind.p_ahead
    assert ahead.p_apart == pytest.approx(behind.p_apart) == pytest.approx(2 * ahead.p_ahead)
    low, high = ahead.interval()
    assert 0 < low < ahead.value < high


def test_a_second_stream_of_other_people_narrows_the_interval() -> None:
    generator = np.random.default_rng(2)
    first, second = ((answered(strategy(generator)), answered(strategy(generator))) for _ in range(2))
    other_people = [[Answers(run.average, run.pull.rename("t{}".format)) for run in runs] for runs in second]
    pooled = gap([first, (other_people[0], other_people[1])])
    alone = [gap([stream]) for stream in (first, second)]
    assert pooled.value == pytest.approx(np.mean([one.value for one in alone]))
    assert pooled.error == pytest.approx(np.hypot(alone[0].error, alone[1].error) / 2)


def test_runs_that_answer_alike_are_no_gap_with_p_1() -> None:
    (run,) = answered(strategy(np.random.default_rng(0), seeds=1))
    found = gap([([run, run], [run, run])])
    assert (found.value, found.p_apart, found.interval()) == (0, 1, (0, 0))


def test_one_run_is_not_tested() -> None:
    runs = answered(strategy(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="one run says nothing of other seeds"):
        gap([(runs, runs[:1])])


def test_the_smallest_gap_is_seen_four_times_in_five() -> None:
    generator, true = np.random.default_rng(0), Gap(0.0, 0.01, 8.0)
    smallest = true.smallest(0.05)
    errors = 0.01 * np.sqrt(generator.chisquare(8, 2000) / 8)
    values = generator.normal(smallest, 0.01, 2000)
    seen = [Gap(float(v), float(e), 8.0).p_ahead < 0.05 for v, e in zip(values, errors, strict=True)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.04)
