"""Strategies against the golden vectors: what they add to a loss, and what they hand down, is what the formulas say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from scipy.special import softmax
from torch import Tensor, nn

from components import strategies
from components.detectors import Detection, Detector
from components.losses import isolation, perturbations, prototypes
from components.strategies import Strategy
from components.tasks.dataset import Batch, task_number

Arrays = dict[str, np.ndarray]
Golden = Callable[[str], Arrays]
See = Callable[[Tensor], Tensor]


@dataclass
class Stored:
    """A task, or a memory, whose faces are given as tensors."""

    faces: Tensor
    truth: Tensor
    name: str = "task"

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def labels(self) -> np.ndarray:
        return self.truth.numpy()

    def batch(self, chosen: np.ndarray) -> Batch:
        return Batch.of(self.faces[chosen], self.truth[chosen])


class Formula(Detector):
    """A detector whose answers and maps are given functions of its faces; it has no losses of its own."""

    input_px = 1

    def __init__(self, answers: See, levels: Callable[[Tensor], tuple[Tensor, ...]], **weights: Tensor) -> None:
        super().__init__()
        self.answers, self.levels = answers, levels
        for name, value in (weights or {"idle": torch.zeros(1)}).items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, faces: Tensor) -> Detection:
        levels = self.levels(faces)
        embedding = levels[-1].mean((2, 3)) if levels[-1].dim() == 4 else levels[-1]
        return Detection(self.answers(faces), embedding, levels)

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        return {"cross_entropy": detection.logits.new_zeros(())}


def tensor(values: np.ndarray, *, learn: bool = False) -> Tensor:
    return torch.from_numpy(np.array(values)).requires_grad_(learn)


def close(found: Tensor, expected: ArrayLike, *, atol: float = 1e-10, rtol: float = 0.0) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=rtol, atol=atol)


def cases(file: Arrays, suffix: str) -> list[str]:
    found = sorted(name.removesuffix(suffix) for name in file if name.endswith(suffix))
    assert found, f"no array named *{suffix}"
    return found


def numbered(file: Arrays, prefix: str) -> list[int]:
    """The n of all arrays `prefix<n>`."""
    found = sorted(int(name.removeprefix(prefix)) for name in file if name.removeprefix(prefix).isdigit())
    assert found, f"no array named {prefix}*"
    return found


def built(name: str, **options: float) -> Strategy:
    return strategies.build(name, strategies.options(name, options))


def spoken(logits: Tensor, *maps: Tensor) -> Formula:
    """A detector that says these logits and sees these maps (its faces, unless they are given), whatever it is shown."""
    return Formula(lambda faces: logits, lambda faces: maps or (faces,))


def batch(count: int, labels: Tensor | None = None, *, replayed: bool = False) -> Batch:
    """Faces (count, 2, 1, 1), which serve as maps as they are."""
    faces = torch.rand(count, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(count, dtype=torch.long) if labels is None else labels
    return Batch(faces, labels, labels, torch.full((count,), replayed))


# -- EWC -----------------------------------------------------------------------------------------------------------------

WEIGHTS = ("w1", "b1", "w2", "b2")


def perceptron(file: Arrays, prefix: str) -> Formula:
    network = Formula(lambda x: x, lambda x: (x,), **{name: tensor(file[f"{prefix}_{name}"]) for name in WEIGHTS})
    network.answers = lambda x: torch.tanh(x @ network.w1.T + network.b1) @ network.w2.T + network.b2
    return network


def whole(task: Stored) -> int:
    """What EWC must be allowed to look at for no face to be left out, however many there are of a label."""
    return len(task) * max(2, len(set(task.labels)))


def test_ewc_hands_down_the_decayed_sum_of_the_fisher_information(golden: Golden) -> None:
    file = golden("18_ewc")
    task = Stored(tensor(file["x"]), tensor(file["y"]))
    handed = {f"fisher.{name}": tensor(file[f"online_before_{name}"]) for name in WEIGHTS}
    for before, expected in (({}, "fisher"), (handed, "online_after")):
        ewc, student = built("ewc", decay=float(file["gamma"]), faces=whole(task)), perceptron(file, "star")
        ewc.prepare(student, None, task, before)
        carried = ewc.carry_over(student, task)
        assert len(carried) == len(WEIGHTS)
        for name in WEIGHTS:
            close(carried[f"fisher.{name}"], file[f"{expected}_{name}"], atol=1e-12)


@pytest.mark.parametrize("kinds", [(0, 1, 2), (3,), (4, 2), (0, 1, 2, 3, 4), (0,) * 9 + (1,), (1,) * 7 + (0, 2, 2)])
def test_the_fisher_information_is_of_every_face_whatever_its_label(golden: Golden, kinds: tuple[int, ...]) -> None:
    """The logits are z = W2 h + b2: d CE / d b2 = p - y, and with respect to W2 its product with h = tanh(W1 x + b1)."""
    file = golden("18_ewc")
    wide = np.random.default_rng(0).normal(size=(5, len(file["star_b1"])))  # a head of five classes
    x, y = file["x"], np.resize(kinds, len(file["x"]))
    task = Stored(tensor(x), tensor(y.astype(np.int64)))
    student = perceptron({**file, "star_w2": wide, "star_b2": np.zeros(5)}, "star")
    ewc = built("ewc", faces=whole(task))
    ewc.prepare(student, None, task, {})
    carried = ewc.carry_over(student, task)
    hidden = np.tanh(x @ file["star_w1"].T + file["star_b1"])
    answers = softmax(hidden @ wide.T, axis=1)
    slopes = (answers - np.eye(5)[y]) ** 2
    close(carried["fisher.b2"], slopes.mean(axis=0), atol=1e-12)
    close(carried["fisher.w2"], slopes.T @ hidden**2 / len(x), atol=1e-12)


def test_the_ewc_term_and_its_gradient_are_the_formula_s(golden: Golden) -> None:
    file = golden("18_ewc")
    ewc = built("ewc", strength=float(file["lam"]))
    student, teacher = perceptron(file, "new"), perceptron(file, "star").requires_grad_(False)
    task = Stored(tensor(file["x"]), tensor(file["y"]))
    ewc.prepare(student, teacher, task, {f"fisher.{name}": tensor(file[f"fisher_{name}"]) for name in WEIGHTS})
    term = ewc.losses(student, teacher, task.batch(np.arange(len(task))))["ewc"]
    term.backward()
    close(term, file["penalty"], atol=0, rtol=1e-9)
    for name in WEIGHTS:
        grad = student.get_parameter(name).grad
        assert grad is not None
        close(grad, file[f"grad_penalty_{name}"], rtol=1e-9)


# -- distillation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "term", "replayed"), [("lwf", "soft_label", False), ("cffd", "slkd", True)])
def test_distilled_answers_and_their_gradient(golden: Golden, name: str, term: str, replayed: bool) -> None:
    file = golden("19_distillation_kl")
    for case in cases(file, "_kl"):
        student, teacher = tensor(file[f"{case}_student"], learn=True), tensor(file[f"{case}_teacher"])
        strategy = built(name, temperature=float(file[f"{case}_tau"]))
        found = strategy.losses(spoken(student), spoken(teacher), batch(len(student), replayed=replayed))[term]
        found.backward()
        close(found, file[f"{case}_loss"], rtol=1e-9)
        assert student.grad is not None
        close(student.grad, file[f"{case}_grad_student"])


@pytest.mark.parametrize("name", ["cored", "dfil"])
def test_the_mixture_of_teacher_and_truth(golden: Golden, name: str) -> None:
    file = golden("22_distillation_cored_dfil")
    for case in cases(file, "_clean_total"):
        student, teacher = tensor(file[f"{case}_student"], learn=True), tensor(file[f"{case}_teacher"])
        given = batch(len(student), tensor(file[f"{case}_labels"]))
        strategy = built(name, temperature=float(file[f"{case}_tau"]), alpha=float(file[f"{case}_alpha"]))
        pupil, master = spoken(student), spoken(teacher)
        strategy.prepare(pupil, master, Stored(given.faces, given.labels), {})
        found = strategy.losses(pupil, master, given)["knowledge"]
        found.backward()
        close(found, file[f"{case}_clean_total"])
        assert student.grad is not None
        close(student.grad, file[f"{case}_grad_student"])


def seeing(file: Arrays, role: str, *names: str) -> Formula:
    maps = [tensor(file[f"{name}_{role}"]) for name in names]
    return spoken(torch.zeros(len(maps[0]), 2, dtype=torch.float64), *maps)


def test_dfil_s_feature_term_is_a_hundredth_of_the_mean_square(golden: Golden) -> None:
    file = golden("22_distillation_cored_dfil")
    student, teacher = (seeing(file, role, "feature") for role in ("student", "teacher"))
    found = built("dfil").losses(student, teacher, batch(len(file["feature_student"])))["feature"]
    close(found, 0.01 * file["feature_loss_mse"])


def test_cffd_s_levels(golden: Golden) -> None:
    file = golden("22_distillation_cored_dfil")
    levels = [case for case in cases(file, "_student") if case.startswith("level")]
    student, teacher = (seeing(file, role, *levels) for role in ("student", "teacher"))
    cffd = built("cffd", features=1)
    found = cffd.losses(student, teacher, batch(len(file[f"{levels[0]}_student"]), replayed=True))["mfkd"]
    close(found, file["levels_loss"])


# -- iCaRL ---------------------------------------------------------------------------------------------------------------


def test_class_means_and_the_nearest_of_them(golden: Golden) -> None:
    file = golden("21_nearest_mean")
    classes = numbered(file, "features_")
    means = torch.stack(
        [prototypes.prototype(tensor(file[f"features_{c}"]), tensor(file[f"features_flipped_{c}"])) for c in classes]
    )
    close(means, file["class_mean"])
    logits = prototypes.nearest_mean(tensor(file["query_features"]), means, torch.tensor(classes))
    close((-logits).sqrt(), file["distance"])
    assert logits.argmax(dim=1).tolist() == file["prediction"].tolist()


def test_the_nearest_prototype_of_any_task_speaks_for_its_class(golden: Golden) -> None:
    file = golden("21_nearest_mean")
    logits = prototypes.nearest_mean(
        tensor(file["query_features"]), tensor(file["prototype"]), tensor(file["prototype_class"])
    )
    close(-logits, file["min_sq_distance"])
    close(logits.softmax(dim=1)[:, 1], file["prob_fake"])


def test_icarl_hands_down_the_means_and_answers_by_them(golden: Golden) -> None:
    file = golden("21_nearest_mean")
    projection = tensor(file["projection"])
    images = [tensor(file[f"exemplars_{c}"]) for c in (0, 1)]
    task = Stored(torch.cat(images), torch.tensor([c for c in (0, 1) for _ in images[c]]))
    student = Formula(lambda x: x.new_zeros(len(x), 2), lambda x: (torch.tanh(x.flatten(1) @ projection),))
    icarl = built("icarl", batch=4)
    icarl.prepare(student, None, task, {})
    carried = icarl.carry_over(student, task)
    for c in (0, 1):
        close(carried[f"prototype.{c}.task"], file["class_mean"][c])
    answer = icarl.classifier(student, carried)(tensor(file["query_images"])).logits
    close((-answer).sqrt(), file["distance"][:, :2])
    ours = {f"prototype.{c}.task{t}": tensor(p) for c, t, p in _prototypes(file)}
    close(icarl.classifier(student, ours)(tensor(file["query_images"])).logits.softmax(1)[:, 1], file["prob_fake"])


def _prototypes(file: Arrays) -> list[tuple[int, int, np.ndarray]]:
    return list(zip(file["prototype_class"].tolist(), file["prototype_task"].tolist(), file["prototype"], strict=True))


# -- DER++: numbers of our own, derived here ------------------------------------------------------------------------------

BORN = np.array([[np.nan, np.nan], [2.0, -1.0], [0.5, 0.5], [np.nan, np.nan], [-3.0, 4.0]])


def test_der_s_terms_and_their_gradient_are_the_formula_s() -> None:
    """With p = softmax(z) of the old faces: d/dz = 2 alpha (z - h) / (2 n) where h is known, and beta (p - y) / m."""
    z = np.array([[1.0, 0.0], [0.25, -0.5], [0.5, 1.5], [2.0, 1.0], [-1.0, 3.0]])
    y = np.array([0, 0, 1, 1, 0])
    old = np.array([False, True, True, True, True])  # the fourth was kept before births were written down
    student = tensor(z, learn=True)
    faces, labels = torch.rand(5, 2, 1, 1, dtype=torch.float64), tensor(y)
    given = Batch(faces, labels, labels, tensor(old), born=tensor(BORN))
    found = built("derpp", alpha=0.3, beta=0.7).losses(spoken(student), None, given)
    known = [1, 2, 4]
    square = ((z - BORN)[known] ** 2).mean()
    close(found["dark"], 0.3 * square, atol=1e-12)
    close(found["dark"], 0.3 * (1.75**2 + 0.5**2 + 0 + 1 + 4 + 1) / 6, atol=1e-12)
    p = softmax(z, axis=1)
    close(found["replayed"], -0.7 * np.log(p[np.arange(5), y])[old].mean(), atol=1e-12)
    (found["dark"] + found["replayed"]).backward()
    slope = 0.7 * (p - np.eye(2)[y]) * old[:, None] / 4
    slope[known] += 0.3 * 2 * (z - BORN)[known] / 6
    assert student.grad is not None
    close(student.grad, slope, atol=1e-12)


# -- SUR-LID: numbers of our own, derived here ----------------------------------------------------------------------------


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def test_heads_turn_to_the_one_they_are_least_like() -> None:
    """Three heads in a plane, at 0, 30 and 90 degrees for either class: the farthest of the first two is the last, of the
    last the first."""
    angles, lengths = np.radians([0, 30, 90]), np.array([2.0, 0.5, 3.0])
    heads = (
        np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]
        * np.array([1.0, -1.0])[:, None]
        * lengths[:, None, None]
    )
    share = np.array([0.1, 0.2, 0.3])
    found = isolation.turned(tensor(heads), tensor(share)).numpy()
    for t, j in enumerate((2, 2, 0)):
        blend = (1 - share[t]) * unit(heads[t]) + share[t] * unit(heads[j])
        np.testing.assert_allclose(found[t], lengths[t] * unit(blend), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), lengths[:, None] * np.ones(2), atol=1e-12)
    np.testing.assert_array_equal(isolation.turned(tensor(heads[:1]), tensor(share[:1])), heads[:1])


def test_features_refill_the_room_between_them() -> None:
    features = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 4.0], [2.0, 2.0], [8.0, 0.0]])
    groups, keep = torch.tensor([7, 3, 7, 7, 3]), np.array([1.0, 0.5, 0.0, 0.25, 1.0])
    drawn = isolation.towards_centre(tensor(features), groups, tensor(keep))
    np.testing.assert_allclose(
        drawn, [[1, 0], [2, 0.75], [1, 2], [1.25, 2], [8, 0]], atol=1e-12
    )  # centres (1, 2), (4, .5)
    between = isolation.midpoints(tensor(features), groups)
    np.testing.assert_allclose(between, [[0.5, 2], [4, 0.5], [1, 3], [1.5, 1], [4, 0.5]], atol=1e-12)
    alone = isolation.midpoints(tensor(features[:1]), groups[:1])
    np.testing.assert_array_equal(alone, features[:1])


def test_sur_lid_s_terms_are_the_formulas() -> None:
    generator = np.random.default_rng(0)
    e, t = generator.normal(size=(8, 3)), generator.normal(size=(8, 3))
    w, b = generator.normal(size=(2, 2, 3)), generator.normal(size=(2, 2))
    names, of_task = ("one", "two"), np.array([0, 0, 0, 0, 0, 0, 1, 1])  # six remembered faces, two new ones
    y, old = np.array([0, 1, 0, 1, 0, 1, 0, 1]), np.arange(8) < 6
    carried = {
        "heads.weight": tensor(w[:1]),
        "heads.bias": tensor(b[:1]),
        "heads.tasks": torch.tensor([task_number("one")]),
    }
    numbers = torch.tensor([task_number(names[i]) for i in of_task])
    faces = torch.zeros(8, 1, 1, 1, dtype=torch.float64)
    given = Batch(faces, tensor(y), tensor(y), tensor(old), tasks=numbers)
    says = torch.zeros(8, 2, dtype=torch.float64)
    student, teacher = spoken(says, tensor(e)), spoken(says[:6], tensor(t[:6]))
    sur_lid = built("sur_lid", refill=False, temperature=3.0)
    sur_lid.prepare(student, teacher, Stored(faces, tensor(y), "two"), carried)
    sur_lid.learnable().load_state_dict({"weight": tensor(w), "bias": tensor(b), "tasks": numbers[[0, 6]]})
    found = sur_lid.losses(student, teacher, given)
    z = np.stack([e[i] @ w[task].T + b[task] for i, task in enumerate(of_task)])
    truth = -np.log(softmax(z, axis=1))[np.arange(8), y]
    close(found["decision"], truth.mean())
    close(found["feature"], 10 * ((unit(e) - unit(t))[:6] ** 2).mean())
    p, q = softmax((t[:6] @ w[0].T + b[0]) / 3, axis=1), softmax(z[:6] / 3, axis=1)
    close(found["knowledge"], 0.3 * 9 * (p * np.log(p / q)).sum(1).mean() + 0.7 * truth[:6].mean())
    alike, group, pulls = np.exp(unit(e) @ unit(e).T / 0.1), 2 * of_task + y, []
    for i in range(6):  # the two new ones are alone in their groups
        others = [j for j in range(8) if j != i]
        friends = [j for j in others if group[j] == group[i]]
        pulls.append(-np.mean([np.log(alike[i, j] / alike[i, others].sum()) for j in friends]))
    close(found["isolation"], 4 * 0.1 * np.mean(pulls))
    carried = sur_lid.carry_over(student, Stored(faces, tensor(y), "two"))
    seen = spoken(says, tensor(e))
    close(sur_lid.classifier(seen, carried)(faces).logits, np.mean([e @ w[k].T + b[k] for k in (0, 1)], axis=0))


def test_sur_lid_s_newest_head_turns_fastest_and_none_before_its_time() -> None:
    heads = unit(np.random.default_rng(1).normal(size=(4, 2, 3)))
    carried = {"heads.weight": tensor(heads), "heads.bias": torch.zeros(4, 2), "heads.tasks": torch.arange(4)}
    student = spoken(torch.zeros(1, 2), torch.zeros(1, 3))
    sur_lid = built("sur_lid")
    carried["heads.tasks"][3] = task_number("four")
    sur_lid.prepare(student, None, Stored(torch.zeros(1, 1), torch.tensor([0]), "four"), carried)
    sur_lid.after_step(0.1)
    close(sur_lid.carry_over(student, Stored(torch.zeros(1, 1), torch.tensor([0])))["heads.weight"], heads, atol=0)
    sur_lid.after_step(0.11)
    after = sur_lid.carry_over(student, Stored(torch.zeros(1, 1), torch.tensor([0])))["heads.weight"]
    rates = np.array([0.00005, 0.0001, 0.001, 0.01])  # one less what the published configuration keeps
    close(after, isolation.turned(tensor(heads), tensor(rates)).numpy(), atol=1e-7)


# -- HDU -----------------------------------------------------------------------------------------------------------------


def toy(file: Arrays) -> tuple[perturbations.Answer, Tensor]:
    """The file's detector, as logits whose softmax is its sigmoid, and its genuine images."""
    weight, bias = tensor(file["weight"]), tensor(file["bias"])

    def answer(images: Tensor) -> Tensor:
        forged = images.flatten(1) @ weight + bias
        return torch.stack([torch.zeros_like(forged), forged], dim=1)

    return answer, tensor(file["images"])[tensor(file["labels"]) == 0]


