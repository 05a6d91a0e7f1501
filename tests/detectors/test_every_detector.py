"""What every detector of the catalogue promises, at its tiny size."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from components import detectors, machine, strategies
from components.detectors import Detector
from components.errors import BadParams, MissingWeights, UnknownName
from components.evaluation import explain
from components.faces.table import FaceTable, encode
from components.generations import training
from components.generations.schedule import learning_rate
from components.generations.training import Lesson
from components.params import TrainingOptions, parse
from components.tasks.augmentations import KNOWN
from components.tasks.dataset import Batch, Faces
from components.vocabulary import FORGED, TRAIN

METHODS = ("swap", "mesh", "mask")


def tiny(name: str, seed: int = 0, *, blank: bool = False, met: int = 0) -> Detector:
    """The detector, about to learn its `met`-th forgery method where it has met some."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        detector = detectors.build(name, detectors.options(name, {"size": "tiny"}), blank=blank)
        for task in range(1, met + 1):
            detector.begin_task(METHODS[:task])
        return detector


def some_faces(n: int, side_px: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, side_px, side_px, generator=torch.Generator().manual_seed(seed))


def paid(detector: Detector, faces: Tensor, labels: list[int]) -> dict[str, Tensor]:
    return detector.losses(detector(faces), Batch.of(faces, torch.tensor(labels)))


def of_methods(methods: list[int], side_px: int = 96) -> Batch:
    """Faces of these methods, 0 being genuine; on a forged one a square is grey, on each method's another square."""
    faces, numbers = some_faces(len(methods), side_px), torch.tensor(methods)
    for face, method in zip(faces, methods, strict=True):
        if method:
            face[:, 30:60, 10 * method : 10 * method + 30] = 0.5
    return Batch.of(faces, (numbers > 0).long(), numbers)


def step(detector: Detector, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """The cross entropy before a step on everything the paper asks for."""
    terms = detector.losses(detector(batch.faces), batch)
    optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    detector.before_step()
    optimizer.step()
    return terms["cross_entropy"].item()


def adam(detector: Detector, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], lr)


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@cache
def _taught(name: str) -> Detector:
    detector, batch = tiny(name, met=2), of_methods([0, 1, 0, 2, 0, 1, 0, 2])
    optimizer = adam(detector)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(24):
            step(detector, batch, optimizer)
    return detector.eval()


@pytest.fixture
def taught() -> Callable[[str], Detector]:
    """`taught(name)`: in evaluation mode, after a few steps on the faces of `of_methods`; each caller's own."""
    return lambda name: copy.deepcopy(_taught(name))


every_detector = pytest.mark.parametrize("name", detectors.names())


@every_detector
@pytest.mark.parametrize("side_px", [72, 128])
def test_finds_something_in_faces_of_any_size(name: str, side_px: int) -> None:
    detection = tiny(name)(some_faces(3, side_px))
    assert detection.logits.shape == (3, 2)
    assert detection.embedding.shape[0] == 3 and detection.embedding.dim() == 2
    assert detection.levels and all(level.shape[0] == 3 and level.dim() == 4 for level in detection.levels)
    for maps in detection.domains.values():
        assert all(level.shape[0] == 3 and level.dim() == 4 for level in maps)


@every_detector
def test_levels_run_from_fine_to_coarse(name: str) -> None:
    areas = [level.shape[2] * level.shape[3] for level in tiny(name)(some_faces(2, 96)).levels]
    assert areas == sorted(areas, reverse=True)


@every_detector
@pytest.mark.parametrize("met", [0, 2])
def test_the_loss_reaches_every_trainable_parameter_and_no_frozen_one(name: str, met: int) -> None:
    detector = tiny(name, met=met)
    batch = of_methods([0, 1, 0, max(met, 1), 1, 0])
    terms = detector.losses(detector(batch.faces), batch)
    assert "cross_entropy" in terms and all(term.shape == () for term in terms.values())
    sum(terms.values(), torch.zeros(())).backward()
    reached = {n for n, p in detector.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {n for n, p in detector.named_parameters() if p.requires_grad}


@every_detector
def test_a_step_moves_parameters_that_train_and_no_others(name: str) -> None:
    strategy = strategies.build("finetune", strategies.options("finetune", {}))
    detector, batch = tiny(name, met=1), of_methods([0, 1, 0, 1])
    before = {n: p.detach().clone() for n, p in detector.named_parameters()}
    strategy.prepare(detector, None, None, {})
    optimizer = adam(detector)
    torch.stack(list(strategy.losses(detector, None, batch).values())).sum().backward()
    detector.before_step()
    optimizer.step()
    moved = {n for n, p in detector.named_parameters() if not torch.equal(p, before[n])}
    assert moved and moved <= {n for n, p in detector.named_parameters() if p.requires_grad}


@every_detector
@pytest.mark.parametrize("labels", [[0], [1], [0, 0, 0], [1, 1], [0, 1]])
def test_learns_from_one_sample_and_from_one_class(name: str, labels: list[int]) -> None:
    detector = tiny(name)
    terms = paid(detector, some_faces(len(labels), 96), labels)
    sum(terms.values(), torch.zeros(())).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad.isfinite().all() for p in detector.parameters() if p.grad is not None)


