"""What a detector costs: counts that agree with arithmetic done by hand, and with the papers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from components import detectors
from components.evaluation import cost

CATALOGUE = Path(__file__).parent / "catalogue"
CPU = torch.device("cpu")
WIDE = 4 * 2**17
ANSWERING = 3 * 4 + 4 * 2 + 2
TRAINED = 4 * 2 + 2 + 4 * 5 + WIDE + len(cost.METHODS) * 4
FACE_FLOPS = 2 * (64 * 3 * 4 + 2 * 64 * 64 * 4 + 4 * 2)  # convolution; queries on keys, weights on values; head


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The detector `weighed` stands in the catalogue."""
    monkeypatch.setattr(detectors, "__path__", [*detectors.__path__, str(CATALOGUE)])
    yield "weighed"
    sys.modules.pop("components.detectors.weighed", None)
    vars(detectors).pop("weighed", None)


def test_counts_are_those_of_arithmetic(weighed: str) -> None:
    found = cost.count(weighed, detectors.options(weighed, {}))
    assert found.parameters == 3 * 4 + TRAINED and found.trained == TRAINED and found.answering == ANSWERING
    assert found.weights_bytes == 4 * found.parameters
    assert found.face_flops == FACE_FLOPS
    assert found.measured is None


def test_a_cost_names_the_paper_and_the_weights_it_would_start_from(weighed: str) -> None:
    found = cost.count(weighed, detectors.options(weighed, {}))
    assert (found.detector, found.paper) == ("weighed", "Weighed, arXiv 0000.00000 (nowhere)")
    assert (found.input_px, found.pretrained) == (8, "imagenet")


def test_counting_fills_no_large_tensor(weighed: str) -> None:
    out_of_bounds = torch.full((cost.WRITTEN + 1,), 9.0)  # as memory that nobody wrote may be; bounds are -2 and 2
    filled = torch.empty(cost.WRITTEN)
    with cost._Unwritten():
        torch.nn.init.trunc_normal_(out_of_bounds)
        torch.nn.init.ones_(filled)
    assert out_of_bounds.eq(9).all() and filled.all()


def test_a_measured_cost_adds_what_a_batch_took(weighed: str) -> None:
    found = cost.measure(weighed, detectors.options(weighed, {}), batch=6, device="cpu")
    taken = found.measured
    assert taken is not None and (taken.device, taken.precision, taken.batch) == ("cpu", "float32", 6)
    assert taken.step_flops > 6 * FACE_FLOPS
    faces = 4 * 6 * 3 * 8 * 8
    assert found.weights_bytes + faces < taken.scoring_bytes < found.weights_bytes + 20 * faces
    # weights, gradients and two moments, and what the widest layer makes of six embeddings
    assert 4 * 4 * TRAINED + 4 * 6 * 2**17 < taken.step_bytes < 4 * 4 * TRAINED + 5 * 4 * 6 * 2**17


def test_measuring_twice_finds_the_same(weighed: str) -> None:
    options = detectors.options(weighed, {})
    torch.rand(5)
    first = cost.measure(weighed, options, batch=4, device="cpu")
    assert cost.measure(weighed, options, batch=4, device="cpu") == first


def test_memory_counts_what_is_held_and_no_view_twice() -> None:
    with cost.memory(CPU) as held:
        kept = torch.zeros(1000)
        view = kept[10:].view(-1, 10)
        kept.add_(1)
        assert held.peak == 4000
        torch.zeros(500) + 1
        assert held.peak == 4000 + 2 * 2000
        held.restart()
        assert held.peak == 4000
        del kept
        torch.zeros(100)
        assert held.peak == 4400
        del view
        held.restart()
        assert held.peak == 0


def test_noise_meets_every_method_and_both_classes() -> None:
    batch = cost.noise(16, 12, CPU)
    assert batch.faces.shape == (16, 3, 12, 12) and batch.labels.tolist() == [0, 1] * 8
    assert set(batch.methods[1::2].tolist()) == {1, 2, 3, 4} and not batch.methods[::2].any()


# ViT-L/14 at 224 px: patches; in 24 blocks q, k, v, out and an MLP of four times the width over 257 tokens, which attend
# to one another; a head. Without the projection that CLIP has.
VIT_L_FLOPS = 2 * (256 * 3 * 14**2 * 1024 + 24 * (257 * 12 * 1024**2 + 2 * 257**2 * 1024) + 1024 * 2)


@pytest.mark.parametrize("name", detectors.names())
def test_every_detector_has_a_cost(name: str) -> None:
    options = detectors.options(name, {"size": "tiny"})
    found = cost.count(name, options)
    built = cost.built(name, options, CPU)
    assert found.parameters == sum(p.numel() for p in built.parameters())
    assert found.trained == sum(p.numel() for p in built.parameters() if p.requires_grad)
    assert 0 < found.answering <= found.parameters
    assert found.weights_bytes >= 4 * found.parameters
    assert found.face_flops > 1e6
    assert found.input_px == built.input_px and found.paper.partition(",")[2].strip()


@pytest.mark.parametrize("name", detectors.names())
def test_every_detector_can_be_measured(name: str) -> None:
    found = cost.measure(name, detectors.options(name, {"size": "tiny"}), batch=4, device="cpu")
    taken = found.measured
    assert taken is not None
    assert found.weights_bytes < taken.scoring_bytes < taken.step_bytes
    assert taken.step_flops > 4 * found.face_flops


KNOWN = {  # from each paper's own layers, counted apart from this code
    "lnclip": {"parameters": 303_181_826, "trained": 104_450, "face_flops": VIT_L_FLOPS},
    "lsda": {"answering": 18_730_314},
    "m2tr": {"parameters": 18_607_946, "trained": 18_607_946},
    "masm": {"trained": 3_147_264 + 2_050},
    "rsia_net": {"parameters": 36_844_513, "answering": 36_844_513 - 179_200},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", detectors.names())
def test_paper_sizes_have_the_numbers_of_their_papers_and_need_no_weights(name: str) -> None:
    found = cost.count(name, detectors.options(name, {}))
    assert {key: getattr(found, key) for key in KNOWN.get(name, {})} == KNOWN.get(name, {})
    assert 1e9 < found.face_flops < 1e12
