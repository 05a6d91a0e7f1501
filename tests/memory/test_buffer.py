"""A memory over the generations: what stays, what goes, and that it needs nothing but itself."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.errors import BadParams, BrokenLineage
from components.faces.table import FaceTable, encode, encode_mask
from components.memory import buffer
from components.memory.buffer import Candidates, Memory
from components.params import MemoryOptions, Withdrawal
from components.tasks.dataset import Faces, task_number
from components.vocabulary import FORGED, LABELS, NOBODY, REAL

Candidate = Callable[..., Candidates]

HYBRID = MemoryOptions(budget=20, policy="hybrid")
CHOOSING = ("hybrid", "reservoir", "herding", "entropy_and_mean", "sparse_uniform")
TASKS = ("swap", "mesh", "mask")


def colours(images: np.ndarray) -> np.ndarray:
    """The one colour of each face (N, H, W, 3) as (N, 3)."""
    assert (images == images[:, :1, :1]).all()
    return images[:, 0, 0]


def remember(old: Memory, new: Candidates, options: MemoryOptions, folder: Path, seed: int = 0) -> Memory:
    """The next memory, on disk and read again; the logits of a face are two of its colours, and a thousand for every task that
    was learned before."""
    chosen = buffer.kept(old, new, options, seed)
    table = buffer.write_faces(folder, old, new, chosen, options)
    seen = table.images(range(len(table)))[:, 0, 0].astype(np.float32)
    buffer.write_exemplars(folder, old, chosen, table, seen[:, :2] + 1000 * len(old.tasks))
    return Memory.load(folder)


def raised(folder: Path, tasks: list[Candidates], options: MemoryOptions = HYBRID) -> list[Memory]:
    """The memories a line leaves after each of these tasks."""
    memories = [nobody(folder)]
    for number, task in enumerate(tasks, 1):
        memories.append(remember(memories[-1], task, options, folder / f"M{number}"))
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


@pytest.mark.parametrize("policy", CHOOSING)
@pytest.mark.parametrize("budget", [6, 7, 20, 25])
def test_the_budget_is_spent_never_exceeded_and_half_of_it_is_real(
    candidates: Candidate, tmp_path: Path, policy: str, budget: int
) -> None:
    tasks = [candidates(name) for name in ("swap", "mesh", "mask")]
    for memory in raised(tmp_path, tasks, MemoryOptions(budget=budget, policy=policy)):
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


def test_tasks_stand_in_the_order_in_which_they_were_learned_and_the_oldest_faces_first(
    candidates: Candidate, tmp_path: Path
) -> None:
    for number, memory in enumerate(raised(tmp_path, [candidates(name) for name in TASKS]), 1):
        assert memory.tasks == TASKS[:number]
        assert list(dict.fromkeys(rows(memory)["archive"])) == list(TASKS[:number])


def test_a_policy_that_does_not_look_needs_nothing_of_the_detector(candidates: Candidate, tmp_path: Path) -> None:
    seen = candidates("swap")
    task = Faces("swap", seen.table, np.arange(4, 30), ("swap",))
    blind = Candidates.unseen(task)
    assert (blind.task, blind.table) == ("swap", seen.table)
    assert blind.p_forged.shape == (0, 26) and blind.embeddings.shape == (26, 0)
    for policy in buffer.UNSEEING:
        memory = remember(nobody(tmp_path), blind, MemoryOptions(budget=8, policy=policy), tmp_path / policy)
        assert len(memory) == (26 if policy == "everything" else 8)
        offered = seen.table.rows.iloc[4:30][["clip", "frame"]].itertuples(index=False, name=None)
        assert set(rows(memory)[["clip", "frame"]].itertuples(index=False, name=None)) <= set(offered)


def test_whoever_stays_keeps_the_reason_it_was_chosen_for(candidates: Candidate, tmp_path: Path) -> None:
    first, second = raised(tmp_path, [candidates("swap"), candidates("mesh")])
    before = rows(first).set_index(["clip", "frame"])["reason"]
    for row in rows(second).query("task == 'swap'").itertuples():
        assert row.reason == before[row.clip, row.frame]


def test_rows_faces_and_logits_stand_side_by_side(candidates: Candidate, tmp_path: Path) -> None:
    tasks = {name: candidates(name) for name in ("swap", "mesh", "mask")}
    for number, memory in enumerate(raised(tmp_path, list(tasks.values()))):
        table = rows(memory)
        assert (table["task"] == table["archive"]).all()
        for position, row in enumerate(table.to_dict("records")):
            source = tasks[row["task"]].table
            place = source.rows.query("clip == @row['clip'] and frame == @row['frame']").index.tolist()
            assert memory.table is not None
            assert memory.table.encoded([position]) == source.encoded(place)
            colour = colours(source.images(place))[0, :2].astype(int)
            assert [row["logit_real"], row["logit_forged"]] == (colour + 1000 * number).tolist()
            assert [row["born_real"], row["born_forged"]] == (colour + 1000 * TASKS.index(row["task"])).tolist()


def test_what_is_replayed_knows_the_answers_it_was_born_with(candidates: Candidate, tmp_path: Path) -> None:
    memory = raised(tmp_path, [candidates(name) for name in TASKS])[-1]
    assert memory.table is not None
    gone = Memory.load(tmp_path / "M3", [Withdrawal(archive="swap", source="2")])
    for found in (memory, gone):
        faces = found.faces()
        assert faces is not None
        chosen = np.arange(len(faces))[::-2]
        batch = faces.batch(chosen.copy(), replayed=True)
        born = found.exemplars[["born_real", "born_forged"]].to_numpy()[chosen]
        assert batch.born is not None and batch.tasks is not None
        np.testing.assert_array_equal(batch.born.numpy(), born)
        assert batch.tasks.tolist() == [task_number(task) for task in found.exemplars["task"].iloc[chosen]]


def older(folder: Path) -> Memory:
    """The memory as a version wrote it that kept the newest answers alone."""
    table = pd.read_parquet(folder / buffer.EXEMPLARS)
    table.drop(columns=["born_real", "born_forged"]).to_parquet(folder / buffer.EXEMPLARS)
    return Memory.load(folder)


def test_of_a_memory_older_than_births_the_newest_task_s_are_known(candidates: Candidate, tmp_path: Path) -> None:
    raised(tmp_path, [candidates("swap"), candidates("mesh")])
    memory = remember(older(tmp_path / "M2"), candidates("mask"), HYBRID, tmp_path / "M3")
    known = rows(memory).groupby("task")["born_real"].agg(["min", "max"])
    assert known.loc["swap"].isna().all()
    assert (known.loc["mesh"] // 1000 == 1).all() and (known.loc["mask"] // 1000 == 2).all()
    of_swap = memory.exemplars[memory.exemplars["task"] == "swap"]
    replayed = replace(memory, exemplars=of_swap).faces()
    assert replayed is not None and replayed.born is None


# -- a proportional reservoir --------------------------------------------------------------------------------------------


def lottery(budget: int, **said: bool) -> MemoryOptions:
    return MemoryOptions(budget=budget, policy="reservoir_proportional", **said)


def test_a_proportional_reservoir_keeps_tasks_by_their_size_and_every_face_equally_likely(
    candidates: Candidate, tmp_path: Path
) -> None:
    tasks = [
        candidates("swap", clips=2, faces=2),
        candidates("mesh", clips=6, faces=2),
        candidates("mask", clips=4, faces=2),
    ]
    sizes = np.array([len(task.table) for task in tasks])
    kept, runs = [], 12
    for seed in range(runs):
        memory = nobody(tmp_path)
        for number, task in enumerate(tasks, 1):
            memory = remember(memory, task, lottery(12), tmp_path / f"{seed}" / f"M{number}", seed)
        assert len(memory) == 12
        assert list(memory.tasks) == [task for task in TASKS if task in memory.tasks]
        kept.append([(memory.exemplars["task"] == task).sum() for task in TASKS])
    expected = 12 * sizes / sizes.sum()  # 2, 6, 4
    p = sizes / sizes.sum()
    deviation = np.sqrt(12 * p * (1 - p) * (sizes.sum() - 12) / (sizes.sum() - 1) / runs)  # hypergeometric
    assert (np.abs(np.mean(kept, axis=0) - expected) < 4 * deviation).all()


def test_a_face_that_left_a_proportional_reservoir_was_beaten_by_those_that_stay(
    candidates: Candidate, tmp_path: Path
) -> None:
    memories = raised(tmp_path, [candidates(name) for name in TASKS], lottery(20))
    for before, after in pairwise(memories):
        stayed = rows(after).query("task in @before.tasks")
        assert set(stayed["rank"]) <= set(before.exemplars["rank"])
        left = set(before.exemplars["rank"]) - set(stayed["rank"])
        assert left and min(left) > after.exemplars["rank"].max()


def test_a_proportional_reservoir_of_every_task_s_own_lets_nothing_go(candidates: Candidate, tmp_path: Path) -> None:
    first, second = raised(tmp_path, [candidates("swap"), candidates("mesh")], lottery(8, per_task=True))
    assert rows(second).query("task == 'swap'")["sha256"].tolist() == first.exemplars["sha256"].tolist()
    assert len(second) == 16


def test_a_proportional_reservoir_fits_into_bytes(candidates: Candidate, tmp_path: Path) -> None:
    room = 3000
    tasks = [candidates(name, noisy=True) for name in TASKS[:2]]
    options = MemoryOptions(budget_bytes=room, policy="reservoir_proportional")
    for memory in raised(tmp_path, tasks, options):
        assert memory.table is not None
        sizes = [len(face) for face in memory.table.encoded(range(len(memory)))]
        assert room - 300 < sum(sizes) <= room


def test_exemplars_of_another_policy_take_part_in_the_lottery(candidates: Candidate, tmp_path: Path) -> None:
    first = remember(nobody(tmp_path), candidates("swap"), HYBRID, tmp_path / "M1")
    second = remember(first, candidates("mesh"), lottery(20), tmp_path / "M2")
    assert set(second.exemplars["reason"]) == {"reservoir_proportional"}
    assert set(second.tasks) == {"swap", "mesh"}


def test_a_memory_outlives_the_archives_it_was_made_of(candidates: Candidate, tmp_path: Path) -> None:
    before = raised(tmp_path, [candidates("swap"), candidates("mesh")])[-1]
    shutil.rmtree(tmp_path / "tables" / "swap")
    third = remember(before, candidates("mask"), HYBRID, tmp_path / "M3")
    shutil.rmtree(tmp_path / "tables")
    alone = Memory.load((tmp_path / "M3").rename(tmp_path / "elsewhere"))
    assert alone.table is not None and alone.digest == third.digest
    assert len(alone.table.images(range(len(alone)))) == HYBRID.budget
    assert set(alone.exemplars["task"]) == {"swap", "mesh", "mask"}


@pytest.mark.parametrize("policy", CHOOSING)
def test_the_least_budget_keeps_a_face_of_each_class_for_every_task(
    candidates: Candidate, tmp_path: Path, policy: str
) -> None:
    last = raised(tmp_path, [candidates(n) for n in TASKS], MemoryOptions(budget=6, policy=policy))[-1]
    assert sorted(zip(rows(last)["task"], rows(last)["label"], strict=True)) == sorted(product(TASKS, LABELS))


def test_a_face_is_remembered_with_its_mask(candidates: Candidate, tmp_path: Path) -> None:
    task = candidates("swap")
    masks = [encode_mask(np.full((4, 4), n, np.uint8)) if n % 3 else None for n in range(len(task.table))]
    masked = FaceTable.write(
        tmp_path / "masked", task.table.rows, task.table.encoded(range(len(masks))), task.table.profile, masks=masks
    )
    first = remember(nobody(tmp_path), replace(task, table=masked), HYBRID, tmp_path / "M1")
    last = remember(first, candidates("mesh"), HYBRID, tmp_path / "M2")
    named = ["archive", "clip", "frame"]
    known = dict(zip(masked.rows[named].itertuples(index=False, name=None), masks, strict=True))
    for memory in (first, last):
        assert memory.table is not None
        wanted = [known.get(name) for name in memory.table.rows[named].itertuples(index=False, name=None)]
        assert memory.table.encoded_masks(range(len(memory))) == wanted
        assert {mask is None for mask in wanted} == {True, False}


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_a_budget_that_would_leave_a_class_without_a_face_is_refused_in_words(
    candidates: Candidate, tmp_path: Path, budget: int
) -> None:
    tasks = [candidates(name) for name in TASKS]
    found = rf"at least \d, one face of each class for \d tasks, found {budget}\. Raise memory\.budget"
    with pytest.raises(BadParams, match=found):
        raised(tmp_path, tasks, MemoryOptions(budget=budget, policy="hybrid"))


def test_a_budget_of_every_task_is_never_shared(candidates: Candidate, tmp_path: Path) -> None:
    memories = raised(tmp_path, [candidates(n) for n in TASKS], MemoryOptions(budget=9, per_task=True, policy="hybrid"))
    assert [len(memory) for memory in memories] == [9, 18, 27]
    for earlier, later in pairwise(memories):
        kept = rows(later).merge(rows(earlier), on=["archive", "clip", "frame", "rank"])
        assert len(kept) == len(earlier)


def test_everything_is_kept_whatever_the_budget(candidates: Candidate, tmp_path: Path) -> None:
    tasks = [candidates(name) for name in TASKS]
    last = raised(tmp_path, tasks, MemoryOptions(budget=2, policy="everything"))[-1]
    assert set(last.exemplars["reason"]) == {"everything"}
    for task in tasks:
        for label in LABELS:
            mine = task.table.rows.query("label == @label")
            assert faces_of(last, task.task, label) == list(zip(mine["clip"], mine["frame"], strict=True))


@pytest.mark.parametrize("policy", CHOOSING)
def test_bytes_are_spent_and_never_exceeded_by_any_class(candidates: Candidate, tmp_path: Path, policy: str) -> None:
    tasks = [candidates(name, clips=20, noisy=True) for name in TASKS]
    options = MemoryOptions(budget_bytes=6_000, policy=policy)
    for number, memory in enumerate(raised(tmp_path, tasks, options), 1):
        sizes = pd.Series([len(memory.table.encoded([i])[0]) for i in range(len(memory))])
        used = sizes.groupby([memory.exemplars["task"], memory.table.rows["label"]]).sum()
        assert len(used) == 2 * number
        share = options.budget_bytes / len(used)
        assert used.max() <= share
        assert used.min() >= 0.75 * share, used  # a face more would have been too much, or nearly


def test_bytes_too_few_for_a_face_are_refused_in_words(candidates: Candidate, tmp_path: Path) -> None:
    with pytest.raises(BadParams, match=r"room for a real face of 'swap' \(\d+ bytes\), found 10 bytes for each class"):
        raised(tmp_path, [candidates("swap")], MemoryOptions(budget_bytes=20, policy="hybrid"))


def test_a_small_memory_can_be_told_to_prefer_typical_faces_to_hard_ones() -> None:
    options = MemoryOptions(hard=0.5, representative=0.25, hard_from=40)
    assert buffer.shares(options, 40) == (0.5, 0.25)
    assert buffer.shares(options, 20) == (0.25, 0.5)
    assert buffer.shares(MemoryOptions(), 20) == (0.5, 0.25)


def test_what_was_withdrawn_is_not_read_and_does_not_come_back(candidates: Candidate, tmp_path: Path) -> None:
    before = raised(tmp_path, [candidates("swap")])[-1]
    gone = Withdrawal(archive="swap", source=rows(before)["source"][0])
    left = Memory.load(tmp_path / "M1", [gone])
    assert 0 < len(left) < len(before) and left.digest not in (None, before.digest)
    replayed = left.faces()
    assert replayed is not None and set(replayed.rows["source"]) == set(rows(before)["source"]) - {gone.source}
    after = remember(left, candidates("mesh"), HYBRID, tmp_path / "M2")
    assert gone.source not in set(rows(after).query("task == 'swap'")["source"])
    assert after.exemplars.query("task == 'mesh'").shape[0] == HYBRID.budget // 2
    for label in LABELS:
        faces_of(after, "swap", label)  # ranks close up


def test_a_memory_of_which_all_was_withdrawn_is_an_empty_one(candidates: Candidate, tmp_path: Path) -> None:
    raised(tmp_path, [candidates("swap")])
    left = Memory.load(tmp_path / "M1", [Withdrawal(archive="swap", source=str(n)) for n in range(6)])
    assert (len(left), left.digest, left.faces(), left.tasks) == (0, None, None, ())
    assert len(remember(left, candidates("mesh"), HYBRID, tmp_path / "M2")) == HYBRID.budget


def test_each_exemplar_carries_the_digest_of_its_face(candidates: Candidate, tmp_path: Path) -> None:
    memory = raised(tmp_path, [candidates("swap")])[-1]
    assert memory.table is not None
    found = [hashlib.sha256(face).hexdigest() for face in memory.table.encoded(range(len(memory)))]
    assert memory.exemplars["sha256"].tolist() == found


def test_a_table_without_its_exemplars_is_refused(candidates: Candidate, tmp_path: Path) -> None:
    raised(tmp_path, [candidates("swap")])
    torn = pd.read_parquet(tmp_path / "M1" / buffer.EXEMPLARS).iloc[:-1]
    torn.to_parquet(tmp_path / "M1" / buffer.EXEMPLARS)
    with pytest.raises(BrokenLineage, match=r"a face for each of the 19 exemplars in '.*M1', found 20"):
        Memory.load(tmp_path / "M1")


def test_a_task_with_fewer_faces_than_its_share_gives_all_it_has(candidates: Candidate, tmp_path: Path) -> None:
    few = candidates("swap", clips=1, faces=2)
    memory = remember(nobody(tmp_path), few, MemoryOptions(budget=100, policy="hybrid"), tmp_path / "M1")
    assert len(memory) == len(few.table)


def test_only_offered_rows_are_remembered(candidates: Candidate, tmp_path: Path) -> None:
    whole = candidates("swap")
    offered = np.flatnonzero(whole.table.rows["source"].isin(["1", "3"]).to_numpy())
    assert whole.stability is not None
    part = Candidates(
        "swap", whole.table, offered, whole.p_forged[:, offered], whole.embeddings[offered],
        stability=whole.stability[offered],
    )  # fmt: skip
    for policy in CHOOSING:
        memory = remember(nobody(tmp_path), part, MemoryOptions(budget=8, policy=policy), tmp_path / policy)
        assert set(rows(memory)["source"]) <= {"1", "3"}


def test_another_seed_fills_another_reservoir_and_the_same_seed_the_same(candidates: Candidate, tmp_path: Path) -> None:
    task, options = candidates("swap"), MemoryOptions(budget=10, policy="reservoir")
    digests = [
        remember(nobody(tmp_path), task, options, tmp_path / f"{n}", seed).digest for n, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("fair", [False, True], ids=["all in sight", "a fair sample"])
@pytest.mark.parametrize("policy", CHOOSING)
def test_how_long_an_embedding_is_makes_nobody_more_typical(
    candidates: Candidate, tmp_path: Path, policy: str, fair: bool
) -> None:
    task = candidates("swap", clips=12)
    lengths = 2.0 ** np.random.default_rng(0).integers(-6, 7, (len(task.table), 1))  # powers of two: no rounding
    few = np.arange(len(task.table)) % 5 > 0 if fair else None
    here = replace(task, fair=few)
    there = replace(here, embeddings=here.embeddings * lengths)
    chosen, again = (
        buffer.kept(nobody(tmp_path), seen, MemoryOptions(budget=20, policy=policy), 0) for seen in (here, there)
    )
    pd.testing.assert_frame_equal(chosen, again)


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


LOSSY = MemoryOptions(budget_bytes=12_000, codec="webp", quality=90, policy="reservoir")


def textured(candidates: Candidate, name: str, folder: Path) -> Candidates:
    """A task of faces that look photographed: soft shapes, with the grain of a sensor on them."""
    task, generator = candidates(name), np.random.default_rng(list(name.encode()))
    shapes = generator.random((len(task.table), 6, 6, 3))
    images = [
        np.clip(cv2.resize(shape, (48, 48), interpolation=cv2.INTER_CUBIC) * 200 + generator.normal(20, 4, (48, 48, 3)), 0, 255)
        for shape in shapes
    ]  # fmt: skip
    encoded = [encode(image.astype(np.uint8)) for image in images]
    table = FaceTable.write(folder / name, task.table.rows, encoded, task.table.profile)
    return replace(task, table=table, task_bytes=table.encoded_bytes(task.indices))


def test_a_codec_makes_room_for_more_faces_in_the_same_bytes(candidates: Candidate, tmp_path: Path) -> None:
    task = textured(candidates, "swap", tmp_path)
    lossless = remember(nobody(tmp_path), task, replace_in(LOSSY, codec="lossless"), tmp_path / "lossless")
    for codec in ("webp", "jpeg"):
        memory = remember(nobody(tmp_path), task, replace_in(LOSSY, codec=codec), tmp_path / codec)
        assert len(memory) > 2.5 * len(lossless)
        assert memory.table is not None and memory.table.encoded_bytes(range(len(memory))) <= 12_000
        seen = rows(memory).merge(task.table.rows.reset_index(), on=["clip", "frame"])["index"].tolist()
        kept, given = memory.table.images(range(len(memory))).astype(int), task.table.images(seen).astype(int)
        assert 0 < np.abs(kept - given).mean() < 6


def test_an_old_exemplar_is_not_compressed_again(candidates: Candidate, tmp_path: Path) -> None:
    first, second = raised(tmp_path, [textured(candidates, name, tmp_path) for name in ("swap", "mesh")], LOSSY)
    before = set(first.exemplars["sha256"])
    assert set(second.exemplars.query("task == 'swap'")["sha256"]) < before


def test_a_share_is_of_every_tasks_own_bytes_and_for_good(candidates: Candidate, tmp_path: Path) -> None:
    tasks = [textured(candidates, name, tmp_path) for name in TASKS]
    options = MemoryOptions(budget_share=0.2, policy="hybrid")
    memories = raised(tmp_path, tasks, options)
    for task in tasks:
        assert memories[0].table is not None
        kept = [m.exemplars.query("task == @task.task")["sha256"].tolist() for m in memories if task.task in m.tasks]
        assert all(later == kept[0] for later in kept)
    last = memories[-1]
    assert last.table is not None
    sizes = pd.Series([len(last.table.encoded([i])[0]) for i in range(len(last))]).groupby(last.exemplars["task"]).sum()
    for task in tasks:
        assert 0.8 * 0.2 * task.task_bytes <= sizes[task.task] <= 0.2 * task.task_bytes


def test_a_memory_of_everything_loses_nothing(candidates: Candidate, tmp_path: Path) -> None:
    task = textured(candidates, "swap", tmp_path)
    memory = remember(nobody(tmp_path), task, replace_in(LOSSY, policy="everything"), tmp_path / "all")
    assert memory.table is not None
    assert set(memory.table.encoded(range(len(memory)))) == set(task.table.encoded(range(len(task.table))))


def test_two_budgets_of_bytes_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="expected one of budget_bytes and budget_share, found both"):
        MemoryOptions(budget_bytes=1000, budget_share=0.1)


def replace_in(options: MemoryOptions, **said: object) -> MemoryOptions:
    return MemoryOptions.model_validate({**options.model_dump(), **said})
