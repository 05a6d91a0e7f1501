"""Which generation answers for a workspace, ready to answer, and the service in which it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.digests import file_digest
from components.errors import Refused
from components.generations.card import CARD, WEIGHTS, read_card
from components.registry import ledger
from components.registry.ledger import Holder
from components.texts import say
from flows.workspace import Workspace

if TYPE_CHECKING:
    from components.serving.record import Champion
    from components.serving.service import Options
    from components.serving.succession import Standing
    from components.serving.verdicts import Examiner


def champions(workspace: Workspace) -> dict[str, str | None]:
    """Who answers for each line, as the ledger knows."""
    standing = {line: ledger.standing(workspace.ledger, line).champion for line in workspace.lineage().heads}
    return {line: holder.generation if holder else None for line, holder in standing.items()}


def _one_line(workspace: Workspace, line: str | None) -> str:
    """`line`, or the one line that has a champion."""
    lines = [line] if line else [name for name, champion in champions(workspace).items() if champion]
    if len(lines) != 1:
        found = ", ".join(lines) or "none"
        raise Refused(f"expected one line with a champion, found {found}. Name it with --line; see `perennial status`.")
    return lines[0]


def champion_of(workspace: Workspace, line: str | None) -> tuple[Holder, Path]:
    """The champion of `line`, or of the one line that has one, and a folder with exactly its weights.

    They are taken from the workspace where they are still there, else from the registry. Raises Refused where no line,
    or more than one, could be meant.
    """
    line = _one_line(workspace, line)
    holder = ledger.standing(workspace.ledger, line).champion
    if holder is None:
        raise Refused(f"expected a champion of line '{line}', found none. See `perennial status`.")
    folder = workspace.data("generations", holder.generation)
    if (folder / CARD).is_file() and file_digest(folder / WEIGHTS) == holder.weights:
        return holder, folder
    from components.registry.catalogue import champion
    from components.tracking import answering, connect

    tracking = connect(workspace.root)
    with answering(tracking):
        registered = champion(line, tracking)
    if registered is None:
        raise Refused(f"'{holder.generation}' is neither in the workspace nor in the registry. Run `dvc checkout`.")
    return holder, registered.folder


def examiner(
    workspace: Workspace, line: str | None = None, *, faces: str | None = None, device: str = "cpu"
) -> Examiner:
    """The champion of `line`, or of the one line that has one, loaded; `faces` names another face detector than its own.

    Raises as `champion_of` and `Examiner.load` do.
    """
    from components.generations.recipe import Recipe
    from components.serving.verdicts import Examiner

    holder, folder = champion_of(workspace, line)
    params = Recipe.read(workspace.recipes / f"{holder.generation}.yaml").faces
    point = workspace.data("operating_points", holder.generation)
    told = told_of(workspace, holder, folder)
    return Examiner.load(folder, point, params, face_detector=faces, champion=told, device=device)


def told_of(workspace: Workspace, holder: Holder, folder: Path) -> Champion:
    """What a record says of a generation: its digests, what its line was taught until then, and when."""
    from components.serving.record import Taught
    from components.serving.verdicts import champion_of as by_its_files

    told, lineage = by_its_files(read_card(folder)), workspace.lineage()
    row = lineage.generations.get(holder.generation)
    if row is None:
        return told
    promoted = {said.to.generation: said.when for said in ledger.read(workspace.ledger, row.line)}
    taught = tuple(
        Taught(archive=lineage.generations[name].learns, generation=name, promoted=promoted.get(name))
        for name in lineage.ancestors(holder.generation)
    )
    return told.model_copy(update={"line": row.line, "taught": taught, "since": promoted.get(holder.generation)})


@dataclass(frozen=True)
class WorkspaceBooks:
    """Which generations of a line there are, as the workspace knows (`components.serving.succession.Books`)."""

    workspace: Workspace
    line: str

    def who(self) -> tuple[str, str]:
        """The champion's name and the digest of its weights."""
        holder = ledger.standing(self.workspace.ledger, self.line).champion
        return (holder.generation, holder.weights) if holder else ("", "")

    def champion(self) -> Standing:
        """Who the ledger says answers; the alias in the registry follows it."""
        holder, folder = champion_of(self.workspace, self.line)
        return self._standing(holder.generation, holder.weights, folder)

    def challenger(self) -> Standing | None:
        """The youngest generation, if it is younger than the champion."""
        head = self.workspace.lineage().heads.get(self.line)
        if head is None or head.generation == self.who()[0]:
            return None
        folder = self.workspace.data("generations", head.generation)
        if not (folder / CARD).is_file():
            return None
        return self._standing(head.generation, read_card(folder)["weights"], folder)

    def named(self, generation: str) -> Standing:
        """A generation of the line that is still in the workspace; raises Refused where it is not."""
        folder = self.workspace.data("generations", generation)
        if generation not in self.workspace.lineage().generations or not (folder / CARD).is_file():
            raise Refused(f"expected '{generation}' in the workspace, found it gone. Run `dvc checkout`, or ask again.")
        return self._standing(generation, read_card(folder)["weights"], folder)

    def _standing(self, generation: str, weights: str, folder: Path) -> Standing:
        from components.generations.recipe import Recipe
        from components.serving.succession import Standing

        return Standing(
            generation=generation,
            weights=weights,
            folder=folder,
            params=Recipe.read(self.workspace.recipes / f"{generation}.yaml").faces,
            operating_point=self.workspace.data("operating_points", generation),
            champion=told_of(self.workspace, Holder(generation, weights), folder),
            measured=_measured(self.workspace.data("scores", generation)),
        )


