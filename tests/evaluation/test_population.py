"""What is asked is told apart from what a generation was calibrated on where it differs, and rarely where it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.evaluation.population import FEWEST, Population, drift, expected, stability, summary


def population(seed: int, files: int = 120, shift: float = 0.0, a_source: int = 2) -> Population:
    """Files of sources that are alike, `a_source` each."""
    draw = np.random.default_rng(seed)
    of_source = np.repeat(draw.normal(size=(files // a_source, 12)), a_source, axis=0)
    traits = (of_source + 0.5 * draw.normal(size=of_source.shape) + shift).astype(np.float32)
    scores = 1 / (1 + np.exp(-draw.normal(0, 2, files)))
    sources = tuple(f"{seed}-{number // a_source}" for number in range(files))
    return Population(
        sources, scores, {"picture": traits[:, :4], "embedding": traits[:, 4:]}, {"sharpness": traits[:, 0]}
    )


def test_draws_of_the_same_kind_alarm_no_oftener_than_was_said() -> None:
    reference = population(1000, 200)
    alarms = [drift(reference, population(seed)).alarms(0.05) for seed in range(20)]
    assert sum(alarms) <= 3


@pytest.mark.parametrize("view", ["picture", "embedding"])
def test_another_kind_alarms_whichever_view_shows_it(view: str) -> None:
    asked = population(1)
    moved = replace(asked, traits={**asked.traits, view: asked.traits[view] + 1.5})
    found = drift(population(0), moved)
    assert found is not None and found.alarms(0.01)


def test_other_scores_alone_are_drift() -> None:
    asked = population(1)
    found = drift(population(0), replace(asked, scores=np.full(len(asked), 0.999)))
    assert found is not None and found.alarms(0.01) and found.stability["score"] > 0.25


def test_one_clip_sent_many_times_is_one_clip() -> None:
    asked = population(1).take([5] * 60)
    assert drift(population(0), asked) is None


def test_too_few_files_tell_nothing() -> None:
    assert drift(population(0), population(1, FEWEST - 2)) is None


def test_the_same_files_and_seed_tell_the_same() -> None:
    assert drift(population(0, 900), population(1), seed=3) == drift(population(0, 900), population(1), seed=3)


def test_stability_is_near_nothing_for_the_same_and_large_for_another() -> None:
    draw = np.random.default_rng(0)
    same, other = draw.normal(size=4000), draw.normal(1, 1, 4000)
    assert stability(draw.normal(size=4000), same) < 0.02
    # of two normal distributions a deviation apart the index is 1, were the bins not so wide
    assert 0.7 < stability(draw.normal(size=4000), other) < 1.1
    assert stability(same, np.full(5, np.nan)) is None


def test_the_expected_accuracy_is_that_of_calibrated_answers() -> None:
    """Log odds of two normal distributions of deviation s and means +-s²/2 are calibrated at even odds."""
    draw, share = np.random.default_rng(0), 0.2
    forged = draw.random(20_000) < share
    odds = np.where(forged, 2.0, -2.0) + 2 * draw.normal(size=len(forged))
    p = 1 / (1 + np.exp(-odds))
    called = [bool(chance > 0.5) for chance in p]
    found = expected(p, called)
    assert found is not None and found.accuracy is not None
    assert found.forged == pytest.approx(share, abs=0.01)
    assert found.accuracy == pytest.approx(float((forged == called).mean()), abs=0.01)


def test_what_was_not_told_counts_for_the_odds_and_not_for_the_accuracy() -> None:
    found = expected(np.array([0.99, 0.01, 0.5]), [True, False, None])
    assert found is not None and found.accuracy == pytest.approx(0.99, abs=0.01)
    assert expected(np.array([0.5]), [None]).accuracy is None
    assert expected(np.array([]), []) is None


def test_shares_are_told_of_files_and_agreement_of_those_both_answered() -> None:
    rows = pd.DataFrame(
        [
            ("forged", "", "forged"),
            ("genuine", "", "forged"),
            ("cannot tell", "no face", ""),
            ("cannot tell", "too dark", ""),
        ],
        columns=["verdict", "reason", "shadow"],
    )
    assert summary(rows) == {
        "files": 4,
        "with_a_face": 0.75,
        "cannot_tell": 0.5,
        "reasons": {"no face": 1, "too dark": 1},
        "agreement": 0.5,
    }
    assert summary(rows[:0]) == {"files": 0}


def test_a_population_is_read_as_it_was_written(tmp_path: Path) -> None:
    given = population(0)
    given.write(tmp_path)
    found = Population.read(tmp_path)
    assert found is not None and found.sources == given.sources
    np.testing.assert_array_equal(found.scores, given.scores)
    for view, values in given.traits.items():
        np.testing.assert_array_equal(found.traits[view], values)
    np.testing.assert_array_equal(found.quality["sharpness"], given.quality["sharpness"])
    assert Population.read(tmp_path / "elsewhere") is None
