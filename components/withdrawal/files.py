"""The files that tell `crop`, `evolve` and `curate` what is withdrawn, each a dependency of its stage in dvc.yaml:

data/withdrawals/archives/<archive>.yaml         crop: what is withdrawn from the archive
data/withdrawals/generations/<generation>.yaml   evolve: what is withdrawn from the tasks of its line up to it
data/withdrawals/memories/<generation>.yaml      curate: the same; a file of its own, so that a memory can be made anew alone

What is yet to be made is told what params.yaml says today. What lives keeps the file it was made with, so that a
withdrawal makes nothing stale.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from components import orders
from components.faces.about import FACES_FILE
from components.generations.card import CARD
from components.generations.lineage import Lineage
from components.memory import EXEMPLARS
from components.params import Params, Withdrawal

ARCHIVES, GENERATIONS, MEMORIES = "archives", "generations", "memories"


def file_of(data: Path, kind: str, name: str) -> Path:
    """Where a stage of `name` reads what is withdrawn; `data` is the workspace's folder of that name."""
    return data / "withdrawals" / kind / f"{name}.yaml"


def resolve(data: Path, params: Params, lineage: Lineage, again: Collection[str] = ()) -> None:
    """Tell whatever is yet to be made, and the generations in `again`, which are made once more on purpose.

    The outputs must have been fetched: what lives elsewhere alone would be taken for unborn.
    """
    for name in params.archives:
        made = _is_made(file_of(data, ARCHIVES, name), data / "faces" / name / FACES_FILE)
        if not (made and lineage.rests_on(name)):
            tell_archive(data, name, params)
    for kind, mark in ((GENERATIONS, CARD), (MEMORIES, EXEMPLARS)):
        for name in lineage.generations:
            made = _is_made(file_of(data, kind, name), data / kind / name / mark)
            if name in again or not made:
                tell_generation(data, name, params, lineage, kinds=(kind,))


def tell_archive(data: Path, name: str, params: Params) -> None:
    """Write the archive's own withdrawals of today."""
    orders.write(file_of(data, ARCHIVES, name), _of([name], params.withdrawn))


def tell_generation(
    data: Path, name: str, params: Params, lineage: Lineage, *, kinds: Iterable[str] = (GENERATIONS, MEMORIES)
) -> None:
    """Write today's withdrawals from what the generation's line has learned up to it."""
    for kind in kinds:
        orders.write(file_of(data, kind, name), _of(lineage.tasks(name), params.withdrawn))


def forget_archive(data: Path, name: str) -> None:
    """Delete the file of an archive that leaves."""
    file_of(data, ARCHIVES, name).unlink(missing_ok=True)


def _is_made(file: Path, output: Path) -> bool:
    """Whether a stage ran with its file: where either is missing there is nothing to keep."""
    return file.is_file() and output.is_file()


def _of(archives: Collection[str], withdrawn: Iterable[Withdrawal]) -> list[Withdrawal]:
    return [order for order in withdrawn if order.archive in archives]