def _measured(scores: Path) -> dict[str, Any]:
    """AUC and false alarms of each benchmark, with intervals, where the generation was examined here."""
    from components.evaluation.scores import METRICS_FILE

    file = scores / METRICS_FILE
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))["benchmarks"]
    return {name: {key: cell[key] for key in ("auc", "false_alarms") if key in cell} for name, cell in found.items()}


def answers_of(workspace: Workspace) -> Path:
    """Where the answers of a service are kept, if it was asked to."""
    return workspace.root / "answers"


def serve(workspace: Workspace, line: str | None, options: Options, *, host: str, port: int, device: str) -> None:
    """Answer on `host` until somebody ends it; raises BadParams where others than this machine could ask without a key."""
    import uvicorn

    from components.serving.api import application
    from components.serving.gate import LOOPBACK
    from components.serving.jobs import Jobs
    from components.serving.service import Service

    keys = _keys(host)
    books = WorkspaceBooks(workspace, _one_line(workspace, line))
    with ExitStack() as open_:
        state = open_.enter_context(_alone(options.state, books.line))
        service = open_.enter_context(closing(Service(replace(options, state=state), books, device=device)))
        jobs = open_.enter_context(closing(Jobs(service)))
        app = application(service, jobs, keys, local=host in LOOPBACK)
        who, at = service.succession.champion.name, f"http://{host}:{port}/"
        say(f"{who} answers. The page is at {at}, what programs ask at /v1/score (see /openapi.json).", flush=True)
        uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False, timeout_graceful_shutdown=30)


def _keys(host: str) -> dict[str, str]:
    """Who may ask; where nobody else than this machine can, nobody need be named."""
    from components.errors import BadParams
    from components.serving.gate import LOOPBACK, keys_of
    from components.settings import settings

    keys = keys_of(settings().keys.get_secret_value())
    if not keys and host not in LOOPBACK:
        raise BadParams(
            f"expected keys in PERENNIAL_KEYS (name:key,name:key) before anybody but this machine may ask, found none, and "
            f"'{host}' is not localhost. `openssl rand -hex 24` makes a key."
        )
    return keys


@contextmanager
def _alone(state: Path, line: str) -> Iterator[Path]:
    """Where the only service of a line keeps uploads and jobs; raises Refused where another is at work."""
    from filelock import FileLock, Timeout

    room = state / line
    room.mkdir(parents=True, exist_ok=True)
    lock = FileLock(room / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Refused(
            f"expected to be the only service of line '{line}' in this workspace, found another at work. Ask that one, or "
            "end it first."
        ) from None
    try:
        yield room
    finally:
        lock.release()
