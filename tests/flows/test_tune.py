"""``perennial tune``: which points a grid has, what is refused before anything is made, and what would adopt a choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.errors import BadParams, UnknownName
from components.params import Params, parse
from flows import tune
from flows.study import Study
from flows.tune import adoption, grid_of, points_of, variants_of
from flows.workspace import Workspace

PARAMS = """\
archives:
  swaps: {layout: lab}
sequence: [swaps]
benchmarks: [swaps]
lines: {}
faces: {}
validation: {}
gate:
  - {rule: infra}
"""


def params(**sections: Any) -> Params:
    archives = {"archives": {"swaps": {"layout": "lab"}}, "sequence": ["swaps"], "benchmarks": ["swaps"]}
    return parse(Params, {**archives, "gate": [{"rule": "infra"}], **sections}, "params.yaml")


GRID = grid_of(["strategy.features=0.5,2", "training.replayed=0.5,0.75", "memory.policy=herding,reservoir"])


def test_a_grid_is_options_and_their_values_as_params_yaml_has_them() -> None:
    assert GRID["training.replayed"] == (0.5, 0.75)
    assert grid_of(["training.pairs=true, false", "memory.budget_bytes=null"]) == {
        "training.pairs": (True, False),
        "memory.budget_bytes": (None,),
    }


def test_all_combinations_are_points_named_by_what_they_do_otherwise() -> None:
    points = points_of("cffd", "rsia_net", GRID, params())
    assert len({point.label for point in points}) == len(points) == 8
    first = points[0]
    assert first.label == "cffd_policy_herding_features_0_5"
    assert first.values == {"strategy.features": 0.5, "training.replayed": 0.5, "memory.policy": "herding"}
    assert set(first.departures) == {"strategy.features", "memory.policy"}, "a half is replayed anyway"
    changes = variants_of("cffd", points)[first.label].changes
    assert (changes.strategy, changes.memory, changes.training) == ({"features": 0.5}, {"policy": "herding"}, {})


def test_a_point_has_its_name_whatever_the_order_of_the_grid() -> None:
    turned = dict(reversed(GRID.items()))
    names = [{point.label for point in points_of("cffd", "rsia_net", grid, params())} for grid in (GRID, turned)]
    assert names[0] == names[1]


def test_one_at_a_time_is_what_is_there_and_every_other_value_by_itself() -> None:
    points = points_of("cffd", "rsia_net", GRID, params(training={"replayed": 0.75}), one_at_a_time=True)
    assert [point.label for point in points] == [
        "cffd", "cffd_features_0_5", "cffd_features_2_0", "cffd_replayed_0_5", "cffd_policy_herding",
        "cffd_policy_reservoir",
    ]  # fmt: skip
    assert not points[0].departures


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["strateg.features=1"], BadParams, "found 'strateg.features=1'.* Did you mean 'strategy'"),
        (["features=1"], BadParams, "expected --grid SECTION.OPTION=a,b with a section of detector, strategy, memory"),
        (["strategy.features"], BadParams, "each option once with its values, found 'strategy.features'"),
        (["strategy.features=1,,2"], BadParams, "with its values"),
        (["strategy.features=1", "strategy.features=2"], BadParams, "each option once"),
        (["strategy.features=[1"], BadParams, "expected values as params.yaml has them"),
        ([], BadParams, "expected at least one --grid"),
        (["strategy.feature=1"], UnknownName, "no option of strategy 'feature'; .* Did you mean 'features'"),
        (["training.replayed=0.5,most"], BadParams, "replayed: .* found 'most'"),
        (["memory.budget=-1"], BadParams, "budget: .* found -1"),
        (["memory.budget=100,1"], BadParams, "'cffd_budget_1' of study 'grid': expected a memory budget of at least 2"),
    ],
)
def test_a_grid_that_cannot_be_followed_is_refused_before_anything_is_made(
    tmp_path: Path, words: list[str], kind: type[Exception], said: str
) -> None:
    workspace = Workspace.create(tmp_path, PARAMS)
    workspace.data("archives", "swaps").mkdir(parents=True)
    study = Study("grid", "rsia_net", {}, ("swaps",), (0,))
    with pytest.raises(kind, match=said):
        tune.tune(workspace, study, "cffd", grid_of(words), metric="average")
    assert not (tmp_path / ".perennial").exists()


def test_a_metric_that_nobody_measures_is_refused(tmp_path: Path) -> None:
    study = Study("grid", "rsia_net", {}, ("swaps",), (0,))
    with pytest.raises(UnknownName, match=r"no metric 'averag'; .* Did you mean 'average'"):
        tune.tune(Workspace.create(tmp_path, PARAMS), study, "cffd", GRID, metric="averag")


def test_what_adopts_a_choice_is_what_params_yaml_does_not_say_yet_where_it_would_be_heeded() -> None:
    points = points_of("cffd", "rsia_net", GRID, params())
    chosen = points[-1]
    assert adoption("cffd", "rsia_net", chosen, params()) == {
        "strategies": {"cffd": {"features": 2.0}},
        "memory": {"policy": "reservoir"},
        "training": {"replayed": 0.75},
    }
    own = params(detectors={"rsia_net": {"training": {"replayed": 0.6}}}, strategies={"cffd": {"features": 2}})
    assert adoption("cffd", "rsia_net", chosen, own) == {
        "detectors": {"rsia_net": {"training": {"replayed": 0.75}}},
        "memory": {"policy": "reservoir"},
    }
