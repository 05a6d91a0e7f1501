"""A memory on disk: a face table of its own (self-contained) and ``exemplars.parquet``, one row per face.

exemplars.parquet   task, reason, rank, logit_real, logit_forged      rows as in the table
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.errors import BrokenLineage
from components.faces.table import FaceTable, write_parquet
from components.memory import selection
from components.params import Memory as Policy
from components.vocabulary import LABELS, NOBODY

EXEMPLARS = "exemplars.parquet"
COLUMNS = {"task": "str", "reason": "str", "rank": "int32", "logit_real": "float32", "logit_forged": "float32"}


@dataclass(frozen=True)
class Memory:
    """Exemplars with the reason each was kept and its rank within its (task, class)."""

    table: FaceTable | None
    exemplars: pd.DataFrame

    @classmethod
    def load(cls, folder: Path) -> Memory:
        """The memory at `folder`; nobody's is empty. Raises BrokenLineage where a generation left none."""
        path = folder / EXEMPLARS
        if not path.is_file() and folder.name != NOBODY:
            raise BrokenLineage(f"expected a memory at '{folder}', found no {EXEMPLARS}. Run the stage curate for it.")
        exemplars = pd.read_parquet(path) if path.is_file() else _nothing()
        return cls(FaceTable.load(folder) if len(exemplars) else None, exemplars)

    def __len__(self) -> int:
        return len(self.exemplars)

    @property
    def digest(self) -> str | None:
        return self.table.digest if self.table else None


@dataclass(frozen=True)
class Candidates:
    """Faces of the new task as the newest generation sees them.

    table       the task's face table; `indices` the rows that may be remembered
    p_forged    (V, N) over augmented views
    embeddings  (N, D)
    """

    task: str
    table: FaceTable
    indices: np.ndarray
    p_forged: np.ndarray
    embeddings: np.ndarray


def kept(memory: Memory, candidates: Candidates, policy: Policy, seed: int) -> pd.DataFrame:
    """Who stays and who comes, as rows (task, label, reason, rank, old, position).

    The budget is dealt equally to every (task, class) seen so far, so half of what is kept is real. Old exemplars give
    way by rank; new ones are chosen by the policy. ``old`` tells whether `position` is a row of the memory or of the task.
    """
    tasks = [*dict.fromkeys(memory.exemplars["task"]), candidates.task]
    shares = iter(selection.quotas(policy.budget, 2 * len(tasks)))
    labels = memory.table.rows["label"].to_numpy() if memory.table else np.array([], dtype=np.int64)
    chosen = []
    for task in tasks:
        for label in LABELS:
            quota = next(shares)
            if task == candidates.task:
                chosen += _newcomers(candidates, label, quota, policy, seed)
            else:
                group = memory.exemplars[(memory.exemplars["task"] == task) & (labels == label)]
                stay = group[group["rank"] < quota].sort_values("rank")
                chosen += [(task, label, r.reason, int(r.rank), True, int(r.Index)) for r in stay.itertuples()]
    return pd.DataFrame(chosen, columns=["task", "label", "reason", "rank", "old", "position"])


def _newcomers(
    candidates: Candidates, label: int, quota: int, policy: Policy, seed: int
) -> list[tuple[str, int, str, int, bool, int]]:
    rows = candidates.table.rows.iloc[candidates.indices]
    group = np.flatnonzero((rows["label"] == label).to_numpy())
    picked: Sequence[tuple[int, str]]
    if policy.policy == "reservoir":
        order = selection.reservoir(quota, size=len(group), seed=(seed, label))
        picked = [(int(position), "reservoir") for position in order]
    else:
        picked = selection.hybrid(
            candidates.p_forged[:, group],
            candidates.embeddings[group],
            rows["clip"].to_numpy()[group].tolist(),
            quota,
            hard=policy.hard,
            representative=policy.representative,
        )
    return [
        (candidates.task, label, reason, rank, False, int(candidates.indices[group[position]]))
        for rank, (position, reason) in enumerate(picked)
    ]


def write_faces(folder: Path, memory: Memory, candidates: Candidates, chosen: pd.DataFrame) -> FaceTable:
    """Write the faces of the next memory, copied byte for byte from the old memory and from the task."""
    parts: list[pd.DataFrame] = []
    encoded: list[bytes] = []
    for old, group in _by_origin(chosen):
        source = memory.table if old else candidates.table
        assert source is not None
        positions = group["position"].to_numpy()
        parts.append(source.rows.iloc[positions])
        encoded += source.encoded(positions)
    return FaceTable.write(folder, pd.concat(parts, ignore_index=True), encoded, candidates.table.profile)


def write_exemplars(folder: Path, chosen: pd.DataFrame, logits: np.ndarray) -> None:
    """Write ``exemplars.parquet``, rows as in the table; logits (N, 2) as the newest generation answers."""
    ordered = pd.concat([group for _, group in _by_origin(chosen)], ignore_index=True)
    table = ordered[["task", "reason", "rank"]].assign(logit_real=logits[:, 0], logit_forged=logits[:, 1])
    write_parquet(table.astype(COLUMNS), folder / EXEMPLARS)


def write_nothing(folder: Path) -> None:
    """An empty memory."""
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(_nothing(), folder / EXEMPLARS)


def _nothing() -> pd.DataFrame:
    return pd.DataFrame({column: pd.Series(dtype=kind) for column, kind in COLUMNS.items()})


def _by_origin(chosen: pd.DataFrame) -> list[tuple[bool, pd.DataFrame]]:
    """Old exemplars first, then newcomers, each in the order they were chosen."""
    return [(bool(old), group) for old, group in chosen.groupby("old", sort=False)]