def test_sign_steps_of_the_universal_perturbation(golden: Golden) -> None:
    file = golden("24_uap_step")
    answer, genuine = toy(file)
    size = {"step": float(file["step_size"]), "bound": float(file["clip"])}
    for count in numbered(file, "after_"):
        moved = tensor(file["start"])
        for _ in range(count):
            moved = perturbations.sign_step(answer, genuine, moved, **size)
        close(moved, file[f"after_{count}"], atol=1e-12)
    edge = perturbations.sign_step(answer, genuine, tensor(file["edge_start"]), **size)
    close(edge, file["edge_after_1"], atol=1e-12)


def test_the_search_stops_when_enough_genuine_faces_are_called_forged(golden: Golden) -> None:
    file = golden("24_uap_step")
    answer, genuine = toy(file)
    law = {"share": 0.8, "step": float(file["step_size"]), "bound": float(file["clip"])}
    steps = int(file["steps_until_stop"])
    found = perturbations.universal(answer, genuine, tensor(file["start"]), most_steps=steps + 50, **law)
    close(found, file["at_stop"], atol=1e-12)
    short = perturbations.universal(answer, genuine, tensor(file["start"]), most_steps=steps - 1, **law)
    assert perturbations.called_forged(answer, perturbations.perturbed(genuine, short)) < 0.8
