"""What waits while the device computes is computed together, and each gets what is its own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from components import detectors
from components.detectors import Detection
from components.evaluation import explain
from components.serving.batching import Batched

from .conftest import TINY


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return detectors.build("rsia_net", detectors.options("rsia_net", TINY)).eval().requires_grad_(False)


class Slow(torch.nn.Module):
    """Says the mean of a face, and lets a test hold it at that."""

    def __init__(self) -> None:
        super().__init__()
        self.going = threading.Event()
        self.sizes: list[int] = []

    def forward(self, faces: torch.Tensor) -> Detection:
        self.going.wait(30)
        self.sizes.append(len(faces))
        means = faces.mean(dim=(1, 2, 3))[:, None]
        if (means > 1).any():
            raise ValueError("brighter than white")
        return Detection(means.repeat(1, 2), means, (faces,))


def asked(batched: Batched, faces: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return batched(faces).logits[:, 0]


def test_faces_of_many_requests_are_computed_in_few_batches_and_nobody_gets_anothers_answer():
    slow = Slow()
    batched = Batched(slow, most=8)
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(asked, batched, torch.full((2, 3, 4, 4), number / 20)) for number in range(12)]
        while len(batched._waiting) < 11:
            threading.Event().wait(0.005)
        slow.going.set()
        for number, one in enumerate(waiting):
            assert one.result() == pytest.approx(torch.full((2,), number / 20))
    assert max(slow.sizes) == 8 and len(slow.sizes) <= 5
    assert (batched.faces, batched.batches) == (24, len(slow.sizes))


def test_faces_of_another_size_wait_for_a_batch_of_their_own():
    slow = Slow()
    batched = Batched(slow)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(asked, batched, torch.zeros(1, 3, side, side)) for side in (4, 4, 6, 6)]
        slow.going.set()
        assert [len(one.result()) for one in waiting] == [1, 1, 1, 1]


def test_what_fails_is_told_to_those_who_asked_and_the_next_batch_is_computed():
    slow = Slow()
    slow.going.set()
    batched = Batched(slow)
    with pytest.raises(ValueError, match="brighter"):
        asked(batched, torch.full((1, 3, 4, 4), 2.0))
    assert asked(batched, torch.zeros(1, 3, 4, 4)).tolist() == [0.0]


def test_a_batch_says_of_a_face_what_is_said_of_it_alone_and_heat_maps_are_the_same(detector):
    faces = torch.rand(3, 3, 64, 64)
    batched = Batched(detector)
    with torch.inference_mode():
        alone = torch.cat([detector(face[None]).logits for face in faces])
        torch.testing.assert_close(batched(faces).logits, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(explain.heat_maps(batched, faces), explain.heat_maps(detector, faces))
    assert not any(module.training for module in batched.modules()), "drawing must not teach it anything"
