"""Stage curate: what the newest generation keeps of its task, and what it lets go of the older ones.

python -m components.generations.curate RECIPE GENERATION OLD_MEMORY FACES MEMORY
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from components import stage
from components.detectors import Detector
from components.faces.table import FaceTable
from components.generations.generation import load_detector
from components.generations.recipe import Recipe
from components.generations.training import deterministic, fabric
from components.memory import buffer
from components.memory.buffer import Candidates, Memory
from components.tasks.dataset import Faces, as_faces


def curate(recipe: Path, generation: Path, old_memory: Path, faces: Path, memory: Path) -> None:
    """Write the memory M_i leaves: exemplars of every task learned so far, within the budget."""
    plan = Recipe.read(recipe)
    deterministic(plan.training.threads)
    old = Memory.load(old_memory)
    task = Faces.training_split(plan.row.learns, FaceTable.load(faces))
    if plan.memory.policy == "nothing" or plan.memory.budget == 0:
        buffer.write_nothing(memory)
        return
    detector = load_detector(generation, fabric().device)
    p_forged, embeddings = seen_by(detector, task, views=plan.memory.views, batch=plan.evaluation.batch)
    candidates = Candidates(task.name, task.table, task.indices, p_forged, embeddings)
    chosen = buffer.kept(old, candidates, plan.memory, plan.seed)
    table = buffer.write_faces(memory, old, candidates, chosen)
    logits = answers(detector, Faces.whole("memory", table), batch=plan.evaluation.batch)
    buffer.write_exemplars(memory, chosen, logits)


@torch.inference_mode()
def seen_by(detector: Detector, faces: Faces, *, views: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """p(forged) of shape (V, N) over views (the face, its mirror image) and embeddings (N, D) of the first view."""
    device = next(detector.parameters()).device
    probabilities: list[np.ndarray] = []
    embeddings: list[np.ndarray] = []
    for start in range(0, len(faces), batch):
        pixels = as_faces(faces.images(np.arange(start, min(start + batch, len(faces))))).to(device)
        detections = [detector(pixels), *([detector(pixels.flip(-1))] if views == 2 else [])]
        probabilities.append(np.stack([d.logits.float().softmax(-1)[:, 1].cpu().numpy() for d in detections]))
        embeddings.append(detections[0].embedding.float().cpu().numpy())
    return np.concatenate(probabilities, axis=1), np.concatenate(embeddings)


@torch.inference_mode()
def answers(detector: Detector, faces: Faces, *, batch: int) -> np.ndarray:
    """Logits (N, 2)."""
    device = next(detector.parameters()).device
    parts = [
        detector(as_faces(faces.images(np.arange(s, min(s + batch, len(faces))))).to(device)).logits.float().cpu()
        for s in range(0, len(faces), batch)
    ]
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    stage.run(curate)
