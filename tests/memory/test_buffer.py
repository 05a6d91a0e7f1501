"""A memory over the generations: what stays, what goes, and that it needs nothing but itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.errors import BrokenLineage
from components.memory import buffer
from components.memory.buffer import Candidates, Memory
from components.params import Memory as Policy
from components.vocabulary import FORGED, LABELS, NOBODY, REAL

Candidate = Callable[..., Candidates]

HYBRID = Policy(budget=20, policy="hybrid")


def colours(images: np.ndarray) -> np.ndarray:
    """The one colour of each face (N, H, W, 3) as (N, 3)."""
    assert (images == images[:, :1, :1]).all()
    return images[:, 0, 0]


def remember(old: Memory, new: Candidates, policy: Policy, folder: Path, seed: int = 0) -> Memory:
    """The next memory, on disk and read again; the logits of a face are two of its colours."""
    chosen = buffer.kept(old, new, policy, seed)
    table = buffer.write_faces(folder, old, new, chosen)
    seen = colours(table.images(range(len(table)))).astype(np.float32)
    buffer.write_exemplars(folder, chosen, seen[:, :2])
    return Memory.load(folder)


def raised(folder: Path, tasks: list[Candidates], policy: Policy = HYBRID) -> list[Memory]:
    """The memories a line leaves after each of these tasks."""
    memories = [nobody(folder)]
    for number, task in enumerate(tasks, 1):
        memories.append(remember(memories[-1], task, policy, folder / f"M{number}"))
    return memories[1:]


def nobody(folder: Path) -> Memory:
    (folder / NOBODY).mkdir(parents=True, exist_ok=True)
    return Memory.load(folder / NOBODY)


def rows(memory: Memory) -> pd.DataFrame:
    """Every exemplar with the face it stands for."""
    assert memory.table is not None and len(memory.table) == len(memory)
    return pd.concat([memory.exemplars, memory.table.rows], axis=1)


def faces_of(memory: Memory, task: str, label: int) -> list[tuple[str, int]]:
    """(clip, frame) of a group, by rank."""
    group = rows(memory).query("task == @task and label == @label").sort_values("rank")
    assert group["rank"].tolist() == list(range(len(group)))
    return list(zip(group["clip"], group["frame"], strict=True))


@pytest.mark.parametrize("policy", ["hybrid", "reservoir"])
@pytest.mark.parametrize("budget", [2, 3, 7, 20, 25])
def test_the_budget_is_spent_never_exceeded_and_half_of_it_is_real(
    candidates: Candidate, tmp_path: Path, policy: str, budget: int
) -> None:
    tasks = [candidates(name) for name in ("swap", "mesh", "mask")]
    for memory in raised(tmp_path, tasks, Policy(budget=budget, policy=policy)):
        labels = rows(memory)["label"]
        assert len(memory) == budget
        assert 0 <= (labels == REAL).sum() - (labels == FORGED).sum() <= 1


def test_every_task_and_class_keeps_an_equal_share(candidates: Candidate, tmp_path: Path) -> None:
    last = raised(tmp_path, [candidates(name) for name in ("swap", "mesh", "mask")])[-1]
    sizes = rows(last).groupby(["task", "label"]).size()
    assert len(sizes) == 6 and sizes.max() - sizes.min() <= 1


def test_old_exemplars_give_way_from_the_last_rank(candidates: Candidate, tmp_path: Path) -> None:
    first, second, third = raised(tmp_path, [candidates(name) for name in ("swap", "mesh", "mask")])
    for label in LABELS:
        longest = faces_of(first, "swap", label)
        for later in (second, third):
            kept = faces_of(later, "swap", label)
            assert 0 < len(kept) < len(longest)
            assert kept == longest[: len(kept)]


def test_whoever_stays_keeps_the_reason_it_was_chosen_for(candidates: Candidate, tmp_path: Path) -> None:
    first, second = raised(tmp_path, [candidates("swap"), candidates("mesh")])
    before = rows(first).set_index(["clip", "frame"])["reason"]
    for row in rows(second).query("task == 'swap'").itertuples():
        assert row.reason == before[row.clip, row.frame]


def test_rows_faces_and_logits_stand_side_by_side(candidates: Candidate, tmp_path: Path) -> None:
    tasks = {name: candidates(name) for name in ("swap", "mesh", "mask")}
    for memory in raised(tmp_path, list(tasks.values())):
        table = rows(memory)
        assert (table["task"] == table["archive"]).all()
        for position, row in enumerate(table.to_dict("records")):
            source = tasks[row["task"]].table
            place = source.rows.query("clip == @row['clip'] and frame == @row['frame']").index.tolist()
            assert memory.table is not None
            assert memory.table.encoded([position]) == source.encoded(place)
            assert [row["logit_real"], row["logit_forged"]] == colours(source.images(place))[0, :2].tolist()


def test_a_memory_outlives_the_archives_it_was_made_of(candidates: Candidate, tmp_path: Path) -> None:
    before = raised(tmp_path, [candidates("swap"), candidates("mesh")])[-1]
    shutil.rmtree(tmp_path / "tables" / "swap")
    third = remember(before, candidates("mask"), HYBRID, tmp_path / "M3")
    shutil.rmtree(tmp_path / "tables")
    alone = Memory.load((tmp_path / "M3").rename(tmp_path / "elsewhere"))
    assert alone.table is not None and alone.digest == third.digest
    assert len(alone.table.images(range(len(alone)))) == HYBRID.budget
    assert set(alone.exemplars["task"]) == {"swap", "mesh", "mask"}


@pytest.mark.parametrize("budget", [1, 2, 3, 5])
def test_a_budget_smaller_than_the_groups_leaves_the_newest_without(
    candidates: Candidate, tmp_path: Path, budget: int
) -> None:
    memories = raised(
        tmp_path, [candidates(n) for n in ("swap", "mesh", "mask")], Policy(budget=budget, policy="hybrid")
    )
    assert [len(memory) for memory in memories] == [budget] * 3
    assert set(memories[-1].exemplars["rank"]) == {0}


def test_a_task_with_fewer_faces_than_its_share_gives_all_it_has(candidates: Candidate, tmp_path: Path) -> None:
    few = candidates("swap", clips=1, faces=2)
    memory = remember(nobody(tmp_path), few, Policy(budget=100, policy="hybrid"), tmp_path / "M1")
    assert len(memory) == len(few.table)


def test_only_offered_rows_are_remembered(candidates: Candidate, tmp_path: Path) -> None:
    whole = candidates("swap")
    offered = np.flatnonzero(whole.table.rows["source"].isin(["1", "3"]).to_numpy())
    part = Candidates("swap", whole.table, offered, whole.p_forged[:, offered], whole.embeddings[offered])
    for policy in ("hybrid", "reservoir"):
        memory = remember(nobody(tmp_path), part, Policy(budget=8, policy=policy), tmp_path / policy)
        assert set(rows(memory)["source"]) <= {"1", "3"}


def test_another_seed_fills_another_reservoir_and_the_same_seed_the_same(candidates: Candidate, tmp_path: Path) -> None:
    task, policy = candidates("swap"), Policy(budget=10, policy="reservoir")
    digests = [
        remember(nobody(tmp_path), task, policy, tmp_path / f"{n}", seed).digest for n, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_same_faces_give_the_same_bytes(candidates: Candidate, tmp_path: Path) -> None:
    tasks = [candidates("swap"), candidates("mesh")]
    contents = []
    for home in ("here", "there"):
        raised(tmp_path / home, tasks)
        folder = tmp_path / home / "M2"
        contents.append({p.name: p.read_bytes() for p in sorted(folder.iterdir())})
    assert contents[0] == contents[1]
    assert buffer.EXEMPLARS in contents[0]


def test_an_empty_memory_can_be_read_and_followed(candidates: Candidate, tmp_path: Path) -> None:
    buffer.write_nothing(tmp_path / "M1")
    empty = Memory.load(tmp_path / "M1")
    assert (len(empty), empty.table, empty.digest) == (0, None, None)
    assert list(empty.exemplars.columns) == list(nobody(tmp_path).exemplars.columns)
    followed = remember(empty, candidates("swap"), HYBRID, tmp_path / "M2")
    assert len(followed) == HYBRID.budget
    assert followed.exemplars.dtypes.astype(str).to_dict().items() >= {"rank": "int32", "logit_real": "float32"}.items()


def test_a_missing_memory_is_not_mistaken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(BrokenLineage, match=r"expected a memory at '.*M1', found no exemplars.parquet\. Run .* curate"):
        Memory.load(tmp_path / "M1")
