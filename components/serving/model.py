"""The file MLflow runs when it loads a generation: models-from-code, so nothing is ever unpickled.

    mlflow.pyfunc.load_model("models:/perennial-rsia_net@champion").predict(faces)

Flow     faces (B, H, W, 3) RGB, aligned as the face table's -> [0, 1] (B, 3, H, W) -> detector -> p_forged (B,)
Takes    one face (H, W, 3) or many, of one size or of several; bytes, floats in [0, 1] or in [0, 255]; arrays, lists, and what
         `mlflow models serve` makes of JSON. MLflow's own signature would refuse most of it, so that of the model names
         what comes out alone, and what goes in is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
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
        """Faces as `faces_in` takes them -> ``(B,)`` float32 in [0, 1]; raises MlflowException for what are none."""
        import torch

        from components.vocabulary import FORGED

        parts = []
        with torch.inference_mode():
            for batch in _batches(faces_in(model_input)):
                pixels = torch.from_numpy(batch).permute(0, 3, 1, 2)  # (B, 3, H, W)
                parts.append(self.detector(pixels).logits.softmax(dim=1)[:, FORGED].numpy())
        return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


def faces_in(asked: Any) -> list[NDArray[np.float32]]:
    """Each face (H, W, 3) in [0, 1] of what somebody calls faces: arrays or lists of bytes, or of floats.

    Floats are taken for [0, 1] where none is above 1, and for [0, 255] else; whole numbers are [0, 255].
    """
    if hasattr(asked, "iloc"):  # a table: one face a row of its first column
        asked = asked.iloc[:, 0].tolist()
    if isinstance(asked, np.ndarray) and asked.dtype == object:
        asked = asked.tolist()
    try:
        faces = np.asarray(asked)
    except ValueError:  # faces of several sizes
        return [face for one in asked for face in faces_in(one)]
    if faces.ndim == 3:
        faces = faces[None]
    if faces.size == 0:
        return []
    if faces.ndim != 4 or faces.shape[3] != 3 or faces.dtype.kind not in "uif":
        raise _refused(f"an array {faces.shape} of {faces.dtype}")
    if not np.isfinite(faces).all() or faces.min() < 0 or faces.max() > 255:
        raise _refused(f"values from {faces.min():g} to {faces.max():g}")
    is_share = faces.dtype.kind == "f" and faces.max() <= 1
    return list(faces.astype(np.float32) / (1 if is_share else 255))


def _batches(faces: list[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Neighbours of one size together, in their order, `BATCH` at most."""
    for _, alike in groupby(faces, key=lambda face: face.shape):
        of_one_size = list(alike)
        for start in range(0, len(of_one_size), BATCH):
            yield np.stack(of_one_size[start : start + BATCH])


def _refused(found: str) -> MlflowException:
    return MlflowException(
        "expected faces as (B, H, W, 3) or one as (H, W, 3), RGB, whole numbers from 0 to 255 or floats from 0 to 1 or to "
        f"255, found {found}. A single file is better asked about with `perennial score`, which also finds its faces.",
        error_code=INVALID_PARAMETER_VALUE,
    )


mlflow.models.set_model(ForgeryDetector())