@every_detector
@pytest.mark.parametrize("methods", [[0], [2], [0, 0], [3, 3, 3], [1, 2, 3], [0, 3], [0, 1, 2, 3]])
def test_learns_whatever_methods_a_batch_holds(name: str, methods: list[int]) -> None:
    detector, batch = tiny(name, met=3), of_methods(methods)
    optimizer = adam(detector)
    for _ in range(2):
        assert np.isfinite(step(detector, batch, optimizer))
    assert all(value.isfinite().all() for value in detector.state_dict().values())


@every_detector
@pytest.mark.parametrize("known", [[True] * 4, [True, True, False, False], [False] * 4])
def test_masks_that_nobody_knows_do_no_harm(name: str, known: list[bool]) -> None:
    detector, batch = tiny(name, met=1), of_methods([0, 1, 0, 1])
    masks = (batch.faces.mean(1, keepdim=True) == 0.5).float()
    masks[~torch.tensor(known)] = torch.nan
    terms = detector.losses(detector(batch.faces), replace(batch, masks=masks))
    sum(terms.values(), torch.zeros(())).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad.isfinite().all() for p in detector.parameters() if p.grad is not None)


@every_detector
def test_a_face_is_judged_alike_whatever_stands_beside_it(name: str) -> None:
    detector, faces = tiny(name).eval(), some_faces(5, 96)
    order = torch.tensor([3, 0, 4, 2, 1])
    with torch.no_grad():
        together, shuffled, alone = detector(faces).logits, detector(faces[order]).logits, detector(faces[:1]).logits
    torch.testing.assert_close(shuffled, together[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone, together[:1], rtol=1e-4, atol=1e-5)


@every_detector
def test_saved_weights_answer_exactly_as_before(name: str, tmp_path: Path) -> None:
    detector, faces = tiny(name), some_faces(4, 96)
    detector(faces)  # moves the running statistics away from their start
    save_file(detector.state_dict(), tmp_path / "weights.safetensors")
    again = tiny(name, seed=1)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(again.eval()(faces).logits, detector.eval()(faces).logits)


@every_detector
def test_a_grown_network_is_taken_up_by_one_without_weights(name: str, tmp_path: Path, taught) -> None:
    detector, faces = taught(name), some_faces(4, 96)
    save_file(detector.state_dict(), tmp_path / "weights.safetensors")
    again = tiny(name, seed=1, blank=True)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(again.eval()(faces).logits, detector(faces).logits)


@every_detector
def test_a_student_learns_on_and_is_taken_up_in_turn(name: str, taught) -> None:
    student = tiny(name, seed=1, blank=True)
    student.load_state_dict(taught(name).state_dict())
    student.begin_task(METHODS)
    batch = of_methods([0, 3, 0, 3, 0, 1])
    optimizer = adam(student)
    assert all(np.isfinite(step(student.train(), batch, optimizer)) for _ in range(2))
    again = tiny(name, seed=2, blank=True)
    again.load_state_dict(student.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(batch.faces).logits, student.eval()(batch.faces).logits)


@every_detector
def test_a_killed_run_finds_the_network_its_checkpoint_is_of(name: str) -> None:
    """It begins the task a second time, then loads what it had become."""
    interrupted, resumed = (tiny(name, met=1) for _ in range(2))
    batch = of_methods([0, 1, 2, 0])
    interrupted.begin_task(METHODS[:2])
    torch.rand(3)  # the resumed process stands elsewhere in torch's stream
    resumed.begin_task(METHODS[:2])
    assert alike(interrupted.state_dict(), resumed.state_dict())
    step(interrupted, batch, adam(interrupted))
    resumed.load_state_dict(interrupted.state_dict())
    with torch.no_grad():
        assert torch.equal(resumed.eval()(batch.faces).logits, interrupted.eval()(batch.faces).logits)


@every_detector
def test_beginning_another_task_changes_no_answer(name: str, taught) -> None:
    detector, faces = taught(name), some_faces(4, 96)
    with torch.no_grad():
        before = detector(faces).logits
        detector.begin_task(METHODS)
        assert torch.equal(detector(faces).logits, before)


@every_detector
def test_the_same_seed_gives_the_same_step(name: str) -> None:
    def step() -> dict[str, Tensor]:
        torch.manual_seed(3)
        detector = tiny(name)
        optimizer = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], 1e-3)
        terms = paid(detector, some_faces(4, 96), [0, 1, 0, 1])
        sum(terms.values(), torch.zeros(())).backward()
        optimizer.step()
        return detector.state_dict()

    first, second = step(), step()
    assert all(torch.equal(first[key], second[key]) for key in first)


