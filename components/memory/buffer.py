"""A memory on disk: a face table of its own (self-contained) and ``exemplars.parquet``, one row per face.

exemplars.parquet   task, reason, rank, logit_real, logit_forged, born_real, born_forged, sha256      rows as in the table

logit_*   answers of the newest generation
born_*    answers of the generation that first kept the face; NaN where an older version did not write them down
sha256    of the encoded face
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from components.errors import BadParams, BrokenLineage
from components.faces.table import FaceTable, Writer, encode, write_parquet
from components.memory import EXEMPLARS, selection
from components.memory.selection import Ranked
from components.orders import struck
from components.params import MemoryOptions, Withdrawal
from components.tasks.dataset import Faces, task_number
from components.vocabulary import LABEL_NAMES, LABELS, NOBODY

COLUMNS = {
    "task": "str",
    "reason": "str",
    "rank": "int32",
    "logit_real": "float32",
    "logit_forged": "float32",
    "born_real": "float32",
    "born_forged": "float32",
    "sha256": "str",
}
ANSWERS, BORN = ["logit_real", "logit_forged"], ["born_real", "born_forged"]
EVERYTHING = "everything"
LOTTERY = "reservoir_proportional"
UNSEEING = ("reservoir", LOTTERY, EVERYTHING)
"""Policies that ask nothing of the detector."""
LOTS = 2**31
"""How many numbers a face may draw in a proportional reservoir."""
MEASURED = 256  # faces whose size tells how many fit into a budget of bytes


@dataclass(frozen=True)
class Memory:
    """Exemplars with the reason each was kept and its rank within its (task, class).

    exemplars   one row each; the index is the row of the table
    """

    table: FaceTable | None
    exemplars: pd.DataFrame

    @classmethod
    def load(cls, folder: Path, without: Sequence[Withdrawal] = ()) -> Memory:
        """The memory at `folder` but for what was withdrawn; nobody's is empty.

        Raises BrokenLineage where a generation left none, or left a table and exemplars that do not agree.
        """
        path = folder / EXEMPLARS
        if not path.is_file() and folder.name != NOBODY:
            raise BrokenLineage(f"expected a memory at '{folder}', found no {EXEMPLARS}. Run the stage curate for it.")
        exemplars = _with_births(pd.read_parquet(path)) if path.is_file() else _nothing()
        if exemplars.empty:
            return cls(None, exemplars)
        table = FaceTable.load(folder)
        if len(table) != len(exemplars):
            raise BrokenLineage(
                f"expected a face for each of the {len(exemplars)} exemplars in '{folder}', found {len(table)}. "
                "Restore it with `dvc checkout`, or run the stage curate for it."
            )
        return cls(table, exemplars[~struck(table.rows, without)])

    def __len__(self) -> int:
        return len(self.exemplars)

    @property
    def positions(self) -> np.ndarray:
        """Rows of the table that are remembered."""
        return self.exemplars.index.to_numpy()

    @property
    def digest(self) -> str | None:
        """Of the faces that are remembered; the table's own where that is all of them."""
        if self.table is None or not len(self):
            return None
        if len(self) == len(self.table):
            return self.table.digest
        return hashlib.sha256(f"{self.table.digest} {self.positions.tolist()}".encode()).hexdigest()

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order in which they were learned."""
        return tuple(dict.fromkeys(self.exemplars["task"]))

    def faces(self, met: Sequence[str] = ()) -> Faces | None:
        """What can be replayed to a line that has `met` some methods; None where there is nothing."""
        if self.table is None or not len(self):
            return None
        known = self.exemplars[BORN].to_numpy(np.float32)
        born = np.full((len(self.table), len(BORN)), np.nan, np.float32)
        born[self.positions] = known
        whole = Faces.whole("memory", self.table, met)
        return replace(whole, indices=self.positions, born=None if np.isnan(known).all() else born)


@dataclass(frozen=True)
class Candidates:
    """Faces of the new task as the newest generation sees them.

    table       the task's face table; `indices` (N,) the rows that may be remembered
    p_forged    (V, N) over augmented views
    embeddings  (N, D)
    fair        (N,) bool, those that stand for the whole task where it was too large to be held; None: all
    stability   (N,) cosine of the embeddings of a face and of its image with its quarters exchanged; None: nobody asked
    task_bytes  of all its training faces as they lie in the table
    """

    task: str
    table: FaceTable
    indices: np.ndarray
    p_forged: np.ndarray
    embeddings: np.ndarray
    fair: np.ndarray | None = None
    stability: np.ndarray | None = None
    task_bytes: int = 0

    @classmethod
    def unseen(cls, task: Faces) -> Candidates:
        """For policies that do not look."""
        unseen = np.empty((0, len(task))), np.empty((len(task), 0))
        return cls(task.name, task.table, task.indices, *unseen, task_bytes=task.encoded_bytes)

    def encoded(self, position: int, options: MemoryOptions) -> bytes:
        """The face in a row of the table, as a memory of these options keeps it."""
        if options.lossy:
            return encode(self.table.image(position), options.codec, options.quality)
        return self.table.encoded([position])[0]


def expect_room(options: MemoryOptions, tasks: int) -> None:
    """Raise BadParams unless the budget holds a face of each class for every task, so that genuine ones are never missing."""
    least = len(LABELS) * (1 if options.per_task else tasks)
    counts = options.policy != EVERYTHING and not options.counts_bytes and not options.keeps_nothing
    if counts and options.budget < least:
        whole = "a task" if options.per_task else f"{tasks} tasks"
        raise BadParams(
            f"expected a memory budget of at least {least}, one face of each class for {whole}, found {options.budget}. "
            "Raise memory.budget in params.yaml before the generation is planned, or set it to 0 to remember nothing."
        )


def room(options: MemoryOptions, tasks: int, task_bytes: int = 0) -> list[int | None]:
    """What each (task, class) may keep, in exemplars or in bytes: equal parts, genuine faces first; None: all it has.

    task_bytes  of the newest task's training faces, of which `memory.budget_share` is a share
    """
    if options.budget_share is not None:
        own = selection.quotas(int(options.budget_share * task_bytes), len(LABELS))
        return [None] * len(LABELS) * (tasks - 1) + list[int | None](own)
    budget = options.budget if options.budget_bytes is None else options.budget_bytes
    each = (
        selection.quotas(budget, len(LABELS)) * tasks
        if options.per_task
        else selection.quotas(budget, len(LABELS) * tasks)
    )
    return list[int | None](each)


def most_of_a_class(memory: Memory, task: Faces, options: MemoryOptions) -> int:
    """How many faces of a class must be in sight for the budget to be spent, and no fewer than `memory.pool`."""
    shares = room(options, len(memory.tasks) + 1, task.encoded_bytes)[-len(LABELS) :]
    most = max(share for share in shares if share is not None)
    if options.counts_bytes:
        newcomers = Candidates.unseen(task)
        smallest = min(len(newcomers.encoded(int(i), options)) for i in task.indices[:: -(-len(task) // MEASURED)])
        most = -(-most // smallest)
    return max(options.pool, most)


def kept(memory: Memory, candidates: Candidates, options: MemoryOptions, seed: int) -> pd.DataFrame:
    """Who stays and who comes, as rows (task, label, reason, rank, old, position).

    The budget is dealt equally to every (task, class) seen so far, so half of what is kept is real. Old exemplars give
    way by rank; new ones are chosen by the policy. A proportional reservoir deals nothing out (`_drawn_of_all`). ``old`` tells
    whether `position` is a row of the memory or of the task.
    Raises BadParams where the budget cannot hold a face of each class for every task.
    """
    tasks = [*memory.tasks, candidates.task]
    expect_room(options, len(tasks))
    if options.policy == LOTTERY:
        return _drawn_of_all(memory, candidates, options, seed)
    groups = [(task, label) for task in tasks for label in LABELS]
    chosen: list[tuple[str, int, str, int, bool, int]] = []
    for (task, label), share in zip(groups, room(options, len(tasks), candidates.task_bytes), strict=True):
        new = task == candidates.task
        if new:
            assert share is not None
            picked = _newcomers(candidates, label, share, options, seed)
        else:
            picked = _stayers(memory, task, label, share, options)
        chosen += [(task, label, reason, rank, not new, position) for rank, (position, reason) in enumerate(picked)]
    return pd.DataFrame(chosen, columns=["task", "label", "reason", "rank", "old", "position"])


def _drawn_of_all(memory: Memory, candidates: Candidates, options: MemoryOptions, seed: int) -> pd.DataFrame:
    """A reservoir over all tasks so far: every face of the stream equally likely, so that larger tasks keep more.

    Each face draws a number once, its rank, and the lowest of all the stream stay: an older face that leaves was beaten by
    new ones, as in a reservoir that met them one by one (Vitter 1985), and no count of the stream is needed. Exemplars
    that another policy chose draw theirs now, as if they were all that there had been.
    """
    lots = np.random.default_rng([seed, task_number(candidates.task)])
    old = memory.exemplars[["task", "reason", "rank"]].assign(old=True, position=memory.positions)
    old["label"] = [] if memory.table is None else memory.table.rows["label"].to_numpy()[memory.positions]
    old["rank"] = old["rank"].where(old["reason"] == LOTTERY, lots.integers(LOTS, size=len(old)))
    new = pd.DataFrame({"position": candidates.indices, "rank": lots.integers(LOTS, size=len(candidates.indices))})
    new["label"] = candidates.table.rows["label"].to_numpy()[candidates.indices]
    new = new.assign(task=candidates.task, old=False)
    own = options.per_task or options.budget_share is not None
    before, drawn = (old, new) if own else (old[:0], pd.concat([old, new]))
    drawn = drawn.sort_values("rank", kind="stable")
    kept = drawn[: _fitting_of_all(drawn, memory, candidates, options)].sort_values(
        ["old", "position"], ascending=[False, True]
    )
    whole = pd.concat([before, kept], ignore_index=True).assign(reason=LOTTERY)
    return whole[["task", "label", "reason", "rank", "old", "position"]]


def _fitting_of_all(drawn: pd.DataFrame, memory: Memory, candidates: Candidates, options: MemoryOptions) -> int:
    """How many of these, from the first on, fit into the budget."""
    if not options.counts_bytes:
        return options.budget
    left = options.budget_bytes or int((options.budget_share or 0) * candidates.task_bytes)
    for count, (old, position) in enumerate(zip(drawn["old"].tolist(), drawn["position"].tolist(), strict=True)):
        left -= len(
            _source(old, memory, candidates).encoded([position])[0] if old else candidates.encoded(position, options)
        )
        if left < 0:
            return count
    return len(drawn)


def _stayers(memory: Memory, task: str, label: int, share: int | None, options: MemoryOptions) -> Ranked:
    """The first of a group by rank."""
    assert memory.table is not None
    of_class = memory.table.rows["label"].to_numpy()[memory.positions] == label
    group = memory.exemplars[of_class & (memory.exemplars["task"] == task).to_numpy()].sort_values("rank")
    ranked = list(zip(group.index.tolist(), group["reason"].tolist(), strict=True))
    if options.policy == EVERYTHING or share is None or not ranked:
        return ranked
    if not options.counts_bytes:
        return ranked[:share]
    sizes = [len(face) for position, _ in ranked for face in memory.table.encoded([position])]
    return ranked[: _fitting(sizes, share, task, label)]


def _newcomers(candidates: Candidates, label: int, share: int, options: MemoryOptions, seed: int) -> Ranked:
    rows = candidates.table.rows
    group = np.flatnonzero(rows["label"].to_numpy()[candidates.indices] == label)
    sources = rows["source"].iloc[candidates.indices[group]].tolist()
    choose = partial(_chosen, candidates, group, sources, options, (seed, label))
    if options.policy == EVERYTHING:
        return choose(len(group))
    if not options.counts_bytes:
        return choose(share)
    return _within(candidates, label, group, share, options, choose)


def _chosen(
    candidates: Candidates,
    group: np.ndarray,
    sources: list[str],
    options: MemoryOptions,
    seed: Sequence[int],
    quota: int,
) -> Ranked:
    """The policy's choice among the candidates of a class, as rows of the task's table."""
    p_forged, embeddings = candidates.p_forged[:, group], candidates.embeddings[group]
    fair = None if candidates.fair is None else np.flatnonzero(candidates.fair[group])
    picked: Ranked
    match options.policy:
        case "everything":
            picked = [(position, EVERYTHING) for position in range(len(group))]
        case "reservoir":
            order = selection.reservoir(quota, size=len(group), seed=seed)
            picked = [(int(position), "reservoir") for position in order]
        case "herding":
            among = np.arange(len(group)) if fair is None else fair
            order = among[selection.herding(selection.normalised(embeddings[among].astype(np.float64)), quota)]
            picked = [(int(position), selection.REPRESENTATIVE) for position in order]
        case "sparse_uniform":
            assert candidates.stability is not None
            picked = selection.sparse_uniform(embeddings, candidates.stability[group], quota, fair=fair)
        case "entropy_and_mean":
            picked = selection.entropy_and_mean(p_forged, embeddings, quota, fair=fair)
        case "hybrid":
            hard, representative = shares(options, quota)
            picked = selection.hybrid(
                p_forged, embeddings, sources, quota, hard=hard, representative=representative,
                per_source=options.per_source, fair=fair,
            )  # fmt: skip
        case other:
            raise BadParams(f"expected a memory policy that keeps faces, found '{other}'. Plan the generation again.")
    return [(int(candidates.indices[group[position]]), reason) for position, reason in picked]


def shares(options: MemoryOptions, quota: int) -> tuple[float, float]:
    """Hard and representative share of a quota: in one below `hard_from`, hard faces give way to representative ones."""
    hard = options.hard * min(1, quota / options.hard_from) if options.hard_from else options.hard
    return hard, options.representative + options.hard - hard


def _within(
    candidates: Candidates,
    label: int,
    group: np.ndarray,
    share: int,
    options: MemoryOptions,
    choose: Callable[[int], Ranked],
) -> Ranked:
    """As many newcomers as fit into `share` bytes.

    The size of some faces tells how many to ask for; the size of those chosen, which need not be like the others,
    corrects it once; who then is too much leaves from the last rank.
    """
    size = cache(lambda position: len(candidates.encoded(position, options)))
    some = candidates.indices[group[:: -(-len(group) // MEASURED)]].tolist()
    picked = choose(max(1, int(share / np.mean([size(position) for position in some]))))
    picked = choose(max(1, int(share / np.mean([size(position) for position, _ in picked]))))
    return picked[: _fitting([size(position) for position, _ in picked], share, candidates.task, label)]


def _fitting(sizes: Sequence[int], share: int, task: str, label: int) -> int:
    """How many faces of these sizes, from the first rank on, fit into `share` bytes; raises BadParams where not one does."""
    fitting = int(np.searchsorted(np.cumsum(sizes), share, side="right"))
    if not fitting:
        raise BadParams(
            f"expected a memory with room for a {LABEL_NAMES[label]} face of '{task}' ({sizes[0]} bytes), found {share} "
            "bytes for each class of a task. Raise memory.budget_bytes or memory.budget_share in params.yaml before the "
            "generation is planned, or choose a codec."
        )
    return fitting


def write_faces(
    folder: Path, memory: Memory, candidates: Candidates, chosen: pd.DataFrame, options: MemoryOptions
) -> FaceTable:
    """Write the faces of the next memory and their masks: old exemplars byte for byte, newcomers by the memory's codec."""
    sources = [(_source(old, memory, candidates), group["position"].to_numpy()) for old, group in _by_origin(chosen)]
    masks = any(table.knows_masks(positions) for table, positions in sources)
    with Writer(folder, candidates.table.profile, masks=masks) as writer:
        for table, positions in sources:
            new = table is candidates.table
            writer.add_from(table, positions, (lambda face: candidates.encoded(face, options)) if new else None)
        return writer.finish()


