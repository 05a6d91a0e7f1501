"""Few-shot from end to end: what a generation learns from and may remember are the same few clips and frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from components.generations.card import read_card
from components.generations.curate import curate
from components.generations.evolve import evolve
from components.generations.recipe import Recipe
from components.memory.buffer import Memory
from components.orders import write
from components.withdrawal.files import GENERATIONS, MEMORIES, file_of

Make = Callable[..., Path]


def raised(root: Path, name: str) -> Memory:
    """evolve@name and curate@name: what it remembers."""
    recipe, data = root / "recipes" / f"{name}.yaml", root / "data"
    row, told = Recipe.read(recipe).row, file_of(data, MEMORIES, name)
    before, own = data / "memories" / row.teacher, data / "generations" / name
    orders = file_of(data, GENERATIONS, name)
    evolve(recipe, data / "generations" / row.teacher, before, data / "faces" / row.learns, orders, own)
    write(told, ())
    curate(recipe, own, before, data / "faces" / row.learns, told, data / "memories" / name)
    return Memory.load(data / "memories" / name)


def test_few_clips_and_frames_are_what_is_learned_from_and_all_there_is_to_remember(faces: Make, planned: Make) -> None:
    for task in ("swap", "mesh"):
        faces(task)
    few = {"founder_clips_per_class": 3, "clips_per_class": 1, "frames_per_clip": 2}
    root = planned(memory={"policy": "everything"}, training={"founder_epochs": 1, "epochs": 1, "batch": 8, **few})
    raised(root, "cffd-M1")
    left = raised(root, "cffd-M2").faces().rows
    counted = left.groupby(["archive", "label"])["clip"].nunique()
    assert counted["swap"].tolist() == [3, 3] and counted["mesh"].tolist() == [1, 1]
    assert set(left.groupby(["archive", "clip"]).size()) == {2}
    assert read_card(root / "data" / "generations" / "cffd-M1")["images_seen"] == 16, "12 faces in batches of 8"
