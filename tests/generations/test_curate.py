"""What a generation keeps: seen in one pass, chosen by its policy, and nothing that was withdrawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from components.errors import BadArchive, BadParams
from components.faces.table import FaceTable
from components.generations.curate import curate, seen_by, views_of
from components.generations.evolve import evolve
from components.generations.generation import load_detector
from components.generations.recipe import Recipe
from components.memory.buffer import Memory
from components.orders import write
from components.params import Withdrawal
from components.tasks.dataset import Faces, as_faces
from components.tasks.loading import Look, looks
from components.vocabulary import LABELS
from components.withdrawal.files import GENERATIONS, MEMORIES, file_of

Make = Callable[..., Path]
POLICIES = ("hybrid", "reservoir", "herding", "entropy_and_mean", "sparse_uniform", "everything")


def birth(root: Path, name: str) -> None:
    row, data = Recipe.read(root / "recipes" / f"{name}.yaml").row, root / "data"
    evolve(
        root / "recipes" / f"{name}.yaml", data / "generations" / row.teacher, data / "memories" / row.teacher,
        data / "faces" / row.learns, file_of(data, GENERATIONS, name), data / "generations" / name,
    )  # fmt: skip


def legacy(root: Path, name: str, into: str = "data", withdrawn: Iterable[Withdrawal] = ()) -> Memory:
    """curate@name, written below `into`, told what is withdrawn."""
    row, data = Recipe.read(root / "recipes" / f"{name}.yaml").row, root / "data"
    folder, told = root / into / "memories" / name, file_of(data, MEMORIES, name)
    write(told, withdrawn)
    curate(
        root / "recipes" / f"{name}.yaml", data / "generations" / name, data / "memories" / row.teacher,
        data / "faces" / row.learns, told, folder,
    )  # fmt: skip
    return Memory.load(folder)


@pytest.fixture
def founder(faces: Make, planned: Make) -> Callable[..., Path]:
    """`founder(policy="herding")`: a workspace in which cffd-M1 was born of 'swap', with these choices for memories."""

    def make(**memory: Any) -> Path:
        faces("swap")
        root = planned(memory={"budget": 12, **memory}, training={"founder_epochs": 1, "batch": 8})
        birth(root, "cffd-M1")
        return root

    return make


def contents(memory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(memory.iterdir())}


def task(root: Path) -> Faces:
    return Faces.training_split("swap", FaceTable.load(root / "data" / "faces" / "swap"))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_leaves_the_same_bytes_twice_and_both_classes(founder: Make, policy: str) -> None:
    root = founder(policy=policy)
    memory = legacy(root, "cffd-M1")
    assert memory.table is not None
    assert len(memory) == (len(task(root)) if policy == "everything" else 12)
    assert np.bincount(memory.table.rows["label"]).tolist() == [len(memory) // 2] * 2
    legacy(root, "cffd-M1", "again")
    again, first = (contents(root / into / "memories" / "cffd-M1") for into in ("again", "data"))
    assert again == first


def test_policies_that_do_not_ask_the_detector_spare_the_pass(founder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.generations.curate.seen_by", None)
    for policy in ("reservoir", "everything"):
        root = founder(policy=policy)
        assert len(legacy(root, "cffd-M1")) > 0
    with pytest.raises(TypeError):
        legacy(founder(policy="herding"), "cffd-M1")


def test_a_pool_that_suffices_changes_nothing_and_a_smaller_one_still_spends_the_budget(founder: Make) -> None:
    root = founder(policy="hybrid")
    whole = legacy(root, "cffd-M1")
    recipe = Recipe.read(root / "recipes" / "cffd-M1.yaml")
    for pool in (20, 7):  # of a class there are 20 faces
        told = recipe.model_copy(update={"memory": recipe.memory.model_copy(update={"pool": pool})})
        told.write(root / "recipes" / "cffd-M1.yaml")
        memory = legacy(root, "cffd-M1", f"pool-{pool}")
        assert (memory.digest == whole.digest) == (pool == 20)
        assert memory.exemplars.groupby(memory.table.rows["label"]).size().tolist() == [6, 6]


def test_a_pass_holds_the_fair_and_the_hardest_and_no_more(founder: Make) -> None:
    root = founder()
    detector = load_detector(root / "data" / "generations" / "cffd-M1")
    whole = seen_by(detector, task(root), 2, 8, limit=20, seed=0)
    part = seen_by(detector, task(root), 2, 8, limit=5, seed=0)
    assert whole.fair.all() and len(whole.indices) == 40
    labels = part.table.rows["label"].to_numpy()[part.indices]
    for label in LABELS:
        assert part.fair[labels == label].sum() == 5 <= (labels == label).sum() <= 15
    at = np.searchsorted(whole.indices, part.indices)
    np.testing.assert_array_equal(part.p_forged, whole.p_forged[:, at])
    np.testing.assert_array_equal(part.embeddings, whole.embeddings[at])


@pytest.mark.parametrize("views", [1, 2, 3, 4])
def test_uncertainty_is_measured_over_as_many_views_as_are_asked_for(founder: Make, views: int) -> None:
    root = founder()
    detector = load_detector(root / "data" / "generations" / "cffd-M1")
    seen, again = (seen_by(detector, task(root), views, 16, limit=99, seed=3) for _ in range(2))
    assert seen.p_forged.shape == (views, 40)
    np.testing.assert_array_equal(seen.p_forged, again.p_forged)
    alone = seen_by(detector, task(root), 1, 16, limit=99, seed=3)
    np.testing.assert_array_equal(seen.p_forged[0], alone.p_forged[0])
    np.testing.assert_array_equal(seen.embeddings, alone.embeddings)
    assert len({row.tobytes() for row in seen.p_forged}) == views


def test_the_second_view_is_the_mirror_image(founder: Make) -> None:
    known = task(founder())
    ((first, second),) = looks(known.table, [Look(known.indices[:3], views_of(3, 2, torch.Generator()))], "cpu")
    faces = as_faces(known.images(np.arange(3)))
    assert torch.equal(first, faces) and torch.equal(second, faces.flip(-1))


def test_a_face_is_as_stable_as_its_embedding_when_its_quarters_are_exchanged(founder: Make) -> None:
    root = founder()
    detector, known = load_detector(root / "data" / "generations" / "cffd-M1"), task(root)
    seen = seen_by(detector, known, 1, 8, limit=20, seed=0, stability=True)
    assert seen.stability is not None and seen_by(detector, known, 1, 8, limit=20, seed=0).stability is None
    faces = known.batch(np.arange(len(known))).faces
    half = faces.shape[-1] // 2
    rows = [
        torch.cat([faces[..., side, half:], faces[..., side, :half]], -1) for side in (slice(half, None), slice(half))
    ]
    with torch.inference_mode():
        alike = torch.cosine_similarity(detector(faces).embedding, detector(torch.cat(rows, -2)).embedding)
    np.testing.assert_allclose(seen.stability, alike, atol=1e-5)


def test_exemplars_keep_their_first_answers_beside_the_newest(founder: Make, faces: Make) -> None:
    root = founder(budget=40)
    first = legacy(root, "cffd-M1")
    faces("mesh")
    birth(root, "cffd-M2")
    second = legacy(root, "cffd-M2")
    before = first.exemplars.set_index("sha256")
    for row in second.exemplars.itertuples():
        newest, born = (row.logit_real, row.logit_forged), (row.born_real, row.born_forged)
        of_birth = (
            before.loc[row.sha256, ["logit_real", "logit_forged"]].tolist() if row.task == "swap" else list(newest)
        )
        assert list(born) == of_birth
        assert (born != newest) == (row.task == "swap")


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_withdrawn_today_is_not_remembered_although_the_recipe_is_older(founder: Make, policy: str) -> None:
    root = founder(policy=policy)
    memory = legacy(root, "cffd-M1", withdrawn=[Withdrawal(archive="swap", source="2")])
    assert memory.table is not None
    assert set(memory.table.rows["source"]) <= {"0", "1", "3", "4"}
    assert len(memory) == (32 if policy == "everything" else 12)


def test_what_a_recipe_of_version_0_1_names_is_not_remembered_either(founder: Make) -> None:
    root = founder()
    recipe = root / "recipes" / "cffd-M1.yaml"
    said = yaml.safe_load(recipe.read_text())
    assert "withdrawn" not in said["memory"]
    said["memory"]["withdrawn"] = [{"archive": "swap", "clip": "1/2.mp4"}]
    recipe.write_text(yaml.safe_dump(said))
    memory = legacy(root, "cffd-M1")
    assert memory.table is not None and "1/2.mp4" not in set(memory.table.rows["clip"])


def test_a_withdrawn_exemplar_of_an_older_task_goes_with_the_next_memory(founder: Make, faces: Make) -> None:
    root = founder(budget=40)
    first = legacy(root, "cffd-M1")
    assert first.table is not None and "2" in set(first.table.rows["source"])
    faces("mesh")
    birth(root, "cffd-M2")
    second = legacy(root, "cffd-M2", withdrawn=[Withdrawal(archive="swap", source="2")])
    assert second.table is not None
    kept = second.table.rows.groupby("archive")["source"].agg(set).to_dict()
    assert kept == {"mesh": {"0", "1", "2", "3", "4"}, "swap": {"0", "1", "3", "4"}}


def test_a_task_of_which_a_class_was_withdrawn_is_refused(founder: Make) -> None:
    orders = [Withdrawal(archive="swap", clip=f"0/{n}.mp4") for n in range(5)]
    with pytest.raises(BadArchive, match="besides the 20 that were withdrawn, found no real one"):
        legacy(founder(), "cffd-M1", withdrawn=orders)


def test_a_budget_too_small_is_told_before_a_face_is_looked_at(
    founder: Make, faces: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = founder()
    legacy(root, "cffd-M1")
    faces("mesh")
    recipe = Recipe.read(root / "recipes" / "cffd-M2.yaml")
    scarce = recipe.model_copy(update={"memory": recipe.memory.model_copy(update={"budget": 3})})
    scarce.write(root / "recipes" / "cffd-M2.yaml")
    birth(root, "cffd-M2")
    monkeypatch.setattr("components.generations.curate.seen_by", None)
    with pytest.raises(BadParams, match="at least 4, one face of each class for 2 tasks, found 3"):
        legacy(root, "cffd-M2")
    assert not (root / "data" / "memories" / "cffd-M2").exists()
