"""What leaves Perennial answers as what stays: weights in a Hugging Face folder, and graphs of the detectors that have one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from components import detectors
from components.errors import Refused
from components.gates.files import GenerationFiles
from components.generations.generation import load_classifier, save_generation
from components.registry import export

DRAWN = ("lsda", "rsia_net")
"""Detectors whose graph takes any number of faces; the others fix the number they were traced with."""
FACES = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def test_a_hugging_face_folder_holds_weights_configuration_and_card_and_answers_alike(bear, tmp_path: Path) -> None:
    born = bear(1)
    folder = export.hugging_face(GenerationFiles(born.generation, born.scores, born.verdict), tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    options = detectors.options(config["detector"], config["options"])
    loaded = detectors.build(config["detector"], options, blank=True).eval()
    loaded.load_state_dict(load_file(folder / "model.safetensors"))
    assert torch.equal(loaded(FACES).logits, load_classifier(born.generation)(FACES).logits)
    _, front, card = (folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "perennial"
    assert "It learned `deepfakes` as the founder of its line." in card


def raised(folder: Path, detector: str) -> Path:
    torch.manual_seed(0)
    chosen = detectors.options(detector, {"size": "tiny"})
    made = {"generation": "a-M1", "detector": detector, "strategy": "finetune", "options": {"size": "tiny"}}
    save_generation(folder / "a-M1", detectors.build(detector, chosen, blank=True), {}, made)
    return folder / "a-M1"


@pytest.mark.slow
@pytest.mark.parametrize("detector", detectors.names())
def test_a_graph_answers_as_the_network_or_its_detector_is_refused_by_name(detector: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", exc_type=ImportError)
    generation = raised(tmp_path, detector)
    if detector not in DRAWN:
        with pytest.raises(Refused, match=f"expected a graph of '{detector}' that answers as the network does"):
            export.onnx(generation, tmp_path / "out")
        assert not (tmp_path / "out" / export.GRAPH).exists()
        return
    graph = export.onnx(generation, tmp_path / "out")
    network = load_classifier(generation)
    faces = torch.rand(5, 3, network.input_px, network.input_px)
    (answers,) = runtime.InferenceSession(str(graph)).run(None, {"faces": faces.numpy()})
    assert torch.from_numpy(answers).numpy() == pytest.approx(network(faces).logits.softmax(1)[:, 1].numpy(), abs=1e-4)
