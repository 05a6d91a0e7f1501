"""Stage curate: what the newest generation keeps of its task, and what it lets go of the older ones.

python -m components.generations.curate RECIPE GENERATION OLD_MEMORY FACES WITHDRAWN MEMORY
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components import machine, orders, stage
from components.detectors import Detector
from components.faces.table import FaceTable
from components.generations.generation import load_detector
from components.generations.recipe import Recipe
from components.memory import buffer
from components.memory.buffer import Candidates, Memory
from components.memory.pools import Pool, Sight
from components.tasks import augmentations
from components.tasks.dataset import Faces, as_faces
from components.vocabulary import LABELS

VIEWS = ("flip", "brightness_contrast", "jpeg")  # beside the face as it is


def curate(
    recipe_file: Path,
    generation: Path,
    old_memory: Path,
    faces: Path,
    withdrawn_file: Path,
    memory: Path,
) -> None:
    """Write the memory M_i leaves: exemplars of every task learned so far, within the budget, but for what is withdrawn."""
    recipe = Recipe.read(recipe_file)
    machine.deterministic(recipe.training.threads, kernels=recipe.machine.deterministic)
    withdrawn = (*recipe.memory.withdrawn, *orders.read(withdrawn_file))
    old = Memory.load(old_memory, withdrawn)
    task = Faces.training_split(recipe.row.learns, FaceTable.load(faces)).without(withdrawn)
    if recipe.memory.keeps_nothing:
        buffer.write_nothing(memory)
        return
    buffer.expect_room(recipe.memory, len(old.tasks) + 1)
    detector = load_detector(generation, machine.device())
    batch = recipe.evaluation.batch
    if recipe.memory.policy in buffer.UNSEEING:
        candidates = Candidates.unseen(task)
    else:
        limit = buffer.most_of_a_class(old, task, recipe.memory)
        candidates = seen_by(detector, task, recipe.memory.views, batch, limit=limit, seed=recipe.seed)
    chosen = buffer.kept(old, candidates, recipe.memory, recipe.seed)
    table = buffer.write_faces(memory, old, candidates, chosen)
    logits = answers(detector, Faces.whole("memory", table), batch=batch)
    buffer.write_exemplars(memory, chosen, table, logits)


@torch.inference_mode()
def seen_by(detector: Detector, task: Faces, views: int, batch: int, *, limit: int, seed: int) -> Candidates:
    """The faces of a task as the detector sees them, in one pass that holds about `limit` faces of a class.

    p(forged) is of each view; embeddings are of the face as it is.
    """
    where, labels = next(detector.parameters()).device, task.labels
    pools = {label: Pool(np.flatnonzero(labels == label), limit=limit, seed=(seed, label)) for label in LABELS}
    generator = torch.Generator().manual_seed(seed)
    for positions in _batches(task, batch):
        pixels = as_faces(task.images(positions))
        detections = [detector(view.to(where)) for view in views_of(pixels, views, generator)]
        p_forged = np.stack([d.logits.float().softmax(-1)[:, 1].cpu().numpy() for d in detections])
        seen = Sight(positions, p_forged, detections[0].embedding.float().cpu().numpy())
        for label, pool in pools.items():
            pool.show(seen.where(np.flatnonzero(labels[positions] == label)))
    held = Sight.joined([pool.sight() for pool in pools.values()])
    fair = np.isin(held.positions, np.concatenate([pool.fair for pool in pools.values()]))
    return Candidates(task.name, task.table, task.indices[held.positions], held.p_forged, held.embeddings, fair)


def views_of(faces: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`count` views of the same faces (B, 3, H, W), the first as they are."""
    yield faces
    for name in VIEWS[: count - 1]:
        yield augmentations.KNOWN[name](faces, generator)


@torch.inference_mode()
def answers(detector: Detector, faces: Faces, *, batch: int) -> np.ndarray:
    """Logits (N, 2)."""
    where = next(detector.parameters()).device
    parts = [
        detector(as_faces(faces.images(positions)).to(where)).logits.float().cpu()
        for positions in _batches(faces, batch)
    ]
    return torch.cat(parts).numpy()


def _batches(faces: Faces, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(faces), size):
        yield np.arange(start, min(start + size, len(faces)))


if __name__ == "__main__":
    stage.run(curate)