@every_detector
def test_half_precision_agrees_with_full(name: str) -> None:
    detector, faces = tiny(name).eval(), some_faces(4, 96)
    with torch.no_grad():
        full = detector(faces)
        with torch.autocast("cpu", torch.bfloat16):
            half = detector(faces)
            terms = detector.losses(half, Batch.of(faces, torch.tensor([0, 1, 0, 1])))
    assert (half.logits.float().softmax(1) - full.logits.softmax(1)).abs().max() < 0.02
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


@every_detector
def test_half_precision_tells_apart_what_full_precision_does(name: str, taught) -> None:
    detector, batch = taught(name), of_methods([0, 1, 0, 2, 0, 1, 0, 2])
    with torch.no_grad():
        full = detector(batch.faces).logits.softmax(1)[:, FORGED]
        with torch.autocast("cpu", torch.bfloat16):
            half = detector(batch.faces).logits.float().softmax(1)[:, FORGED]
    assert (half - full).abs().max() < 0.1
    forged = batch.labels == FORGED
    assert full[forged].min() > full[~forged].max() and half[forged].min() > half[~forged].max()


@every_detector
def test_learns_in_half_precision(name: str) -> None:
    detector, batch = tiny(name, met=2), of_methods([0, 1, 0, 2])
    with torch.autocast("cpu", torch.bfloat16):
        terms = detector.losses(detector(batch.faces), batch)
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    reached = {n for n, p in detector.named_parameters() if p.grad is not None and p.grad.isfinite().all()}
    assert reached == {n for n, p in detector.named_parameters() if p.requires_grad}


