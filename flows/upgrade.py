"""A workspace of version 0.1 in the form of today: nothing is raised again, and its generations say "code before 0.2".

What was made stands for what today's wiring would make: ``dvc.lock`` keeps every input and output it recorded, and takes
up today's commands, the digests of today's code, and the files that 0.1 did not have. What was out of date before is out
of date afterwards. Every step can be killed and done again; until the last one the workspace asks for its upgrade.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from components import orders
from components.digests import file_digest
from components.documents import load_yaml
from components.errors import BrokenLineage
from components.evaluation import point_files
from components.faces import weights
from components.faces.about import FACES_FILE, read_about
from components.faces.table import FaceTable
from components.generations.card import CARD, CARRY_OVER, IN_0_1, WEIGHTS, read_card, write_card
from components.generations.lineage import Lineage
from components.memory import EXEMPLARS
from components.memory.buffer import Memory
from components.orders import struck
from components.params import Params, Withdrawal, parse
from components.withdrawal import files
from flows import pipeline
from flows.orders import name_in
from flows.workspace import CHECKOUT, Workspace, only_one, template

OLD_KEY, OLD_FILE = IN_0_1
OLD_STAGES = {"enrol": "add_benchmark"}


@dataclass
class Upgraded:
    """What `upgrade` did."""

    generations: list[str] = field(default_factory=list)
    """Brought into today's form."""
    stages: int = 0
    """Stage instances that stand as they were made."""


def upgrade(root: Path) -> Upgraded | None:
    """Bring the workspace at `root` into today's form; None where it has it already.

    Raises BrokenLineage, with nothing changed, where a generation is not the one its card speaks of.
    """
    workspace = Workspace.at(root)
    if not pipeline.is_old(workspace.root):
        return None
    with only_one(workspace, patience_s=0):
        pipeline.checkout(workspace.root)
        lineage = _with_choices(workspace)
        born = [name for name in lineage.generations if (workspace.data("generations", name) / CARD).is_file()]
        for name in born:
            _expect_whole(workspace.data("generations", name))
        lineage.write(workspace.lineage_file)
        workspace.rewrite(_move_withdrawals)
        params = workspace.params()
        for name in born:
            _modernise(workspace.data("generations", name), _profiles(workspace, lineage, name))
        _write_withdrawals(workspace, params, lineage)
        weights.resolve(workspace.data(), params)
        _rewire(workspace.root)
        for name in born:
            point_files.write(workspace.data("operating_points", name), point_files.NONE)
        changed = [f"data/{kind}/{name}" for name in born for kind in ("generations", "operating_points")]
        stages = pipeline.adopt(workspace.root, OLD_STAGES, changed)
        return Upgraded(born, stages)


def told(found: Upgraded | None) -> str:
    """What `upgrade` did, for a person."""
    if found is None:
        return "This workspace has today's form: nothing to do."
    names = ", ".join(found.generations) or "no generation"
    return (
        f"In today's form, nothing raised again: {found.stages} results stand as they were made.\n"
        f"Code before 0.2: {names}. Next: perennial status"
    )


def _with_choices(workspace: Workspace) -> Lineage:
    """The lineage, its heads with detector and strategy, which 0.1 did not say there."""
    raw = load_yaml(workspace.lineage_file.read_bytes()) or {}
    for head in (raw.get("heads") or {}).values():
        row = raw["generations"][head["generation"]]
        head.update({key: row[key] for key in ("detector", "strategy")})
    return parse(Lineage, raw, "lineage.yaml")


def _expect_whole(folder: Path) -> None:
    """The weights and the carry-over must be those of the card, whose digests are about to be written anew."""
    card = read_card(folder)
    for key, file in (("weights", WEIGHTS), IN_0_1, ("carry_over", CARRY_OVER)):
        path = folder / file
        if key in card and path.is_file() and file_digest(path) != card[key]:
            raise BrokenLineage(
                f"expected '{path}' to be what its card speaks of, {card[key][:12]}, found {file_digest(path)[:12]}. "
                "Restore the folder with `dvc checkout --force`, then run `perennial upgrade` again."
            )


def _move_withdrawals(document: CommentedMap) -> None:
    """`memory.withdrawn` becomes `withdrawn` at the top level."""
    listed = (document.get("memory") or {}).pop("withdrawn", None) or []
    found = [parse(Withdrawal, dict(raw), "memory.withdrawn") for raw in listed]
    known = [parse(Withdrawal, dict(raw), "withdrawn") for raw in document.get("withdrawn") or []]
    name_in(document, [order for order in found if order not in known])


def _profiles(workspace: Workspace, lineage: Lineage, name: str) -> list[dict[str, Any]]:
    """How the faces were cut of every task that the generation's line learned up to it, as far as they are here."""
    tables = [workspace.data("faces", task) for task in lineage.tasks(name)]
    found = [read_about(table)["profile"] for table in tables if (table / FACES_FILE).is_file()]
    return list({profile["hash"]: profile for profile in found}.values())


def _modernise(folder: Path, profiles: Sequence[dict[str, Any]]) -> None:
    """Give a generation's files today's names, and its card today's keys; files are replaced, since they may be links."""
    old = folder / OLD_FILE
    if old.is_file():
        old.replace(folder / CARRY_OVER)
    card = read_card(folder)
    if OLD_KEY in card:
        card["carry_over"] = card.pop(OLD_KEY)
    card.setdefault("profiles", list(profiles))
    write_card(folder, card)


def _write_withdrawals(workspace: Workspace, params: Params, lineage: Lineage) -> None:
    """For what lives, the withdrawals that were heeded when it was made; for the unborn, today's."""
    data = workspace.data()
    for name in params.archives:
        faces = workspace.data("faces", name)
        if (faces / FACES_FILE).is_file():
            rows = FaceTable.load(faces).rows
            _write(files.file_of(data, files.ARCHIVES, name), _heeded(params.withdrawn, [name], rows))
    for name in lineage.generations:
        folder, memory = workspace.data("generations", name), workspace.data("memories", name)
        if (folder / CARD).is_file():
            said = [parse(Withdrawal, raw, "card.json") for raw in read_card(folder).get("withdrawn", [])]
            _write(files.file_of(data, files.GENERATIONS, name), said)
        if (memory / EXEMPLARS).is_file():
            table = Memory.load(memory).table
            kept = None if table is None else table.rows
            _write(files.file_of(data, files.MEMORIES, name), _heeded(params.withdrawn, lineage.tasks(name), kept))
    files.resolve(data, params, lineage)


def _heeded(withdrawn: Iterable[Withdrawal], archives: Sequence[str], rows: Any) -> list[Withdrawal]:
    """Of what is withdrawn from these archives what `rows` hold nothing of."""
    concerned = [order for order in withdrawn if order.archive in archives]
    return [order for order in concerned if rows is None or not struck(rows, [order]).any()]


def _write(path: Path, withdrawn: Iterable[Withdrawal]) -> None:
    if not path.is_file():
        orders.write(path, withdrawn)


def _rewire(root: Path) -> None:
    """Today's dvc.yaml, no link to a checkout, and DVC told where the package lies."""
    if root != CHECKOUT:
        (root / "dvc.yaml").write_text(template("dvc.yaml"), encoding="utf-8")
    Workspace(root).make_nobodys()
    link = root / "components"
    if link.is_symlink():
        link.unlink()
    pipeline.name_remote(root)
    shutil.rmtree(root / ".perennial" / "checkpoints", ignore_errors=True)  # of trainings that other code began
