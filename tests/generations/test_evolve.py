"""A generation is born, leaves a memory, and both are the same bytes whenever they are made of the same things."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from components import detectors, strategies
from components.digests import file_digest
from components.errors import BrokenLineage
from components.faces.table import FaceTable
from components.generations import training
from components.generations.card import read_card
from components.generations.curate import answers, curate
from components.generations.evolve import CHECKPOINTS, evolve, initial_student
from components.generations.generation import load_carry_over, load_detector, save_tensors
from components.generations.lineage import Lineage, check
from components.generations.recipe import Recipe
from components.memory.buffer import Memory
from components.orders import write
from components.params import Withdrawal
from components.tasks.dataset import Faces, as_faces
from components.vocabulary import FORGED, NOBODY, REAL
from components.withdrawal.files import GENERATIONS, MEMORIES, file_of

Make = Callable[..., Path]
GONE = (Withdrawal(archive="swap", source="2"),)


@pytest.fixture
def two_tasks(faces: Make) -> None:
    faces("swap")
    faces("mesh")


def birth(root: Path, name: str, into: str = "data") -> Path:
    """evolve@name, written below `into`."""
    row = Recipe.read(root / "recipes" / f"{name}.yaml").row
    data, output = root / "data", root / into / "generations" / name
    evolve(
        root / "recipes" / f"{name}.yaml", data / "generations" / row.teacher, data / "memories" / row.teacher,
        data / "faces" / row.learns, file_of(data, GENERATIONS, name), output,
    )  # fmt: skip
    return output


def legacy(root: Path, name: str, into: str = "data") -> Path:
    """curate@name, written below `into`."""
    row = Recipe.read(root / "recipes" / f"{name}.yaml").row
    data, output = root / "data", root / into / "memories" / name
    curate(
        root / "recipes" / f"{name}.yaml", data / "generations" / name, data / "memories" / row.teacher,
        data / "faces" / row.learns, file_of(data, MEMORIES, name), output,
    )  # fmt: skip
    return output


def raise_two(root: Path, line: str = "cffd") -> None:
    for name in (f"{line}-M1", f"{line}-M2"):
        birth(root, name)
        legacy(root, name)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_two_generations_and_their_memories_are_the_same_bytes_twice(two_tasks: None, planned: Make) -> None:
    root = planned()
    raise_two(root)
    for name in ("cffd-M1", "cffd-M2"):
        assert contents(birth(root, name, "again")) == contents(root / "data" / "generations" / name)
        assert contents(legacy(root, name, "again")) == contents(root / "data" / "memories" / name)
    check(Lineage.read(root / "lineage.yaml"), root / "recipes", root / "data" / "generations")


def test_a_generation_says_what_it_was_made_of(two_tasks: None, planned: Make) -> None:
    root = planned()
    raise_two(root)
    folder = root / "data" / "generations" / "cffd-M2"
    assert sorted(contents(folder)) == ["card.json", "carry_over.safetensors", "curve.csv", "weights.safetensors"]
    card = read_card(folder)
    expected = {
        "generation": "cffd-M2",
        "line": "cffd",
        "detector": "pinhole",
        "options": {"width": 4, "spread": 0.01},
        "strategy": "cffd",
        "learns": "mesh",
        "teacher": "cffd-M1",
        "teacher_weights": read_card(root / "data" / "generations" / "cffd-M1")["weights"],
        "recipe": Recipe.read(root / "recipes" / "cffd-M2.yaml").digest,
        "weights": file_digest(folder / "weights.safetensors"),
        "faces": FaceTable.load(root / "data" / "faces" / "mesh").digest,
        "memory": Memory.load(root / "data" / "memories" / "cffd-M1").digest,
    }
    assert {name: card[name] for name in expected} == expected
    assert read_card(root / "data" / "generations" / "cffd-M1")["memory"] is None
    curve = pd.read_csv(folder / "curve.csv")
    assert list(curve) == ["epoch", "cross_entropy", "spread", "hscl", "slkd", "mfkd", "rkd", "loss", "images"]
    assert len(curve) == 2 and card["images_seen"] == curve["images"].iloc[-1]
    assert load_carry_over(folder) == {}


def test_a_memory_holds_both_tasks_within_its_budget_and_answers_as_the_newest(two_tasks: None, planned: Make) -> None:
    root = planned()
    raise_two(root)
    memory = Memory.load(root / "data" / "memories" / "cffd-M2")
    assert memory.table is not None and len(memory) == 12
    assert memory.exemplars.groupby([memory.exemplars["task"], memory.table.rows["label"]]).size().tolist() == [3] * 4
    detector = load_detector(root / "data" / "generations" / "cffd-M2")
    for position, row in enumerate(memory.exemplars.itertuples()):
        with torch.inference_mode():
            logits = detector(as_faces(memory.table.images([position]))).logits[0]
        torch.testing.assert_close(logits, torch.tensor([row.logit_real, row.logit_forged]))


def test_a_line_that_remembers_nothing_leaves_an_empty_memory_and_goes_on(two_tasks: None, planned: Make) -> None:
    root = planned()
    raise_two(root, "plain")
    assert len(Memory.load(root / "data" / "memories" / "plain-M2")) == 0
    assert read_card(root / "data" / "generations" / "plain-M2")["memory"] is None


def test_a_budget_of_nothing_leaves_an_empty_memory(two_tasks: None, planned: Make) -> None:
    root = planned(memory={"budget": 0}, strategies={"cffd": {"new_genuine": False}})
    raise_two(root)
    assert len(Memory.load(root / "data" / "memories" / "cffd-M2")) == 0
    assert "slkd" not in pd.read_csv(root / "data" / "generations" / "cffd-M2" / "curve.csv")


def test_a_forged_face_is_told_from_a_real_one_after_some_lessons(faces: Make, planned: Make) -> None:
    faces("swap")
    root = planned(training={"founder_epochs": 12, "batch": 8, "learning_rate": 0.03})
    detector = load_detector(birth(root, "cffd-M1"))
    task = Faces.training_split("swap", FaceTable.load(root / "data" / "faces" / "swap"))
    p = np.diff(answers(detector, task, batch=16), axis=1)[:, 0]
    assert p[task.labels == FORGED].min() > p[task.labels == REAL].max()


def test_a_killed_birth_is_taken_up_and_ends_with_the_same_bytes(
    two_tasks: None, planned: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = planned()
    whole = contents(birth(root, "cffd-M1", "whole"))
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("components.progress.learning", lambda name: nullcontext(killed_at_step_3))
        with pytest.raises(KeyboardInterrupt):
            birth(root, "cffd-M1")
    assert len(list(CHECKPOINTS.glob("cffd-M1/*.pt"))) == 1
    assert not (root / "data" / "generations" / "cffd-M1").exists()
    assert contents(birth(root, "cffd-M1")) == whole
    assert not (CHECKPOINTS / "cffd-M1").exists()


def killed_at_step_3(progress: training.Progress, epochs: int, steps: int) -> None:
    if progress.step == 3:
        raise KeyboardInterrupt


def test_a_checkpoint_of_other_faces_is_not_taken_up(
    faces: Make, planned: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = planned()
    faces("swap", clips=4)
    whole = contents(birth(root, "cffd-M1", "whole"))
    faces("swap", clips=5)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("components.progress.learning", lambda name: nullcontext(killed_at_step_3))
        with pytest.raises(KeyboardInterrupt):
            birth(root, "cffd-M1")
    faces("swap", clips=4)
    assert contents(birth(root, "cffd-M1")) == whole


def test_a_founder_starts_from_its_detector_and_a_student_from_its_teacher(two_tasks: None, planned: Make) -> None:
    root = planned()
    raise_two(root)
    founder, later = (Recipe.read(root / "recipes" / f"cffd-M{n}.yaml") for n in (1, 2))
    torch.manual_seed(founder.seed)
    fresh = detectors.build("pinhole", detectors.options("pinhole", {})).state_dict()
    first = initial_student(founder, root / "data" / "generations" / NOBODY).state_dict()
    assert all(torch.equal(fresh[name], first[name]) for name in fresh)
    teacher = root / "data" / "generations" / "cffd-M1"
    second = initial_student(later, teacher)
    taught = load_file(teacher / "weights.safetensors")
    assert all(torch.equal(taught[name], tensor) for name, tensor in second.state_dict().items())
    assert not torch.equal(taught["head.weight"], fresh["head.weight"])


def test_a_student_learns_with_the_options_of_its_own_recipe(two_tasks: None, planned: Make) -> None:
    root = planned(detectors={"pinhole": {"spread": 0.01}})
    birth(root, "cffd-M1")
    recipe = Recipe.read(root / "recipes" / "cffd-M2.yaml")
    options = {**recipe.detector.options, "spread": 0.5}
    recipe = recipe.model_copy(update={"detector": recipe.detector.model_copy(update={"options": options})})
    assert initial_student(recipe, root / "data" / "generations" / "cffd-M1").options.spread == 0.5


def test_what_a_detector_freezes_is_frozen_in_its_descendants(two_tasks: None, planned: Make) -> None:
    root = planned()
    birth(root, "cffd-M1")
    student = initial_student(Recipe.read(root / "recipes" / "cffd-M2.yaml"), root / "data" / "generations" / "cffd-M1")
    frozen = {name for name, p in student.named_parameters() if not p.requires_grad}
    assert frozen == {"colours.weight", "colours.bias"}


def test_a_student_of_another_architecture_is_refused_in_words(two_tasks: None, planned: Make) -> None:
    root = planned()
    birth(root, "cffd-M1")
    recipe = Recipe.read(root / "recipes" / "cffd-M2.yaml")
    wider = recipe.detector.model_copy(update={"options": {**recipe.detector.options, "width": 9}})
    other = recipe.detector.model_copy(update={"name": "rsia_net", "options": {"size": "tiny"}})
    for choice in (wider, other):
        with pytest.raises(BrokenLineage, match=r"A line keeps its architecture: start a new line") as caught:
            initial_student(recipe.model_copy(update={"detector": choice}), root / "data" / "generations" / "cffd-M1")
        assert f"expected a teacher with the weights of detector '{choice.name}'" in str(caught.value)
        assert "'pinhole' with {'spread': 0.01, 'width': 4}" in str(caught.value)


def test_tampered_weights_are_refused(two_tasks: None, planned: Make) -> None:
    root = planned()
    folder = birth(root, "cffd-M1")
    weights = load_file(folder / "weights.safetensors")
    save_tensors({**weights, "head.bias": weights["head.bias"] + 1e-7}, folder / "weights.safetensors")
    with pytest.raises(
        BrokenLineage, match=r"expected weights [0-9a-f]{12} in '.*cffd-M1', found [0-9a-f]{12}\. Restore"
    ):
        load_detector(folder)
    legacy_of_m1 = root / "data" / "memories" / "cffd-M1"
    shutil.copytree(root / "data" / "memories" / NOBODY, legacy_of_m1)
    with pytest.raises(BrokenLineage, match="found"):
        birth(root, "cffd-M2")
    assert not (root / "data" / "generations" / "cffd-M2").exists()


def test_what_was_carried_over_is_checked_against_the_card(two_tasks: None, planned: Make) -> None:
    folder = birth(planned(), "cffd-M1")
    save_tensors({"prototype.0.swap": torch.ones(3)}, folder / "carry_over.safetensors")
    with pytest.raises(BrokenLineage, match=r"expected carry-over .* Restore it with `dvc checkout`"):
        load_carry_over(folder)


def test_a_loaded_detector_is_in_eval_mode_and_frozen(two_tasks: None, planned: Make) -> None:
    detector = load_detector(birth(planned(), "cffd-M1"))
    assert not any(module.training for module in detector.modules())
    assert not any(p.requires_grad for p in detector.parameters())


def test_where_there_is_no_generation_there_is_advice(tmp_path: Path) -> None:
    with pytest.raises(BrokenLineage, match=r"expected a generation at '.*', found no card.json\. Raise it with"):
        read_card(tmp_path)


def test_a_recipe_raises_nobody_but_its_own_generation(two_tasks: None, planned: Make) -> None:
    root = planned()
    recipe, data = root / "recipes" / "cffd-M1.yaml", root / "data"
    nobody, told = data / "generations" / NOBODY, file_of(data, GENERATIONS, "cffd-M1")
    with pytest.raises(BrokenLineage, match=r"expected cffd-M1 with teacher 'nobody'.*found cffd-M7"):
        evolve(
            recipe, nobody, data / "memories" / NOBODY, data / "faces" / "swap", told, data / "generations" / "cffd-M7"
        )


def test_a_teacher_must_be_the_one_the_recipe_names(two_tasks: None, planned: Make) -> None:
    root = planned()
    impostor = birth(root, "plain-M1")
    data = root / "data"
    with pytest.raises(BrokenLineage, match=r"expected cffd-M2 with teacher 'cffd-M1'.*with 'plain-M1'"):
        evolve(
            root / "recipes" / "cffd-M2.yaml", impostor, data / "memories" / NOBODY, data / "faces" / "mesh",
            file_of(data, GENERATIONS, "cffd-M2"), data / "generations" / "cffd-M2",
        )  # fmt: skip


def test_a_teacher_who_left_no_memory_folder_is_told_from_one_who_remembers_nothing(
    two_tasks: None, planned: Make
) -> None:
    root = planned()
    birth(root, "cffd-M1")
    with pytest.raises(BrokenLineage, match="expected a memory at"):
        birth(root, "cffd-M2")


def test_what_a_strategy_carries_over_reaches_the_next_generation(
    two_tasks: None, planned: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "will.py").write_text(
        "import torch\n"
        "from components.strategies import Strategy\n\n"
        "class Will(Strategy):\n"
        "    def prepare(self, student, teacher, task, carried):\n"
        "        self.before = carried.get('lessons', torch.zeros(1))\n"
        "    def carry_over(self, student, task, memory=None):\n"
        "        return {'lessons': self.before + 1}\n"
    )
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path / "more")])
    root = planned(lines={"will": {"detector": "pinhole", "strategy": "will"}})
    raise_two(root, "will")
    assert load_carry_over(root / "data" / "generations" / "will-M2")["lessons"].tolist() == [2]


def test_what_was_withdrawn_is_learned_and_replayed_as_if_it_had_never_been_there(
    two_tasks: None, planned: Make
) -> None:
    root = planned()
    data, recipes, gone, nothing = root / "data", root / "recipes", root / "gone.yaml", root / "nothing.yaml"
    write(gone, GONE)
    write(nothing, [])
    nobody = [data / kind / NOBODY for kind in ("generations", "memories")]
    table = FaceTable.load(data / "faces" / "swap")
    fewer = table.take(np.flatnonzero(table.rows["source"] != "2"), root / "fewer" / "swap").path
    told, spared = (data / "generations" / "cffd-M1", root / "spared" / "generations" / "cffd-M1")
    evolve(recipes / "cffd-M1.yaml", *nobody, table.path, gone, told)
    evolve(recipes / "cffd-M1.yaml", *nobody, fewer, nothing, spared)
    assert file_digest(told / "weights.safetensors") == file_digest(spared / "weights.safetensors")
    assert read_card(told)["withdrawn"] == [{"archive": "swap", "source": "2"}] and read_card(spared)["withdrawn"] == []

    memory = legacy(root, "cffd-M1")
    kept = Memory.load(memory, GONE)
    assert kept.table is not None and 0 < len(kept) < len(kept.table)
    kept.table.take(kept.positions, root / "fewer" / "cffd-M1")
    kept.exemplars.reset_index(drop=True).to_parquet(root / "fewer" / "cffd-M1" / "exemplars.parquet")
    first, second = data / "generations" / "cffd-M2", root / "spared" / "generations" / "cffd-M2"
    evolve(recipes / "cffd-M2.yaml", told, memory, data / "faces" / "mesh", gone, first)
    evolve(recipes / "cffd-M2.yaml", told, root / "fewer" / "cffd-M1", data / "faces" / "mesh", nothing, second)
    assert file_digest(first / "weights.safetensors") == file_digest(second / "weights.safetensors")
    assert "slkd" in pd.read_csv(first / "curve.csv")


def test_a_card_holds_nothing_of_the_hour_or_the_place(two_tasks: None, planned: Make) -> None:
    root = planned()
    text = (birth(root, "cffd-M1") / "card.json").read_text()
    assert str(root) not in text
    about = json.loads(text)
    assert set(about["code"]) == {"digest", "commit"}
    machine = {"precision", "deterministic", "devices", "compile"}
    assert set(about["environment"]) == machine | {"device", "threads", "versions"}
    libraries = {"python", "torch", "timm", "open_clip", "numpy", "opencv", "av"}
    assert {name for name, version in about["environment"]["versions"].items() if version} == libraries


@pytest.mark.slow
def test_the_repository_s_own_detector_is_raised_to_the_same_bytes_twice(two_tasks: None, planned: Make) -> None:
    lines = {"rsia": {"detector": "rsia_net", "strategy": "cffd"}}
    root = planned(lines=lines, detectors={"rsia_net": {"size": "tiny"}})
    raise_two(root, "rsia")
    for name in ("rsia-M1", "rsia-M2"):
        assert contents(birth(root, name, "again")) == contents(root / "data" / "generations" / name)
        assert contents(legacy(root, name, "again")) == contents(root / "data" / "memories" / name)
