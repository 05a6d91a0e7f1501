"""Looking at a whole task: which faces are looked at, in what order and mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from components.detectors import Detection
from components.strategies import batches, evaluating, part, some

Make = Callable[..., Any]


@dataclass
class Labelled:
    """A task of which nothing but labels is asked."""

    labels: np.ndarray


def drawn(labels: list[int], most: int) -> tuple[list[int], dict[int, int]]:
    """The positions, and how many faces of each label they are."""
    positions = some(Labelled(np.array(labels)), most)
    kinds, counts = np.unique(np.array(labels)[positions], return_counts=True)
    return positions.tolist(), dict(zip(kinds.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("labels", [[0, 1] * 20, [0] * 30 + [1] * 10, [1, 1, 0] * 9])
@pytest.mark.parametrize("most", [2, 7, 12, 1000])
def test_of_genuine_and_forged_faces_the_same_are_looked_at_as_ever(labels: list[int], most: int) -> None:
    halves = [np.random.default_rng(0).permutation(np.flatnonzero(np.equal(labels, k)))[: most // 2] for k in (0, 1)]
    assert some(Labelled(np.array(labels)), most).tobytes() == np.sort(np.concatenate(halves)).tobytes()


def test_faces_of_every_label_there_is_are_looked_at_alike() -> None:
    assert drawn([0, 1, 2] * 20, 12)[1] == {0: 4, 1: 4, 2: 4}
    assert drawn([2, 5, 9, 9, 9, 9, 9, 9], 6)[1] == {2: 1, 5: 1, 9: 2}
    assert drawn([7, 3] * 20, 10)[1] == {3: 5, 7: 5}


def test_all_faces_are_looked_at_where_there_are_few() -> None:
    labels = [4, 0, 2, 2, 0, 4, 2]
    assert drawn(labels, 100)[0] == list(range(7))


def test_no_label_is_left_out_however_few_faces_are_asked_for() -> None:
    assert drawn([0, 1, 2, 3] * 5, 2)[1] == {0: 1, 1: 1, 2: 1, 3: 1}


def test_one_label_alone_fills_no_more_than_half() -> None:
    assert drawn([3] * 20, 10)[1] == {3: 5}


def test_batches_hold_the_faces_in_the_order_asked_for_and_the_last_holds_the_rest(pinhole: Make, task: Any) -> None:
    asked = np.array([5, 0, 3, 6, 1])
    found = list(batches(task, asked, 2, pinhole(0)))
    assert [len(batch.labels) for batch in found] == [2, 2, 1]
    assert torch.equal(torch.cat([batch.faces for batch in found]), task.batch(asked).faces)
    assert torch.cat([batch.labels for batch in found]).tolist() == task.labels[asked].tolist()


@pytest.mark.parametrize("training", [True, False])
def test_a_detector_is_in_eval_mode_while_looking_and_then_as_it_was_even_after_a_fault(
    pinhole: Make, training: bool
) -> None:
    detector = pinhole(0).train(training)
    with pytest.raises(ZeroDivisionError), evaluating(detector):
        assert not any(part.training for part in detector.modules())
        _ = 1 / 0
    assert all(part.training is training for part in detector.modules())


def test_of_some_faces_everything_that_was_found_is_kept_and_of_the_others_nothing(two_domains: Make) -> None:
    found, chosen = two_domains(0).eval()(torch.rand(5, 3, 12, 12)), torch.tensor([3, 1])
    assert isinstance(found, Detection)
    kept = part(found, chosen)
    assert torch.equal(kept.logits, found.logits[chosen]) and torch.equal(kept.embedding, found.embedding[chosen])
    for mine, whole in zip(kept.levels, found.levels, strict=True):
        assert torch.equal(mine, whole[chosen])
    assert kept.domains.keys() == found.domains.keys() == {"spatial", "frequency"}
    for name, levels in found.domains.items():
        assert all(torch.equal(mine, whole[chosen]) for mine, whole in zip(kept.domains[name], levels, strict=True))