def write_exemplars(folder: Path, memory: Memory, chosen: pd.DataFrame, table: FaceTable, logits: np.ndarray) -> None:
    """Write ``exemplars.parquet``, rows as in the table; logits (N, 2) as the newest generation answers, which are those
    that newcomers are born with."""
    ordered = pd.concat([group for _, group in _by_origin(chosen)], ignore_index=True)
    digests = [hashlib.sha256(table.encoded([position])[0]).hexdigest() for position in range(len(table))]
    old, born = ordered["old"].to_numpy(dtype=bool), logits.copy()
    born[old] = memory.exemplars.loc[ordered["position"][old], BORN]
    about = ordered[["task", "reason", "rank"]].assign(sha256=digests)
    about[ANSWERS], about[BORN] = logits, born
    write_parquet(about[[*COLUMNS]].astype(COLUMNS), folder / EXEMPLARS)


def write_nothing(folder: Path) -> None:
    """An empty memory."""
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(_nothing(), folder / EXEMPLARS)


def _nothing() -> pd.DataFrame:
    return pd.DataFrame({column: pd.Series(dtype=kind) for column, kind in COLUMNS.items()})


def _with_births(exemplars: pd.DataFrame) -> pd.DataFrame:
    """With the logits exemplars were born with, also where an older version wrote down the newest ones alone: those of the
    newest task are the same, and of the others nobody knows."""
    if set(BORN) <= set(exemplars):
        return exemplars
    newest = exemplars["task"] == exemplars["task"].iloc[-1] if len(exemplars) else np.empty(0, bool)
    known = {born: exemplars[now].where(newest) for born, now in zip(BORN, ANSWERS, strict=True)}
    return exemplars.assign(**known)


def _source(old: bool, memory: Memory, candidates: Candidates) -> FaceTable:
    if not old:
        return candidates.table
    assert memory.table is not None
    return memory.table


def _by_origin(chosen: pd.DataFrame) -> list[tuple[bool, pd.DataFrame]]:
    """Old exemplars first, then newcomers, each in the order they were chosen."""
    return [(bool(old), group) for old, group in chosen.groupby("old", sort=False)]
