"""What every strategy of the catalogue promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from components import strategies
from components.detectors import Detector
from components.errors import BadParams, UnknownName
from components.generations.generation import save_tensors
from components.params import MemoryPolicy
from components.strategies import Strategy
from components.tasks.dataset import Batch, Faces

Make = Callable[..., Any]

every_strategy = pytest.mark.parametrize("name", strategies.names())


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def learn(strategy: Strategy, student: Detector, teacher: Detector | None, batches: list[Batch]) -> list[float]:
    """One step a batch; returns the loss before each."""
    optimiser = torch.optim.Adam(student.parameters(), lr=0.01)
    losses = []
    for batch in batches:
        total = torch.stack(list(strategy.losses(student, teacher, batch).values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(total.item())
    return losses


def test_the_catalogue_is_whole() -> None:
    assert set(strategies.names()) >= {
        "finetune", "joint", "lwf", "ewc", "er", "icarl", "cored", "hdu", "dfil", "cffd", "derpp", "sur_lid"
    }  # fmt: skip


@every_strategy
def test_a_founder_learns_without_a_teacher(name: str, built: Make, pinhole: Make, batch: Make, task: Faces) -> None:
    strategy, student = built(name), pinhole(0)
    strategy.prepare(student, None, task, {})
    terms = strategy.losses(student, None, batch(old=0))
    assert "cross_entropy" in terms
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    assert all(isinstance(tensor, Tensor) for tensor in strategy.carry_over(student, task).values())


@every_strategy
def test_the_teacher_is_the_same_to_the_last_bit_after_teaching(
    name: str, built: Make, taught: Make, pinhole: Make, batch: Make, task: Faces, faces_of: Make
) -> None:
    strategy, student, teacher = built(name), pinhole(0), taught(name, task)
    before, start = copied(teacher.state_dict()), copied(student.state_dict())
    assert "fine.1.running_mean" in before
    strategy.prepare(student, teacher, faces_of("mesh"), teacher.carried)
    learn(strategy, student, teacher, [batch(seed=step) for step in range(3)])
    strategy.carry_over(student, faces_of("mesh"), task)
    assert same(teacher.state_dict(), before)
    assert not any(part.training for part in teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert any(not torch.equal(tensor, start[key]) for key, tensor in student.state_dict().items())


@every_strategy
@pytest.mark.parametrize("has_teacher", [False, True], ids=["founder", "student"])
def test_the_loss_falls_on_a_toy_task(
    name: str, has_teacher: bool, built: Make, taught: Make, pinhole: Make, batch: Make, task: Faces
) -> None:
    strategy, student = built(name), pinhole(0)
    teacher = taught(name, task) if has_teacher else None
    strategy.prepare(student, teacher, task, teacher.carried if teacher else {})
    losses = learn(strategy, student, teacher, [batch(old=4 * has_teacher)] * 30)
    assert losses[-1] < 0.8 * losses[0]


@every_strategy
def test_every_term_reaches_the_student(
    name: str, built: Make, taught: Make, pinhole: Make, batch: Make, task: Faces
) -> None:
    strategy, teacher, student = built(name), taught(name, task), pinhole(0)
    strategy.prepare(student, teacher, task, teacher.carried)
    for term in strategy.losses(student, teacher, batch()):
        student.zero_grad()
        strategy.losses(student, teacher, batch())[term].backward()
        assert any(p.grad is not None and p.grad.any() for p in student.parameters()), term


@every_strategy
def test_it_declares_every_term_it_adds_and_each_goes_alone_where_its_weight_is_zero(
    name: str, built: Make, taught: Make, two_domains: Make, batch: Make, task: Faces
) -> None:
    teacher = taught(name, task, two_domains(1))

    def losses(**said: float) -> dict[str, Tensor]:
        strategy, student = built(name, **said), two_domains(0)
        strategy.prepare(student, teacher, task, teacher.carried)
        torch.manual_seed(0)
        return dict(strategy.losses(student, teacher, batch()))

    declared, whole = strategies.find(name).terms, losses()
    own = set(Strategy(strategies.options("finetune", {})).losses(two_domains(0), None, batch()))
    assert set(whole) - own == set(declared)
    assert len(set(declared.values())) == len(declared), "every term has a weight of its own"
    for term, weight in declared.items():
        without = losses(**{weight: 0.0})
        assert whole[term] != 0 and without.pop(term, 0) == 0, term
        assert same(without, {key: value for key, value in whole.items() if key != term}), term


@every_strategy
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(("new", "old"), [(4, 0), (3, 1), (2, 2)])
def test_a_batch_of_one_class_and_few_replayed_faces_gives_finite_terms_and_gradients(
    name: str, label: int, new: int, old: int, built: Make, taught: Make, pinhole: Make, batch: Make, task: Faces
) -> None:
    strategy, teacher, student = built(name), taught(name, task), pinhole(0)
    strategy.prepare(student, teacher, task, teacher.carried)
    given = batch(new=new, old=old)
    only = torch.full_like(given.labels, label)
    terms = strategy.losses(student, teacher, replace(given, labels=only, methods=only))
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())


@every_strategy
def test_every_term_is_a_single_precision_scalar_even_where_networks_run_in_half(
    name: str, built: Make, taught: Make, pinhole: Make, batch: Make, task: Faces
) -> None:
    strategy, teacher, student = built(name), taught(name, task), pinhole(0)
    strategy.prepare(student, teacher, task, teacher.carried)
    with torch.autocast("cpu", torch.bfloat16):
        terms = strategy.losses(student, teacher, batch())
    own = {"cross_entropy", "spread"}  # the toy detector's, which takes no care
    assert all(term.dtype == torch.float32 and term.shape == () for key, term in terms.items() if key not in own)


@every_strategy
def test_what_it_carries_over_survives_the_disk_and_is_handed_on(
    name: str, built: Make, taught: Make, pinhole: Make, batch: Make, faces_of: Make, tmp_path: Path
) -> None:
    first, second = faces_of("swap"), faces_of("mesh")
    teacher, student, strategy = taught(name, first), pinhole(0), built(name)
    save_tensors(teacher.carried, tmp_path / "carry_over.safetensors")
    handed = load_file(tmp_path / "carry_over.safetensors")
    assert same(handed, teacher.carried)
    strategy.prepare(student, teacher, second, handed)
    learn(strategy, student, teacher, [batch()])
    assert set(handed) <= set(strategy.carry_over(student, second, first))


@every_strategy
def test_to_carry_over_changes_nothing_in_the_student(
    name: str, built: Make, pinhole: Make, task: Faces, faces_of: Make
) -> None:
    strategy, student = built(name), pinhole(0)
    before = copied(student.state_dict())
    strategy.prepare(student, None, task, {})
    strategy.carry_over(student, task, faces_of("mesh"))
    assert same(student.state_dict(), before)
    assert all(part.training for part in student.modules())
    assert all(p.grad is None and p.requires_grad for p in student.parameters())


@every_strategy
def test_before_and_after_the_lessons_nothing_is_left_to_luck(
    name: str, built: Make, taught: Make, pinhole: Make, task: Faces
) -> None:
    teacher, wills = taught(name, task), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        luck = torch.get_rng_state()
        strategy, student = built(name), pinhole(0)
        strategy.prepare(student, teacher, task, teacher.carried)
        wills.append(strategy.carry_over(student, task))
        assert torch.equal(torch.get_rng_state(), luck)
    assert same(*wills)


@every_strategy
def test_who_answers_for_a_generation_says_something_about_every_face(
    name: str, taught: Make, batch: Make, task: Faces
) -> None:
    detector, faces = taught(name, task), batch().faces
    answering = strategies.find(name).classifier(detector, detector.carried)
    found = answering(faces)
    assert found.logits.shape == (8, 2) and found.logits.isfinite().all()
    assert torch.equal(found.embedding, detector(faces).embedding)
    assert not answering.training and (answering is detector) == (name not in {"icarl", "sur_lid"})


@every_strategy
def test_what_it_remembers_is_a_policy(name: str) -> None:
    assert strategies.find(name).remembers in get_args(MemoryPolicy)


def test_each_paper_has_its_own_memory() -> None:
    of_papers = {
        "finetune": "nothing",
        "joint": "everything",
        "lwf": "nothing",
        "ewc": "nothing",
        "er": "reservoir",
        "icarl": "herding",
        "cored": "nothing",
        "hdu": "nothing",
        "dfil": "entropy_and_mean",
        "cffd": "hybrid",
        "derpp": "reservoir",
        "sur_lid": "sparse_uniform",
    }
    assert {name: strategies.find(name).remembers for name in of_papers} == of_papers


@every_strategy
def test_its_file_says_what_it_is(name: str) -> None:
    assert strategies.find(name).__doc__


@every_strategy
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(BadParams, match=rf"strategies.{name} cannot be followed:\n  distil: unknown key; known: \w+"):
        strategies.options(name, {"distil": 1})


def test_a_misspelt_strategy_is_shown_the_nearest_known_one() -> None:
    with pytest.raises(UnknownName, match=r"no strategy 'cfd'; known: .*finetune.*\. Did you mean 'cffd'\?"):
        strategies.options("cfd", {})


def test_an_option_out_of_bounds_is_named_with_what_was_found() -> None:
    with pytest.raises(BadParams, match=r"(?s)strategies.cffd.*temperature: .*greater than 0; found 0") as caught:
        strategies.options("cffd", {"temperature": 0, "soft_label": -1})
    assert "soft_label" in str(caught.value)