@every_detector
def test_compiles_in_one_piece_and_answers_alike(name: str, taught) -> None:
    detector, faces = taught(name), some_faces(4, 96)
    torch._dynamo.reset()
    compiled = torch.compile(
        detector, backend="aot_eager", fullgraph=True
    )  # fullgraph raises where a graph would break
    with torch.no_grad():
        torch.testing.assert_close(compiled(faces).logits, detector(faces).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@every_detector
def test_learns_alike_when_compiled(name: str, taught) -> None:
    batch = of_methods([0, 1, 0, 2])
    torch._dynamo.reset()
    grown = []
    for compiled in (False, True):
        detector = taught(name).train()
        seen = torch.compile(detector, backend="aot_eager", fullgraph=True) if compiled else detector
        torch.manual_seed(0)
        terms = detector.losses(seen(batch.faces), batch)
        torch.stack(list(terms.values())).sum().backward()
        grown.append({n: p.grad for n, p in detector.named_parameters() if p.grad is not None})
    plain, from_graph = grown
    assert plain.keys() == from_graph.keys()
    for n, slope in plain.items():
        torch.testing.assert_close(from_graph[n], slope, rtol=1e-3, atol=1e-4, msg=lambda words, n=n: f"{n}: {words}")


@every_detector
def test_heat_maps_show_where_a_taught_detector_looked(name: str, taught) -> None:
    detector, batch = taught(name), of_methods([0, 1, 0, 2, 0, 1, 0, 2])
    heat = explain.heat_maps(detector, batch.faces)
    assert heat.shape == (8, 96, 96) and heat.isfinite().all() and heat.min() >= 0 and heat.max() <= 1
    assert heat[batch.labels == FORGED].amax(dim=(1, 2)).any()


@every_detector
def test_a_few_steps_on_a_few_faces_lower_the_loss(name: str) -> None:
    detector, faces, labels = tiny(name), some_faces(8, 96), torch.tensor([0, 1] * 4)
    faces[labels == 1, :, 30:60, 30:60] = 0.5
    rate = max(1e-3, detectors.paper_training(name, detectors.options(name, {"size": "tiny"})).get("learning_rate", 0))
    optimizer = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], rate)
    losses = []
    for _ in range(24):
        loss = detector.losses(detector(faces), Batch.of(faces, labels))["cross_entropy"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@every_detector
@pytest.mark.parametrize("side_px", [96, 128])
def test_looking_changes_neither_the_detector_nor_the_faces(name: str, side_px: int) -> None:
    detector, faces = tiny(name).eval(), some_faces(3, side_px)
    before, shown = copy.deepcopy(detector.state_dict()), faces.clone()
    with torch.no_grad():
        detector(faces)
    assert alike(before, detector.state_dict()) and torch.equal(faces, shown)


@every_detector
def test_the_paper_is_the_default(name: str) -> None:
    assert detectors.options(name, {}) == detectors.options(name, {"size": "paper"})


@every_detector
@pytest.mark.parametrize("said", [{"size": "tiny"}, {}, {"pretrained": ""}], ids=["tiny", "paper", "random"])
def test_resolved_options_give_themselves_again(name: str, said: dict[str, str]) -> None:
    resolved = detectors.options(name, said)
    assert detectors.options(name, resolved.model_dump(mode="json")) == resolved


@every_detector
def test_a_network_about_to_be_loaded_looks_for_no_weights(name: str) -> None:
    chosen = detectors.options(name, {"size": "tiny", "pretrained": "/nowhere/weights.safetensors"})
    assert detectors.build(name, chosen, blank=True).training
    with pytest.raises((MissingWeights, BadParams), match=r"/nowhere/weights\.safetensors"):
        detectors.build(name, chosen)


@every_detector
@pytest.mark.parametrize("size", ["paper", "tiny"])
def test_the_recipe_can_be_followed_to_the_end(name: str, size: str) -> None:
    recipe = detectors.paper_training(name, detectors.options(name, {"size": size}))
    followed = parse(TrainingOptions, recipe, f"the recipe of {name}")
    assert set(followed.augment) <= set(KNOWN) and followed.batch % 2 == 0
    steps = [quarter / 4 for quarter in range(4 * max(followed.founder_epochs, followed.epochs))]
    rates = [learning_rate(followed, epochs) for epochs in steps]
    assert min(rates) > 0 and max(rates) <= followed.learning_rate


@every_detector
def test_a_run_that_follows_the_recipe_ends_with_the_same_bytes_twice(
    name: str, tmp_path: Path, torch_as_it_was: None
) -> None:
    rows = pd.DataFrame({"label": [0, 1] * 4, "clip": [f"{i}.mp4" for i in range(8)], "source": list("aabbccdd")})
    rows = rows.assign(archive="swap", frame=0, identity="", split=TRAIN, score=1.0, method=["genuine", "swap"] * 4)
    rows = rows.assign(landmarks=[[0.0] * 10] * 8, box=[[0.0] * 4] * 8)
    images = np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), dtype=np.uint8)
    table = FaceTable.write(tmp_path / "faces", rows, [encode(image) for image in images], {"size_px": 96})
    task = Faces.training_split("swap", table)
    followed = TrainingOptions(
        **{**detectors.paper_training(name, detectors.options(name, {"size": "tiny"})), "batch": 4}
    )
    finetune = strategies.build("finetune", strategies.options("finetune", {}))
    machine.deterministic(1)

    def run(place: str) -> dict[str, Tensor]:
        detector = tiny(name)
        progress = training.train(
            Lesson(detector, None, finetune, task, None, followed, epochs=1, seed=0),
            checkpoint=tmp_path / place,
            on_step=lambda *_: None,
        )
        assert all(np.isfinite(value) for row in progress.rows for value in row.values())
        return detector.state_dict()

    assert alike(run("first.pt"), run("second.pt"))


@every_detector
def test_an_unknown_option_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(BadParams, match=f"detectors.{name}"):
        detectors.options(name, {"sise": "tiny"})


def test_an_unknown_detector_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'rsia_net'"):
        detectors.options("rsia_ned", {})
