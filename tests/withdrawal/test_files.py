"""Who is told of a withdrawal: what is yet to be made, and never what lives."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.generations.lineage import Bench, Head, Lineage
from components.generations.recipe import Row
from components.orders import read
from components.params import Params, Withdrawal, parse
from components.vocabulary import NOBODY
from components.withdrawal.files import (
    ARCHIVES,
    GENERATIONS,
    MEMORIES,
    file_of,
    forget_archive,
    resolve,
    tell_archive,
    tell_generation,
)

SWAP, MESH, MASK, WILD = (Withdrawal(archive=name, source="s1") for name in ("swap", "mesh", "mask", "wild"))
TASKS = ("swap", "mesh", "mask")
FAMILY = Lineage(
    benches={"wild": Bench()},
    generations={
        f"{line}-M{number}": Row(
            line=line, detector="rsia_net", strategy="er", learns=task, bench="wild",
            teacher=NOBODY if number == 1 else f"{line}-M{number - 1}",
        )
        for line, tasks in (("small", ("swap", "mesh")), ("other", ("mesh",)))
        for number, task in enumerate(tasks, start=1)
    },
    heads={
        line: Head(generation=name, detector="rsia_net", strategy="er")
        for line, name in (("small", "small-M2"), ("other", "other-M1"))
    },
)  # fmt: skip


def params(*withdrawn: Withdrawal) -> Params:
    archives = {name: {"layout": "crops"} for name in (*TASKS, "wild")}
    orders = [order.model_dump(exclude_defaults=True) for order in withdrawn]
    return parse(Params, {"archives": archives, "withdrawn": orders}, "params.yaml")


def made(data: Path, *outputs: str) -> None:
    """A stage left this."""
    for output in outputs:
        (data / output).parent.mkdir(parents=True, exist_ok=True)
        (data / output).touch()


def told(data: Path) -> dict[str, tuple[Withdrawal, ...]]:
    """File -> what it says, of those that say something."""
    found = {
        path.relative_to(data / "withdrawals").with_suffix("").as_posix(): read(path)
        for path in sorted((data / "withdrawals").glob("*/*.yaml"))
    }
    return {name: said for name, said in found.items() if said}


def test_everything_has_a_file_and_only_what_concerns_it_is_in_it(tmp_path: Path) -> None:
    resolve(tmp_path, params(SWAP, MESH, MASK, WILD), FAMILY)
    assert told(tmp_path) == {
        "archives/mask": (MASK,),
        "archives/mesh": (MESH,),
        "archives/swap": (SWAP,),
        "archives/wild": (WILD,),
        "generations/other-M1": (MESH,),
        "generations/small-M1": (SWAP,),
        "generations/small-M2": (MESH, SWAP),
        "memories/other-M1": (MESH,),
        "memories/small-M1": (SWAP,),
        "memories/small-M2": (MESH, SWAP),
    }


def test_what_lives_keeps_its_file_and_what_is_unborn_is_told_of_today(tmp_path: Path) -> None:
    resolve(tmp_path, params(), FAMILY)
    made(tmp_path, *(f"faces/{name}/faces.json" for name in (*TASKS, "wild")))
    made(tmp_path, "generations/small-M1/card.json", "memories/small-M1/exemplars.parquet")
    made(tmp_path, "generations/small-M2/card.json")
    resolve(tmp_path, params(SWAP, MESH, MASK, WILD), FAMILY)
    assert told(tmp_path) == {
        "archives/mask": (MASK,),  # has faces, and nobody learned them or is examined on them
        "generations/other-M1": (MESH,),
        "memories/other-M1": (MESH,),
        "memories/small-M2": (MESH, SWAP),  # killed between evolve and curate
    }


def test_what_is_withdrawn_no_longer_is_taken_back_from_the_unborn_alone(tmp_path: Path) -> None:
    resolve(tmp_path, params(SWAP), FAMILY)
    made(tmp_path, "generations/small-M1/card.json")
    resolve(tmp_path, params(), FAMILY)
    assert told(tmp_path) == {"generations/small-M1": (SWAP,)}


def test_a_generation_that_is_raised_again_on_purpose_is_told_of_today(tmp_path: Path) -> None:
    resolve(tmp_path, params(), FAMILY)
    for name in FAMILY.generations:
        made(tmp_path, f"generations/{name}/card.json", f"memories/{name}/exemplars.parquet")
    made(tmp_path, "faces/swap/faces.json")
    resolve(tmp_path, params(SWAP), FAMILY, again=["small-M2"])
    assert told(tmp_path) == {"generations/small-M2": (SWAP,), "memories/small-M2": (SWAP,)}


def test_whoever_lacks_a_file_gets_one_the_living_too(tmp_path: Path) -> None:
    made(tmp_path, "generations/small-M1/card.json")
    resolve(tmp_path, params(SWAP), FAMILY)
    assert read(file_of(tmp_path, GENERATIONS, "small-M1")) == (SWAP,)
    assert read(file_of(tmp_path, MEMORIES, "other-M1")) == ()


def test_resolving_again_touches_nothing(tmp_path: Path) -> None:
    resolve(tmp_path, params(SWAP), FAMILY)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*.yaml")}
    resolve(tmp_path, params(SWAP), FAMILY)
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*.yaml")} == before


def test_an_archive_is_told_when_it_lands_and_leaves_no_file_when_it_goes(tmp_path: Path) -> None:
    tell_archive(tmp_path, "swap", params(SWAP, MESH))
    assert told(tmp_path) == {"archives/swap": (SWAP,)}
    forget_archive(tmp_path, "swap")
    forget_archive(tmp_path, "swap")
    assert not file_of(tmp_path, ARCHIVES, "swap").exists()


@pytest.mark.parametrize("kind", [GENERATIONS, MEMORIES])
def test_a_memory_is_told_apart_from_its_generation(tmp_path: Path, kind: str) -> None:
    resolve(tmp_path, params(), FAMILY)
    tell_generation(tmp_path, "small-M2", params(SWAP), FAMILY, kinds=(kind,))
    assert told(tmp_path) == {f"{kind}/small-M2": (SWAP,)}
