"""What a training ends as: its last weights, their average, or those of the epoch that answered best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components import machine, strategies
from components.detectors import Detector
from components.errors import BadArchive
from components.faces.table import FaceTable
from components.generations import keeping, training
from components.generations.evolve import foretold
from components.generations.training import Lesson, Progress
from components.params import MemoryOptions, Params, TrainingOptions, parse
from components.progress import OnStep
from components.tasks.dataset import Faces
from tests.generations.test_training import Bytes, Make, PowerCut, cut_after, pinhole

OPTIONS = TrainingOptions(batch=8, faces_per_clip=2, learning_rate=0.01, step_epochs=1, augment={"flip": 0.5})


@pytest.fixture
def task(faces: Make) -> Faces:
    machine.deterministic(1)
    return Faces.training_split("mesh", FaceTable.load(faces("mesh", side_px=24)))


def raised(
    task: Faces, checkpoint: Path, on_step: OnStep = lambda *_: None, *, epochs: int = 2, **options: Any
) -> tuple[Bytes, Progress]:
    """A student as it is after its lesson; it is examined on what it learned."""
    student = pinhole()
    lesson = Lesson(
        student, None, strategies.build("finetune", strategies.options("finetune", {})), task, None,
        OPTIONS.model_copy(update=options), epochs=epochs, seed=3, validation=task,
    )  # fmt: skip
    progress = training.train(lesson, checkpoint=checkpoint, on_step=on_step)
    return {name: value.clone() for name, value in student.state_dict().items()}, progress


def test_the_average_weighs_every_step_and_where_it_began(
    task: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)  # one after every step, whose weights are read here
    path, seen = tmp_path / "c.pt", []

    def read(progress: Progress, epochs: int, steps: int) -> None:
        if path.is_file():
            seen.append(torch.load(path, weights_only=True)["learner"])

    kept, _ = raised(task, path, read, average=0.75)
    seen.append(torch.load(path, weights_only=True)["learner"])
    first = pinhole().state_dict()
    assert len(seen) == 6
    for name in ("head.weight", "fine.1.running_mean"):
        expected = first[name]
        for weights in seen:
            expected = 0.75 * expected + 0.25 * weights[f"student.{name}"]
        torch.testing.assert_close(kept[name], expected)
        assert not torch.allclose(kept[name], seen[-1][f"student.{name}"])


@pytest.mark.parametrize(
    "options", [{"average": 0.9}, {"average": 0.9, "patience": 3}, {"average": 0.5, "augment": {}}]
)
def test_a_run_cut_after_any_step_ends_with_the_same_bytes(
    task: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    whole, _ = raised(task, tmp_path / "whole.pt", **options)
    for step in range(1, 7):
        checkpoint = tmp_path / f"{step}.pt"
        with pytest.raises(PowerCut):
            raised(task, checkpoint, cut_after(step), **options)
        again, _ = raised(task, checkpoint, **options)
        assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_the_best_epoch_is_kept_and_training_ends_when_patience_does(
    task: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, at_end = iter([0.6, 0.9, 0.8, 0.9, 0.7, 1.0]), []

    def answered(student: Detector, faces: Faces) -> float:
        at_end.append({name: value.clone() for name, value in student.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(keeping, "auc", answered)
    kept, progress = raised(task, tmp_path / "c.pt", epochs=6, patience=2)
    assert [row["validation_auc"] for row in progress.rows] == [0.6, 0.9, 0.8, 0.9]
    assert all(torch.equal(kept[name], at_end[1][name]) for name in kept)


def test_with_an_average_the_average_is_asked(task: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Bytes] = []

    def answered(student: Detector, faces: Faces) -> float:
        asked.append({name: value.clone() for name, value in student.state_dict().items()})
        return 0.5 + 0.1 * len(asked)

    monkeypatch.setattr(keeping, "auc", answered)
    by_epochs, _ = raised(task, tmp_path / "a.pt", average=0.9, patience=5)
    plainly, _ = raised(task, tmp_path / "b.pt", average=0.9)
    for name in ("head.weight", "fine.1.running_var"):
        assert torch.equal(by_epochs[name], asked[-1][name]) and torch.equal(by_epochs[name], plainly[name])


def test_the_area_under_the_curve_is_that_of_the_students_answers(task: Faces) -> None:
    student = pinhole().eval()
    p_forged = student(task.batch(np.arange(len(task))).faces).logits.softmax(1)[:, 1].detach().numpy()
    forged, genuine = (p_forged[task.labels == label] for label in (1, 0))
    wins = (forged[:, None] > genuine).mean() + 0.5 * (forged[:, None] == genuine).mean()
    assert keeping.auc(student.train(), task) == pytest.approx(wins, abs=1e-6)
    assert student.training


def test_patience_without_a_validation_split_is_refused_in_words(task: Faces, tmp_path: Path) -> None:
    student = pinhole()
    plain = strategies.build("finetune", strategies.options("finetune", {}))
    lesson = Lesson(student, None, plain, task, None, OPTIONS.model_copy(update={"patience": 1}), epochs=1, seed=0)
    with pytest.raises(BadArchive, match=r"training\.patience tells the best epoch, found none"):
        training.train(lesson, checkpoint=tmp_path / "c.pt", on_step=lambda *_: None)


@pytest.mark.parametrize("steps", [2, 3, 7])
def test_an_heirs_epoch_can_have_as_many_steps_as_are_asked_for(task: Faces, steps: int) -> None:
    def draws(teacher: Detector | None = None, **options: Any) -> list[np.ndarray]:
        strategy = strategies.build("finetune", strategies.options("finetune", {}))
        lesson = Lesson(pinhole(), teacher, strategy, task, None, OPTIONS.model_copy(update=options), epochs=2, seed=3)
        return [draw.new for draw in training.Epochs(lesson).draws(Progress())]

    one_pass, asked = draws(), draws(pinhole(1), epoch_steps=steps)
    assert len(draws(epoch_steps=steps)) == len(one_pass), "a founder's epoch is one pass"
    assert len(one_pass) == 6 and len(asked) == 2 * steps
    shared = min(3, steps)
    assert all(np.array_equal(mine, its) for mine, its in zip(asked[:shared], one_pass[:shared], strict=True))
    if steps == 7:
        assert not np.array_equal(asked[0], asked[3])  # the next pass has draws of its own


def test_tasks_share_a_batch_alike_for_whoever_asks(task: Faces, faces: Make) -> None:
    memory = Faces.whole("memory", FaceTable.load(faces("swap", clips=4, per_clip=2, side_px=24)))
    lesson = Lesson(
        pinhole(), pinhole(1), strategies.build("er", strategies.options("er", {})), task, memory,
        OPTIONS.model_copy(update={"batch": 12, "replayed": 0.75, "alike": True}), epochs=1, seed=3,
    )  # fmt: skip
    assert {len(draw.new) for draw in training.Epochs(lesson).draws(Progress())} == {6}
    apart = replace(lesson, options=lesson.options.model_copy(update={"alike": False}), keeps=MemoryOptions())
    assert {len(draw.new) for draw in training.Epochs(apart).draws(Progress())} == {3}


def test_a_gate_that_will_probably_stay_closed_is_foretold_by_the_best_epoch() -> None:
    gate = parse(Params, {"gate": [{"rule": "absolute", "min_auc": 0.8}, {"rule": "infra"}]}, "params.yaml").gate
    rows = [
        {"epoch": 1.0, "validation_auc": 0.61},
        {"epoch": 2.0, "validation_auc": 0.72},
        {"epoch": 3.0, "validation_auc": 0.7},
    ]
    words = foretold(gate, rows)
    assert "was 0.720 at best, after 2 of 3 epochs, and 0.800 is asked of clips" in words
    assert foretold(gate[1:], rows) == foretold(gate, [{"epoch": 1.0}]) == ""
    assert foretold(gate, [*rows, {"epoch": 4.0, "validation_auc": 0.8}]) == ""
