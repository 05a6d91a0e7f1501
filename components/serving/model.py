"""The file MLflow runs when it loads a generation: models-from-code, so nothing is ever unpickled.

    mlflow.pyfunc.load_model("models:/perennial-rsia_net@champion").predict(faces)

Flow     faces (B, H, W, 3) uint8 RGB, aligned as the face table's -> [0, 1] (B, 3, H, W) -> detector -> p_forged (B,)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

if TYPE_CHECKING:
    from components.detectors import Detector

BATCH = 32


class ForgeryDetector(PythonModel):
    """A generation that answers with the probability that each face is forged."""

    detector: Detector

    def load_context(self, context: PythonModelContext) -> None:
        """Rebuild the detector from its card and safetensors; the weights are checked against the card."""
        from components.generations.generation import load_classifier

        self.detector = load_classifier(Path(context.artifacts["weights"]).parent)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002  (MLflow's names and order)
        model_input: np.ndarray,  # the one hint from which MLflow makes no schema of its own
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> NDArray[np.float32]:
        """``(B, H, W, 3)`` uint8 RGB -> ``(B,)`` float32 in [0, 1]."""
        import torch

        from components.vocabulary import FORGED

        parts = []
        with torch.inference_mode():
            for start in range(0, len(model_input), BATCH):
                faces = torch.from_numpy(
                    np.array(model_input[start : start + BATCH])
                )  # a copy: the caller's may be read-only
                pixels = faces.permute(0, 3, 1, 2).float() / 255  # (B, 3, H, W)
                parts.append(self.detector(pixels).logits.softmax(dim=1)[:, FORGED].numpy())
        return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


mlflow.models.set_model(ForgeryDetector())
