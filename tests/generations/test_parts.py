"""A batch that passes through a network in pieces: the same gradients, less at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from components import detectors, machine, strategies
from components.detectors import Detection, Detector
from components.errors import StageFailed
from components.faces.table import FaceTable
from components.generations import training
from components.generations.parts import in_parts
from components.generations.training import Lesson
from components.params import TrainingOptions
from components.tasks.dataset import Batch, Faces
from tests.generations.test_training import Make

ENGINE = machine.fabric("32-true")
LNCLIP = {"size": "tiny", "pretrained": ""}


def built(name: str, options: dict[str, Any]) -> Detector:
    torch.manual_seed(0)
    return detectors.build(name, detectors.options(name, options))


def batch(count: int, side_px: int = 96) -> Batch:
    faces = torch.rand(count, 3, side_px, side_px, generator=torch.Generator().manual_seed(1))
    return Batch.of(faces, torch.arange(count) % 2)


def gradients(detector: Detector, seen: Batch, strategy: str = "cffd") -> dict[str, Tensor]:
    torch.manual_seed(5)
    method = strategies.build(strategy, strategies.options(strategy, {}))
    terms = method.losses(detector, None, seen)
    torch.stack(list(terms.values())).sum().backward()
    return {name: p.grad.clone() for name, p in detector.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("size", [1, 3, 4, 6, 99])
def test_the_gradients_in_pieces_are_those_of_the_whole_batch(size: int) -> None:
    whole = gradients(built("lnclip", LNCLIP), batch(6))
    student = built("lnclip", LNCLIP)
    with in_parts(student, ENGINE, micro_batch=size):
        pieces = gradients(student, batch(6))
    assert whole.keys() == pieces.keys() and len(whole) > 10
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-4, atol=1e-6)


def test_activations_of_one_piece_at_a_time_are_kept() -> None:
    def kept(size: int | None) -> int:
        held = 0

        def count(values: Tensor) -> Tensor:
            nonlocal held
            held += values.numel()
            return values

        student = built("lnclip", LNCLIP)
        with in_parts(student, ENGINE, micro_batch=size), torch.autograd.graph.saved_tensors_hooks(count, lambda v: v):
            student(batch(6).faces)
        return held

    assert kept(1) < kept(None) / 10


def test_batch_statistics_count_every_face_once() -> None:
    one, other = built("rsia_net", {"size": "tiny"}), built("rsia_net", {"size": "tiny"})
    with in_parts(one, ENGINE, micro_batch=4):
        gradients(one, batch(8))
    with torch.no_grad():
        other(batch(8).faces[:4])
        other(batch(8).faces[4:])
    for name, value in other.named_buffers():
        torch.testing.assert_close(dict(one.named_buffers())[name], value)
    assert {norm.momentum for norm in one.modules() if isinstance(norm, torch.nn.BatchNorm2d)} == {0.1}


def test_afterwards_the_network_is_as_it_was() -> None:
    student = built("lnclip", LNCLIP)
    before, names = student.forward, list(student.state_dict())
    with in_parts(student, ENGINE, micro_batch=2):
        assert student.forward != before and list(student.state_dict()) == names
    assert student.forward == before


def test_findings_are_joined_in_order_with_every_level_and_domain() -> None:
    student = built("rsia_net", {"size": "tiny"}).eval()
    faces = batch(5).faces
    with torch.no_grad():
        whole, joined = student(faces), Detection.joined([student(faces[:2]), student(faces[2:])])
    torch.testing.assert_close(joined.logits, whole.logits)
    assert [level.shape for level in joined.levels] == [level.shape for level in whole.levels]
    assert {name: len(levels) for name, levels in joined.domains.items()} == {"spatial": 4, "frequency": 4}
    torch.testing.assert_close(joined.domains["frequency"][1], whole.domains["frequency"][1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler
def test_a_compiled_network_learns_the_same() -> None:
    whole = gradients(built("pinhole", {}).eval(), batch(4))
    student = built("pinhole", {}).eval()
    with in_parts(student, ENGINE, compiled="default"):
        compiled = gradients(student, batch(4))
    assert whole.keys() == compiled.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(compiled[name], gradient, rtol=1e-3, atol=1e-5)


def lesson(task: Faces, student: Detector, options: TrainingOptions) -> Lesson:
    finetune = strategies.build("finetune", strategies.options("finetune", {}))
    return Lesson(student, None, finetune, task, None, options, epochs=1, seed=0)


def test_a_training_in_pieces_ends_where_one_of_whole_batches_ends(faces: Make, tmp_path: Path) -> None:
    task, ends = Faces.training_split("mesh", FaceTable.load(faces("mesh"))), []
    for size in (None, 3):
        student = built("lnclip", LNCLIP)
        options = TrainingOptions(batch=8, learning_rate=1e-3, faces_per_clip=2, micro_batch=size)
        training.train(lesson(task, student, options), checkpoint=tmp_path / f"{size}.pt", on_step=lambda *_: None)
        ends.append(student.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5)


def test_memory_that_is_too_small_is_told_with_the_piece_that_may_fit(faces: Make, tmp_path: Path) -> None:
    task, student = Faces.training_split("mesh", FaceTable.load(faces("mesh"))), built("pinhole", {})

    def full(faces: Tensor) -> Detection:
        raise torch.OutOfMemoryError("CUDA out of memory")

    student.forward = full
    with pytest.raises(StageFailed, match=r"24 of the 24 faces.*training\.micro_batch to 12"):
        training.train(
            lesson(task, student, TrainingOptions(batch=24)), checkpoint=tmp_path / "c.pt", on_step=lambda *_: None
        )
