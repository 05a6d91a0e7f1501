"""The matrix and the continual metrics read from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import BrokenLineage
from components.evaluation import transfer
from components.evaluation.estimate import Estimate
from components.evaluation.matrix import CELL_METRICS, Cell, Matrix

TASKS = ("deepfakes", "face2face", "faceswap")


def cell(value: float) -> Cell:
    return {name: Estimate(value, value - 0.01, value + 0.01) for name in CELL_METRICS}


def line(R: np.ndarray, tasks: tuple[str, ...] = TASKS, extra: tuple[str, ...] = ()) -> Matrix:
    """M1.. of one line with scores R on the tasks, and 0.1 on benchmarks that are no tasks."""
    matrix = Matrix.empty("rsia_net")
    for i, scores in enumerate(R):
        row = {name: cell(float(s)) for name, s in zip(tasks, scores, strict=False)}
        matrix = matrix.with_row(f"M{i + 1}", tasks[i], {**row, **{name: cell(0.1) for name in extra}})
    return matrix


squares = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.lists(st.floats(0, 1), min_size=n, max_size=n), min_size=n, max_size=n).map(np.array)
)


@given(st.floats(0, 1), st.integers(2, 6), st.sampled_from(transfer.VARIANTS))
def test_a_constant_matrix_has_zero_forgetting_and_zero_backward_transfer(
    value: float, n: int, variant: transfer.Variant
) -> None:
    R = np.full((n, n), value)
    assert transfer.forgetting(R, variant).value == 0
    assert transfer.bwt(R).value == transfer.bwt_all(R).value == 0
    assert transfer.average(R).value == pytest.approx(value)


@given(squares)
def test_the_five_forgettings_are_ordered_as_their_definitions_say(R: np.ndarray) -> None:
    a, b, c, d, e = (transfer.forgetting(R, v).value for v in transfer.VARIANTS)
    assert a is not None and b is not None and c is not None and d is not None and e is not None
    assert a <= b <= c <= e and b <= d <= e and d >= 0
    assert transfer.bwt(R).value == pytest.approx(-a)


@given(squares)
def test_what_is_kept_and_what_is_gained_add_up_to_the_average(R: np.ndarray) -> None:
    kept, final = transfer.anti_forgetting(R).value, transfer.average(R).value
    assert kept is not None
    assert final == pytest.approx((kept * (len(R) - 1) + R[-1, -1]) / len(R))


@given(st.permutations(["deepfakes", "face2face", "faceswap", "wild"]))
def test_permuting_benchmarks_permutes_the_columns_and_changes_no_metric(order: list[str]) -> None:
    R = np.array([[0.9, 0.5, 0.5], [0.7, 0.9, 0.6], [0.6, 0.8, 0.95]])
    scores = {name: R[:, j] for j, name in enumerate(TASKS)} | {"wild": np.full(3, 0.1)}
    permuted = Matrix.empty("rsia_net")
    for i in range(3):
        permuted = permuted.with_row(f"M{i + 1}", TASKS[i], {name: cell(float(scores[name][i])) for name in order})
    plain = line(R, extra=("wild",))
    assert permuted.benchmarks == tuple(order)
    assert permuted.summary("M3") == plain.summary("M3")
    assert permuted.as_json()["cells"] == plain.as_json()["cells"]


def test_columns_follow_the_order_the_line_learned_not_the_order_of_the_benchmarks() -> None:
    R = np.array([[0.9, 0.5], [0.7, 0.8]])
    backwards = line(R[:, ::-1], tasks=("face2face", "deepfakes"))
    backwards = Matrix("rsia_net", {"M1": "deepfakes", "M2": "face2face"}, backwards.benchmarks, backwards.cells)
    np.testing.assert_array_equal(backwards.square(), R)
    assert backwards.summary("M2")["forgetting"].value == pytest.approx(0.2)


def test_a_benchmark_that_is_no_task_has_cells_but_does_not_enter_the_metrics() -> None:
    R = np.array([[0.9, 0.5, 0.5], [0.7, 0.9, 0.6], [0.6, 0.8, 0.95]])
    assert line(R, extra=("wild",)).summary("M3") == line(R).summary("M3")
    assert line(R, extra=("wild",)).cell("M1", "wild")["auc"].value == 0.1


def test_after_one_task_what_needs_two_is_null_with_a_reason_and_the_rest_is_known() -> None:
    summary = line(np.array([[0.9, 0.5, 0.6]])).summary("M1")
    assert summary["average_auc"].value == summary["plasticity"].value == 0.9
    for name in ("forgetting", "forgetting_mammoth", "bwt", "bwt_all", "fwt", "anti_forgetting"):
        assert summary[name] == Estimate.undefined("only one task has been learned"), name


def test_a_summary_is_of_the_line_as_it_stood_then() -> None:
    R = np.array([[0.9, 0.5, 0.5], [0.7, 0.9, 0.6], [0.6, 0.8, 0.95]])
    assert line(R).summary("M2") == line(R[:2]).summary("M2")
    assert line(R).summary("M3")["forgetting"].value == pytest.approx((0.3 + 0.1) / 2)
    assert line(R).summary("M3")["fwt"].value == pytest.approx((0.0 + 0.1) / 2)


def test_a_generation_born_before_a_benchmark_has_a_null_cell_with_a_reason() -> None:
    matrix = line(np.array([[0.9]]))
    matrix = matrix.with_row("M2", "face2face", {"deepfakes": cell(0.8), "face2face": cell(0.9)})
    absent = matrix.as_json()["cells"]["M1"]["face2face"]["auc"]
    assert absent == {"value": None, "low": None, "high": None, "reason": "'M1' was not examined on 'face2face'"}
    summary = matrix.summary("M2")
    assert summary["fwt"].value is None and "1 of the 1 scores" in (summary["fwt"].reason or "")
    assert summary["forgetting"].value == pytest.approx(0.1)


def test_a_teacher_examined_later_fills_its_null_cells_and_no_others() -> None:
    matrix = line(np.array([[0.9]])).with_cells("M1", {"face2face": cell(0.6), "deepfakes": cell(0.1)})
    matrix = matrix.with_row("M2", "face2face", {"deepfakes": cell(0.8), "face2face": cell(0.9)})
    assert matrix.cell("M1", "deepfakes")["auc"].value == 0.9
    assert matrix.summary("M2")["fwt"].value == pytest.approx(0.1)


def test_what_is_written_is_read_back_in_birth_order_and_gives_the_same_bytes(tmp_path: Path) -> None:
    matrix = line(np.array([[0.9, 0.5], [0.7, 0.8]]), tasks=("zeta", "alpha"), extra=("wild",))
    matrix.write(tmp_path)
    first = (tmp_path / "matrix.json").read_bytes()
    again = Matrix.read(tmp_path)
    assert (again.generations, again.benchmarks) == (("M1", "M2"), ("zeta", "alpha", "wild"))
    assert again == matrix
    again.write(tmp_path)
    assert (tmp_path / "matrix.json").read_bytes() == first
    assert json.loads(first)["summary"]["M2"]["forgetting"]["value"] == pytest.approx(0.2)


def test_what_is_written_of_a_generation_is_what_was_known_when_it_was_born(tmp_path: Path) -> None:
    matrix = line(np.array([[0.9, 0.5, 0.4], [0.7, 0.8, 0.5], [0.6, 0.6, 0.9]]))
    matrix.write(tmp_path)
    written = json.loads((tmp_path / "matrix.json").read_text())
    assert list(written["summary"]) == ["M1", "M2", "M3"]
    for name, summary in written["summary"].items():
        assert summary == {m: {"value": e.value, "reason": e.reason} for m, e in matrix.summary(name).items()}
    averages = [written["summary"][name]["average_auc"]["value"] for name in ("M1", "M2", "M3")]
    assert averages == pytest.approx([0.9, 0.75, 0.7])


def test_reading_a_matrix_where_none_is_names_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(BrokenLineage, match=r"dvc repro judge@M7"):
        Matrix.read(tmp_path / "M7")


def test_a_generation_cannot_have_two_rows() -> None:
    with pytest.raises(BrokenLineage, match="'M1' already has a row"):
        line(np.array([[0.9]])).with_row("M1", "face2face", {})


def test_a_task_nobody_was_examined_on_makes_its_metrics_null() -> None:
    matrix = Matrix.empty("x").with_row("M1", "a", {}).with_row("M2", "b", {"b": cell(0.9)})
    summary = matrix.summary("M2")
    assert summary["forgetting"].value is None and summary["forgetting"].reason
    assert summary["fwt"].value is None
