"""The loop: killed at any step and taken up again, it ends with the same bytes as if left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from components import detectors, machine, strategies
from components.detectors import Detector
from components.faces.table import FaceTable, encode
from components.generations import training
from components.generations.schedule import learning_rate
from components.generations.training import Lesson, Progress
from components.params import Section, TrainingOptions
from components.progress import OnStep
from components.strategies import Strategy
from components.tasks.dataset import Batch, Faces
from components.tasks.loading import Draw

OPTIONS = TrainingOptions(
    batch=8, faces_per_clip=2, learning_rate=0.01, step_epochs=1, augment={"flip": 0.5, "brightness_contrast": 1}
)
EPOCHS = 2

Bytes = dict[str, Tensor]
Make = Callable[..., Path]


class PowerCut(Exception):
    """The machine went dark."""


def pinhole(seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return detectors.build("pinhole", detectors.options("pinhole", {}))


@pytest.fixture
def task(faces: Make) -> Faces:
    return Faces.training_split("mesh", FaceTable.load(faces("mesh", side_px=24)))


@pytest.fixture
def replay(faces: Make) -> Faces:
    memory = Faces.whole("swap", FaceTable.load(faces("swap", clips=2, per_clip=2, side_px=24)))
    return replace(memory, born=np.ones((len(memory), 2), np.float32))


def no_cut(progress: Progress, epochs: int, steps: int) -> None:
    pass


def cut_after(step: int) -> OnStep:
    """The power fails after so many steps in all."""
    done = 0

    def watch(progress: Progress, epochs: int, steps: int) -> None:
        nonlocal done
        done += 1
        if done == step:
            raise PowerCut

    return watch


def raised(
    task: Faces, replay: Faces | None, checkpoint: Path, on_step: OnStep = no_cut, options: TrainingOptions = OPTIONS
) -> tuple[Bytes, Progress]:
    """A student as it is after training, and how it went; with a memory, a teacher stands beside it."""
    machine.deterministic(1)
    teacher = pinhole(1) if replay else None
    strategy = strategies.build("cffd", strategies.options("cffd", {}))
    student = pinhole(0)
    progress = training.train(
        Lesson(student, teacher, strategy, task, replay, options, epochs=EPOCHS, seed=3),
        checkpoint=checkpoint,
        on_step=on_step,
    )
    return student.state_dict(), progress


def same(one: Bytes, other: Bytes) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("every_s", [0.0, 1e9], ids=["checkpoint every step", "checkpoint every epoch"])
def test_a_run_cut_after_any_step_ends_with_the_same_bytes(
    task: Faces, replay: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_s: float
) -> None:
    whole, told = raised(task, replay, tmp_path / "whole.pt")
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", every_s)
    steps = told.images // OPTIONS.batch
    assert steps == 5 * EPOCHS
    for step in range(1, steps + 1):
        checkpoint = tmp_path / f"{step}.pt"
        with pytest.raises(PowerCut):
            raised(task, replay, checkpoint, cut_after(step))
        weights, progress = raised(task, replay, checkpoint)
        assert same(weights, whole), f"cut after step {step}"
        assert progress == told, f"cut after step {step}"


def test_a_run_cut_again_and_again_still_arrives(
    task: Faces, replay: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, told = raised(task, replay, tmp_path / "whole.pt")
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    cuts = 0
    while True:
        try:
            weights, progress = raised(task, replay, tmp_path / "cut.pt", cut_after(3))
            break
        except PowerCut:
            cuts += 1
    assert cuts >= 4 and same(weights, whole) and progress == told


def test_a_finished_run_is_not_run_again(task: Faces, tmp_path: Path) -> None:
    whole, told = raised(task, None, tmp_path / "c.pt")
    weights, progress = raised(task, None, tmp_path / "c.pt", cut_after(1))
    assert same(weights, whole) and progress == told


def test_a_checkpoint_is_read_without_trusting_it(task: Faces, tmp_path: Path) -> None:
    raised(task, None, tmp_path / "deep" / "c.pt")
    state = torch.load(tmp_path / "deep" / "c.pt", weights_only=True)
    assert set(state) == {"learner", "optimiser", "progress", "keeping"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["c.pt"]  # no half-written file beside it


def test_a_checkpoint_that_cannot_be_read_is_kept_aside_and_said(
    task: Faces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = raised(task, None, tmp_path / "M1" / "c.pt")
    (tmp_path / "M1" / "c.pt").write_bytes(b"half a checkpoint")
    weights, _ = raised(task, None, tmp_path / "M1" / "c.pt")
    assert same(weights, whole)
    assert (tmp_path / "M1.unreadable" / "c.pt").read_bytes() == b"half a checkpoint"
    assert "NOTE: the training begins anew" in capsys.readouterr().out


def test_the_curve_has_the_mean_of_every_term_a_row_an_epoch(task: Faces, replay: Faces, tmp_path: Path) -> None:
    said: list[dict[str, float]] = []

    def listen(progress: Progress, epochs: int, steps: int) -> None:
        assert epochs == EPOCHS and progress.step <= steps
        if progress.step == steps:
            said.append(progress.means())

    _, progress = raised(task, replay, tmp_path / "c.pt", listen)
    assert [row["epoch"] for row in progress.rows] == [1, 2]
    terms = ["cross_entropy", "spread", "hscl", "slkd", "mfkd", "rkd"]
    assert list(progress.rows[0]) == ["epoch", *terms, "loss", "images"]
    for row, means in zip(progress.rows, said, strict=True):
        assert {name: row[name] for name in means} == means
        total = sum(value for name, value in means.items() if name != "loss")
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    assert progress.rows[-1]["images"] == progress.images


def met(
    name: str,
    task: Faces,
    memory: Faces | None,
    folder: Path,
    options: TrainingOptions = OPTIONS,
    epochs: int = 1,
    seed: int = 0,
) -> list[Batch]:
    """The batches of one epoch or several, as a strategy meets them."""
    batches: list[Batch] = []

    class Listening(strategies.find(name)):
        def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> dict[str, Tensor]:
            batches.append(batch)
            return super().losses(student, teacher, batch)

    training.train(
        Lesson(
            pinhole(), None, Listening(strategies.options(name, {})), task, memory, options, epochs=epochs, seed=seed
        ),
        checkpoint=folder / f"{name}-{memory is None}-{seed}.pt",
        on_step=no_cut,
    )
    return batches


@pytest.mark.parametrize(("options", "replayed"), [(OPTIONS, 4), (OPTIONS.model_copy(update={"replayed": 0.75}), 6)])
def test_half_of_every_batch_is_remembered_unless_said_otherwise(
    task: Faces, replay: Faces, tmp_path: Path, options: TrainingOptions, replayed: int
) -> None:
    for memory in (replay, None):
        batches = met("er", task, memory, tmp_path, options)
        assert all(len(batch.labels) == 8 and batch.labels.sum() == 4 for batch in batches)
        assert {int(batch.replayed.sum()) for batch in batches} == ({replayed} if memory else {0})


def test_the_student_learns_in_training_mode_at_every_step_and_the_teacher_in_eval_mode_at_none(
    task: Faces, replay: Faces, tmp_path: Path
) -> None:
    student, teacher, modes = pinhole(0), pinhole(1), []

    class Listening(strategies.find("cffd")):
        def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> dict[str, Tensor]:
            modes.append([{part.training for part in network.modules()} for network in (student, teacher)])
            return super().losses(student, teacher, batch)

    listening = Listening(strategies.options("cffd", {}))
    progress = training.train(
        Lesson(student.eval(), teacher.train(), listening, task, replay, OPTIONS, epochs=EPOCHS, seed=3),
        checkpoint=tmp_path / "c.pt",
        on_step=no_cut,
    )
    steps = progress.images // OPTIONS.batch
    assert modes == [[{True}, {False}]] * steps
    assert student.state_dict()["fine.1.num_batches_tracked"] == steps  # batch statistics learn beside the weights
    assert teacher.state_dict()["fine.1.num_batches_tracked"] == 0


def test_every_step_of_every_epoch_augments_by_draws_of_its_own(task: Faces, tmp_path: Path) -> None:
    grey = encode(np.full((24, 24, 3), 128, np.uint8))  # no face differs from another but by what was done to it
    alike = FaceTable.write(tmp_path / "grey", task.table.rows, [grey] * len(task.table), task.table.profile)
    options = OPTIONS.model_copy(update={"augment": {"brightness_contrast": 1}})
    batches = [
        batch
        for seed in (0, 1)
        for batch in met("finetune", Faces.whole("mesh", alike), None, tmp_path, options, 2, seed)
    ]
    draws = {tuple(batch.faces.mean(dim=(1, 2, 3)).tolist()) for batch in batches}
    assert len(draws) == len(batches) == 2 * 2 * 3
    assert all(len(set(draw)) == options.batch for draw in draws)


@pytest.mark.parametrize("schedule", ["cosine_cycles", "constant", "steps"])
def test_the_learning_rate_follows_its_schedule_at_every_step_within_an_epoch(
    task: Faces, tmp_path: Path, schedule: str
) -> None:
    options = OPTIONS.model_copy(
        update={"schedule": schedule, "warmup_epochs": 1.0, "cycle_epochs": 2.0, "gamma": 0.5, "weight_decay": 0.0}
    )
    student, places, expected = pinhole(0), [], []

    class Slope(strategies.find("finetune")):
        """Falls by the same at every step, so that Adam goes as far as the learning rate says."""

        def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> dict[str, Tensor]:
            return {"slope": student.head.bias.sum()}

    def note(progress: Progress, epochs: int, steps: int) -> None:
        places.append(student.head.bias.detach().clone())
        expected.append(learning_rate(options, progress.epoch + (progress.step - 1) / steps))

    before = student.head.bias.detach().clone()
    training.train(
        Lesson(student, None, Slope(strategies.options("finetune", {})), task, None, options, epochs=2, seed=0),
        checkpoint=tmp_path / "c.pt",
        on_step=note,
    )
    went = torch.stack([before, *places]).diff(dim=0).neg()
    torch.testing.assert_close(went, torch.tensor(expected)[:, None].expand_as(went), rtol=1e-3, atol=1e-7)
    assert len(set(expected)) == {"cosine_cycles": len(expected), "constant": 1, "steps": 2}[schedule]


@pytest.fixture
def two_tasks(faces: Make, tmp_path: Path) -> Faces:
    """A memory of every face of two tasks."""
    tables = [FaceTable.load(faces(task, side_px=24)) for task in ("swap", "mask")]
    rows = pd.concat([table.rows for table in tables], ignore_index=True)
    encoded = [face for table in tables for face in table.encoded(np.arange(len(table)))]
    return Faces.whole("memory", FaceTable.write(tmp_path / "both", rows, encoded, tables[0].profile))


def jointly(task: Faces, memory: Faces | None, options: TrainingOptions) -> Lesson:
    strategy = strategies.build("joint", strategies.options("joint", {}))
    return Lesson(pinhole(), None, strategy, task, memory, options, epochs=1, seed=0)


def drawn(lesson: Lesson) -> list[Draw]:
    return list(training.Epochs(lesson).draws(Progress()))


def test_joint_training_meets_every_task_alike(task: Faces, two_tasks: Faces, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"batch": 12})
    batches = met("joint", task, two_tasks, tmp_path, options)
    assert all(len(batch.labels) == 12 and batch.labels.sum() == 6 for batch in batches)
    assert {int(batch.replayed.sum()) for batch in batches} == {8}
    archives = two_tasks.rows["archive"].to_numpy()
    for draw in drawn(jointly(task, two_tasks, options)):
        assert len(draw.new) == 4
        assert np.unique(archives[draw.old], return_counts=True)[1].tolist() == [4, 4]


def test_joint_training_sees_every_new_face_that_was_drawn(task: Faces, two_tasks: Faces) -> None:
    alone = [draw.new for draw in drawn(jointly(task, None, OPTIONS))]
    beside = [draw.new for draw in drawn(jointly(task, two_tasks, OPTIONS))]
    assert len(beside) > 2 * len(alone)
    assert len(set(np.concatenate(beside))) == len(set(np.concatenate(alone)))


@pytest.mark.parametrize(
    ("replayed", "batch", "new"), [(0.5, 8, 4), (0.5, 9, 4), (0.25, 8, 6), (0.9, 20, 2), (0.99, 8, 1)]
)
def test_how_much_of_a_batch_is_new(two_tasks: Faces, replayed: float, batch: int, new: int) -> None:
    options = OPTIONS.model_copy(update={"batch": batch, "replayed": replayed})
    assert training._new_faces(two_tasks, options, alike=False) == new
    assert training._new_faces(None, options, alike=False) == batch


@pytest.mark.parametrize(("batch", "new"), [(8, 2), (32, 10), (4, 2)])
def test_how_much_of_a_batch_is_new_where_tasks_share_it_alike(two_tasks: Faces, batch: int, new: int) -> None:
    options = OPTIONS.model_copy(update={"batch": batch, "replayed": 0.9})
    assert training._new_faces(two_tasks, options, alike=True) == new
    assert training._new_faces(None, options, alike=True) == batch


@pytest.mark.parametrize("name", strategies.names())
def test_a_run_of_any_strategy_that_was_cut_ends_with_the_same_bytes(
    name: str, task: Faces, replay: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    machine.deterministic(1)
    quick = {"passes": 1, "most_steps": 2} if name == "hdu" else {}
    founder, first = pinhole(1), strategies.build(name, strategies.options(name, quick))
    first.prepare(founder, None, replay, {})
    carried = first.carry_over(founder, replay)

    def raised(checkpoint: Path, on_step: OnStep = no_cut) -> tuple[Bytes, Bytes]:
        strategy, student = strategies.build(name, strategies.options(name, quick)), pinhole(0)
        training.train(
            Lesson(student, pinhole(1), strategy, task, replay, OPTIONS, epochs=1, seed=3, carried=carried),
            checkpoint=checkpoint,
            on_step=on_step,
        )
        return student.state_dict(), strategy.carry_over(student, task, replay)

    whole = raised(tmp_path / "whole.pt")
    with pytest.raises(PowerCut):
        raised(tmp_path / "cut.pt", cut_after(3))
    torch.manual_seed(99)  # the process that takes it up knows nothing of the first one's luck
    again = raised(tmp_path / "cut.pt")
    assert same(again[0], whole[0]) and same(again[1], whole[1])


def test_weights_of_a_strategy_s_own_learn_beside_the_student(task: Faces, tmp_path: Path) -> None:
    strategy = strategies.build("sur_lid", strategies.options("sur_lid", {}))
    strategy.prepare(pinhole(0), None, task, {})
    before = {name: weight.clone() for name, weight in strategy.learnable().state_dict().items()}
    lesson = Lesson(pinhole(0), None, strategy, task, None, OPTIONS, epochs=1, seed=3)
    training.train(lesson, checkpoint=tmp_path / "c.pt", on_step=no_cut)
    after = strategy.learnable().state_dict()
    assert torch.equal(after["tasks"], before["tasks"])
    assert not torch.equal(after["weight"], before["weight"]) and not torch.equal(after["bias"], before["bias"])


def test_a_strategy_is_told_after_every_step_how_much_is_done(task: Faces, tmp_path: Path) -> None:
    told: list[float] = []

    class Watching(Strategy):
        def after_step(self, done: float) -> None:
            told.append(done)

    lesson = Lesson(pinhole(0), None, Watching(Section()), task, None, OPTIONS, epochs=EPOCHS, seed=3)
    progress = training.train(lesson, checkpoint=tmp_path / "c.pt", on_step=no_cut)
    steps = progress.images // OPTIONS.batch
    np.testing.assert_allclose(told, np.arange(1, steps + 1) / steps)


def test_another_seed_is_another_run(task: Faces, tmp_path: Path) -> None:
    runs = []
    for seed in (0, 0, 1):
        student = pinhole()
        strategy = strategies.build("finetune", strategies.options("finetune", {}))
        training.train(
            Lesson(student, None, strategy, task, None, OPTIONS, epochs=1, seed=seed),
            checkpoint=tmp_path / f"{len(runs)}.pt",
            on_step=no_cut,
        )
        runs.append(student.state_dict())
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


def test_what_is_frozen_stays_and_the_rest_learns(task: Faces, tmp_path: Path) -> None:
    before = pinhole(0).state_dict()
    after, _ = raised(task, None, tmp_path / "c.pt")
    assert torch.equal(before["colours.weight"], after["colours.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_seeds_of_a_step_do_not_meet_those_of_another() -> None:
    seeds: list[Any] = [training._mixed(*parts) for parts in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0), (0, 10, 1)]]
    assert len(set(seeds)) == 5 and all(0 <= seed < 2**62 for seed in seeds)
