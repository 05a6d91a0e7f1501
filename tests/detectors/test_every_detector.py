"""What every detector of the catalogue promises, at its tiny size."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from components import detectors
from components.detectors import Detector
from components.errors import BadParams, UnknownName
from components.tasks.dataset import Batch


def tiny(name: str, seed: int = 0) -> Detector:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return detectors.build(name, detectors.options(name, {"size": "tiny"}))


def some_faces(n: int, side_px: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, side_px, side_px, generator=torch.Generator().manual_seed(seed))


def paid(detector: Detector, faces: Tensor, labels: list[int]) -> dict[str, Tensor]:
    return detector.losses(detector(faces), Batch.of(faces, torch.tensor(labels)))


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
def test_the_loss_reaches_every_trainable_parameter(name: str) -> None:
    detector = tiny(name)
    terms = paid(detector, some_faces(6, 96), [0, 1, 0, 1, 1, 0])
    assert "cross_entropy" in terms and all(term.shape == () for term in terms.values())
    sum(terms.values(), torch.zeros(())).backward()
    unreached = [n for n, p in detector.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not unreached


@every_detector
@pytest.mark.parametrize("labels", [[0], [1], [0, 0, 0], [1, 1], [0, 1]])
def test_learns_from_one_sample_and_from_one_class(name: str, labels: list[int]) -> None:
    detector = tiny(name)
    terms = paid(detector, some_faces(len(labels), 96), labels)
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
def test_a_few_steps_on_a_few_faces_lower_the_loss(name: str) -> None:
    detector, faces, labels = tiny(name), some_faces(8, 96), torch.tensor([0, 1] * 4)
    faces[labels == 1, :, 30:60, 30:60] = 0.5
    optimizer = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], 1e-3)
    losses = []
    for _ in range(12):
        loss = detector.losses(detector(faces), Batch.of(faces, labels))["cross_entropy"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@every_detector
def test_looking_does_not_change_the_detector(name: str) -> None:
    detector = tiny(name).eval()
    before = copy.deepcopy(detector.state_dict())
    with torch.no_grad():
        detector(some_faces(3, 96))
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())


@every_detector
def test_the_paper_is_the_default(name: str) -> None:
    assert detectors.options(name, {}) == detectors.options(name, {"size": "paper"})


@every_detector
def test_resolved_options_give_themselves_again(name: str) -> None:
    resolved = detectors.options(name, {"size": "tiny"})
    assert detectors.options(name, resolved.model_dump(mode="json")) == resolved


@every_detector
def test_an_unknown_option_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(BadParams, match=f"detectors.{name}"):
        detectors.options(name, {"sise": "tiny"})


def test_an_unknown_detector_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'rsia_net'"):
        detectors.options("rsia_ned", {})
