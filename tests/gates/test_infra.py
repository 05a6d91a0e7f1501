"""The saved weights of a real, tiny detector, asked in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components import detectors
from components.digests import file_digest
from components.evaluation.matrix import Matrix
from components.evaluation.scores import Scores
from components.gates import probe
from components.gates.rules import Case, Finding, judged
from components.generations.card import WEIGHTS, read_card, write_card
from components.generations.generation import load_classifier, save_generation
from components.params import Infra

OPTIONS = {"size": "tiny"}


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("M1")
    torch.manual_seed(0)
    detector = detectors.build("rsia_net", detectors.options("rsia_net", OPTIONS))
    about = {"generation": "M1", "detector": "rsia_net", "options": OPTIONS, "strategy": "finetune"}
    save_generation(folder, detector, {}, about)
    return folder


def infra(generation: Path, **rule: float) -> Finding:
    case = Case(Scores("M1", "", {}, {}), None, Matrix.empty("rsia_net"), "deepfakes", generation)
    (finding,) = judged(case, [Infra(rule="infra", **rule)])
    return finding


@pytest.mark.parametrize("workspace", ["checkout", "elsewhere"])
def test_saved_weights_answer_in_a_fresh_process_as_they_do_here(
    generation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: str
) -> None:
    if workspace == "elsewhere":  # it need not hold the code
        monkeypatch.chdir(tmp_path)
    finding = infra(generation)
    assert finding.passed, finding.words
    assert (finding.rule, finding.required) == ("infra", {"max_seconds": 120, "max_difference": 1e-4})
    assert finding.measured == {"answered": True, "difference": 0.0}
    assert "answer a known input as they do here: passed" in finding.words


def test_weights_that_take_longer_than_allowed_are_refused(generation: Path) -> None:
    finding = infra(generation, max_seconds=0.01)
    assert finding.passed is False
    assert "did not answer within 0.01 s" in finding.words
    assert (finding.rule, finding.measured) == ("infra", {"answered": False})
    assert finding.required == {"max_seconds": 0.01, "max_difference": 1e-4}


def test_weights_that_were_damaged_are_refused(generation: Path, tmp_path: Path) -> None:
    for file in generation.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / WEIGHTS).write_bytes((generation / WEIGHTS).read_bytes()[:-8])
    finding = infra(tmp_path)
    assert finding.passed is False
    assert "expected weights" in finding.words
    assert (finding.rule, finding.measured) == ("infra", {"answered": False})
    assert finding.required == {"max_seconds": 120, "max_difference": 1e-4}


def test_a_file_that_is_no_safetensors_although_its_card_says_so_is_refused(generation: Path, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"not weights")
    write_card(tmp_path, {**read_card(generation), "weights": file_digest(tmp_path / WEIGHTS)})
    finding = infra(tmp_path)
    assert finding.passed is False
    assert "SafetensorError" in finding.words


def test_another_answer_than_here_is_refused(generation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [p + 0.01 for p in probe.answer(generation)]
    monkeypatch.setattr(probe, "answer", lambda folder: answers)
    finding = infra(generation)
    assert finding.passed is False
    assert finding.measured["difference"] == pytest.approx(0.01)


def test_an_answer_that_is_no_number_is_refused(generation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "answer", lambda folder: [float("nan")] * 4)
    finding = infra(generation)
    assert finding.passed is False
    assert finding.measured["difference"] is None, "NaN is not JSON"


def test_the_question_is_the_same_every_time_and_its_answers_are_probabilities(generation: Path) -> None:
    asked = probe.question()
    assert asked.shape == (4, 3, 96, 96) and torch.equal(asked, probe.question())
    x = torch.arange(96) / 96
    torch.testing.assert_close(asked[2, 1, 0], 0.5 + 0.5 * torch.sin(6.2832 * 3 * x))  # waves of the face along x,
    torch.testing.assert_close(asked[2, 1, :, 0], 0.5 + 0.5 * torch.sin(6.2832 * 2 * x))  # of the colour along y
    assert probe.question().min() >= 0 and probe.question().max() <= 1
    assert all(0 <= p <= 1 for p in probe.answer(generation))


def test_the_probe_answers_on_the_cpu_by_one_thread_whatever_the_process_uses(
    generation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERENNIAL_DEVICE", "meta")  # where nothing could be answered
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        said = probe.answer(generation)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        logits = load_classifier(generation, "cpu")(probe.question()).logits.double()
    assert said == pytest.approx((logits[:, 1].exp() / logits.exp().sum(dim=1)).tolist(), abs=1e-6)


def test_the_probe_says_on_one_line_why_it_cannot_answer(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "components.gates.probe", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("BrokenLineage: expected a generation at")
