"""A generation for people without Perennial: a folder as Hugging Face keeps models, and a graph for ONNX Runtime.

    hugging_face(files, FOLDER)   FOLDER/model.safetensors  config.json  README.md (the model card)  [carry_over.safetensors]
    onnx(generation, FOLDER)      FOLDER/model.onnx         faces (B, 3, S, S) in [0, 1] -> p_forged (B,)

Both are of one generation's weights. A graph is kept only if it answers as the network does, also for another number of
faces than it was traced with: a detector whose graph does not is refused by name.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.detectors import Detector
from components.errors import PerennialError, Refused
from components.gates.files import GenerationFiles
from components.generations.card import CARRY_OVER, WEIGHTS, read_card
from components.generations.generation import load_carry_over, load_classifier, load_detector
from components.registry import model_card
from components.vocabulary import FORGED
from components.writing import replace_text, room

MODEL, CONFIG, README, GRAPH = "model.safetensors", "config.json", "README.md", "model.onnx"
TRACED, TRIED = 2, (1, 3)
"""Numbers of faces that a graph is traced with, and tried with."""
NEAR = 1e-4
"""Between answers; float32 sums come in another order."""
CONFIGURED = (
    *(
        "generation",
        "line",
        "detector",
        "options",
        "strategy",
        "learns",
        "teacher",
        "methods",
        "profiles",
        "parameters",
    ),
    "weights",
)
"""Keys of a card that are told."""

USE = f"""

## How to load it

```python
import json
from safetensors.torch import load_file
from components import detectors

config = json.load(open("{CONFIG}"))
detector = detectors.build(config["detector"], detectors.options(config["detector"], config["options"]), blank=True)
detector.load_state_dict(load_file("{MODEL}"))
p_forged = detector.eval()(faces).logits.softmax(dim=1)[:, {FORGED}]   # faces (B, 3, H, W) in [0, 1], aligned
```
"""


def hugging_face(files: GenerationFiles, folder: Path) -> Path:
    """Write weights, configuration and model card of a generation into `folder`; raises BrokenLineage unless it is whole."""
    files.expect_examined()
    detector = load_detector(files.folder)  # its digest is compared
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(files.folder / WEIGHTS, folder / MODEL)
    if load_carry_over(files.folder):
        shutil.copyfile(files.folder / CARRY_OVER, folder / CARRY_OVER)
    told: dict[str, Any] = {
        "input_px": detector.input_px,
        **{key: files.card[key] for key in CONFIGURED if key in files.card},
    }
    replace_text(folder / CONFIG, json.dumps(told, indent=2, sort_keys=True) + "\n")
    replace_text(folder / README, _front_matter(files) + model_card.of_generation(files) + USE)
    return folder


def onnx(generation: Path, folder: Path) -> Path:
    """Write the graph of whoever answers for a generation; raises Refused where it would answer otherwise than the network.

    Raises PerennialError where the extra `onnx` is not installed.
    """
    runtime = _runtime()
    answering = _Answer(load_classifier(generation)).eval()
    name = str(read_card(generation)["detector"])
    with room(folder) as here:
        graph = _traced(answering, name, here / GRAPH)
        _expect_agreement(answering, name, runtime.InferenceSession(str(graph), providers=["CPUExecutionProvider"]))
        folder.mkdir(parents=True, exist_ok=True)
        return graph.replace(folder / GRAPH)


class _Answer(nn.Module):
    """faces (B, 3, S, S) in [0, 1] -> p_forged (B,), and nothing else of what a detector finds."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.side = detector.input_px

    def forward(self, faces: Tensor) -> Tensor:
        forged: Tensor = self.detector(faces).logits.softmax(dim=1)[:, FORGED]
        return forged

    def faces(self, count: int) -> Tensor:
        """Always the same ones."""
        return torch.rand(count, 3, self.side, self.side, generator=torch.Generator().manual_seed(count))


def _runtime() -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch writes graphs with it
    except ImportError as missing:
        raise PerennialError(
            f"expected onnxruntime and onnxscript, found no {missing.name}. Install them with `pip install 'perennial[onnx]'`."
        ) from None
    return onnxruntime


def _traced(answering: _Answer, name: str, file: Path) -> Path:
    batch = {0: torch.export.Dim("faces")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about its own parts
            program = torch.onnx.export(
                answering,
                (answering.faces(TRACED),),
                dynamo=True,
                dynamic_shapes=(batch,),
                input_names=["faces"],
                output_names=["p_forged"],
                verbose=False,
            )
            assert program is not None
            program.save(str(file), external_data=False)
    except Exception as fault:  # whatever a tracer meets in a network
        raise _refusal(name, " ".join(str(fault).split())[:300]) from fault
    return file


def _expect_agreement(answering: _Answer, name: str, session: Any) -> None:
    for count in TRIED:
        faces = answering.faces(count)
        with torch.inference_mode():
            expected = answering(faces).numpy()
        try:
            found = session.run(None, {"faces": faces.numpy()})[0]
        except Exception as fault:  # the runtime's own errors have no common name
            raise _refusal(name, f"its graph takes {TRACED} faces at once and no other number") from fault
        if np.abs(found - expected).max() > NEAR:
            raise _refusal(name, f"its graph answers otherwise, by up to {np.abs(found - expected).max():.2g}")


def _refusal(name: str, why: str) -> Refused:
    return Refused(
        f"expected a graph of '{name}' that answers as the network does, found that {why}. Export its weights: "
        "`perennial export GENERATION FOLDER` without --onnx."
    )


def _front_matter(files: GenerationFiles) -> str:
    tags = [
        "deepfake-detection",
        "continual-learning",
        f"detector-{files.card['detector']}",
        f"strategy-{files.card['strategy']}",
    ]
    lines = ["library_name: perennial", "pipeline_tag: image-classification", "tags:", *(f"- {tag}" for tag in tags)]
    return "---\n" + "\n".join(lines) + f"\n---\n\n# {files.name}\n\n"
