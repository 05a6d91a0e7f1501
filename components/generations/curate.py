"""Stage curate: what the newest generation keeps of its task, and what it lets go of the older ones.

python -m components.generations.curate RECIPE GENERATION OLD_MEMORY FACES WITHDRAWN MEMORY
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from components import machine, orders, stage
from components.detectors import Detector
from components.faces.table import FaceTable
from components.generations.generation import load_detector
from components.generations.recipe import Recipe
from components.memory import buffer
from components.memory.buffer import Candidates, Memory
from components.memory.pools import Pool, Sight
from components.settings import settings
from components.tasks import augmentations, few
from components.tasks.augmentations import Change
from components.tasks.dataset import Faces
from components.tasks.loading import Look, looks
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
    table = FaceTable.load(faces, shared_bytes=settings().decoded_bytes)
    task = Faces.training_split(recipe.row.learns, table).without(withdrawn)
    task = few.learned(task, recipe.training, founder=recipe.row.is_founder)
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
        stability = recipe.memory.policy == "sparse_uniform"
        candidates = seen_by(
            detector, task, recipe.memory.views, batch, limit=limit, seed=recipe.seed, stability=stability
        )
    chosen = buffer.kept(old, candidates, recipe.memory, recipe.seed)
    table = buffer.write_faces(memory, old, candidates, chosen, recipe.memory)
    logits = answers(detector, Faces.whole("memory", table), batch=batch)
    buffer.write_exemplars(memory, old, chosen, table, logits)


@torch.inference_mode()
def seen_by(
    detector: Detector, task: Faces, views: int, batch: int, *, limit: int, seed: int, stability: bool = False
) -> Candidates:
    """The faces of a task as the detector sees them, in one pass that holds about `limit` faces of a class.

    p(forged) is of each view; embeddings are of the face as it is; stability is measured where it is asked for.
    """
    where, labels = next(detector.parameters()).device, task.labels
    pools = {label: Pool(np.flatnonzero(labels == label), limit=limit, seed=(seed, label)) for label in LABELS}
    generator = torch.Generator().manual_seed(seed)
    pieces = list(_batches(task, batch))
    wanted = [Look(task.indices[positions], views_of(len(positions), views, generator)) for positions in pieces]
    for positions, seen in zip(pieces, looks(task.table, wanted, where), strict=True):
        detections = [detector(view) for view in seen]
        p_forged = np.stack([d.logits.float().softmax(-1)[:, 1].cpu().numpy() for d in detections])
        embeddings = detections[0].embedding.float()
        alike = embeddings.new_full((len(positions),), torch.nan)
        if stability:
            alike = F.cosine_similarity(embeddings, detector(quarters_exchanged(seen[0])).embedding.float())
        sight = Sight(positions, p_forged, embeddings.cpu().numpy(), alike.cpu().numpy())
        for label, pool in pools.items():
            pool.show(sight.where(np.flatnonzero(labels[positions] == label)))
    held = Sight.joined([pool.sight() for pool in pools.values()])
    fair = np.isin(held.positions, np.concatenate([pool.fair for pool in pools.values()]))
    return Candidates(
        task.name, task.table, task.indices[held.positions], held.p_forged, held.embeddings, fair,
        held.stability if stability else None, task.encoded_bytes,
    )  # fmt: skip


def quarters_exchanged(faces: Tensor) -> Tensor:
    """Faces (B, 3, H, W) with each quarter where the one opposite to it was."""
    return faces.roll((faces.shape[-2] // 2, faces.shape[-1] // 2), (-2, -1))


def views_of(faces: int, count: int, generator: torch.Generator) -> tuple[tuple[Change, ...], ...]:
    """What is done to so many faces for each of `count` views, of which the first shows them as they are."""
    return ((), *((augmentations.of_all(name, faces, generator),) for name in VIEWS[: count - 1]))


@torch.inference_mode()
def answers(detector: Detector, faces: Faces, *, batch: int) -> np.ndarray:
    """Logits (N, 2)."""
    where = next(detector.parameters()).device
    wanted = [Look(faces.indices[positions]) for positions in _batches(faces, batch)]
    return torch.cat([detector(seen).logits.float().cpu() for (seen,) in looks(faces.table, wanted, where)]).numpy()


def _batches(faces: Faces, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(faces), size):
        yield np.arange(start, min(start + size, len(faces)))


if __name__ == "__main__":
    stage.run(curate)
