"""A workspace: the folder in which one family lives. The repository's root is one; ``perennial demo`` makes another.

dvc.yaml  params.yaml  lineage.yaml  recipes/  data/  reports/  ledger.jsonl  mlflow.db
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from components.documents import load_yaml, needs_quotes
from components.errors import BadParams, PerennialError
from components.generations.lineage import Lineage
from components.params import Params, load, parse
from components.reports import PAGE_FILE
from components.vocabulary import NOBODY
from components.writing import replace_text, sweep

CHECKOUT = Path(__file__).resolve().parents[1]
"""The folder the package lies in: a checkout is a workspace of its own."""
PACKED = Path(__file__).with_name("workspace_files")
"""What a wheel brings of a checkout's root."""
NOBODYS = ("manifests", "benches", "generations", "memories", "verdicts", "scores", "operating_points", "examinations")
WIRED = ("archives", "faces", "validation")
"""Sections ``dvc.yaml`` reads as well: they must be there even where nothing in them is chosen."""

WIRING = (
    "\n  examine:",
    "- archives.${key}",
    "data/verdicts/${item.teacher}/champion",
    "\n  gauge:",
    "\n  calibrate:",
    "reports/metrics/${key}.json",
    "data/scores/${item.champion}",
)
"""Signs of today's ``dvc.yaml`` that older workspaces do not have."""
EXAMINATIONS = "\nexaminations:"
"""Of the rows of the stage `examine` in ``lineage.yaml``: workspaces of 0.2 have none."""
A_ROW, OF_A_ROW = "\n    teacher: ", "\n    champion: "
"""What a generation's row in ``lineage.yaml`` always said, and what it says since 0.3."""


class _Quoting(RoundTripRepresenter):
    """Writes texts as `dump_yaml` does, so that every reader finds the same; this library alone keeps comments."""

    def represent_text(self, text: str) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="'" if needs_quotes(text) else None)


_Quoting.add_representer(str, _Quoting.represent_text)


def template(name: str) -> str:
    """``dvc.yaml`` or ``params.yaml`` as every workspace begins with it: the wheel's, or the checkout's own."""
    packed = PACKED / name
    return (packed if packed.is_file() else CHECKOUT / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Workspace:
    """Where the files of a workspace are; the wiring between them is ``dvc.yaml``'s."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> Workspace:
        """The workspace at `root`; raises PerennialError if there is none."""
        root = root.resolve()
        if not (root / "dvc.yaml").is_file() or not (root / "params.yaml").is_file():
            raise PerennialError(
                f"expected a workspace (dvc.yaml and params.yaml) at '{root}', found none. "
                "Run inside the checkout, name one with -C, or make one with `perennial init PATH`."
            )
        return cls(root)

    @classmethod
    def create(cls, root: Path, params: str) -> Workspace:
        """Make a workspace at `root` with this ``params.yaml``, or finish one that was begun; DVC is started by the caller."""
        root = root.resolve()
        root.mkdir(parents=True, exist_ok=True)
        cls(root).make_nobodys()
        (root / "recipes").mkdir(exist_ok=True)
        if root != CHECKOUT:
            replace_text(root / "dvc.yaml", template("dvc.yaml"))
        if not (root / "lineage.yaml").is_file():
            Lineage().write(root / "lineage.yaml")
        if not (root / "params.yaml").is_file():
            replace_text(root / "params.yaml", params)
        return cls(root)

    def make_nobodys(self) -> None:
        """An empty folder for whatever has nothing before it."""
        for folder in NOBODYS:
            nobody = self.data(folder, NOBODY)
            nobody.mkdir(parents=True, exist_ok=True)
            (nobody / ".gitkeep").touch()

    def complete(self) -> None:
        """Give an older workspace what it did not know: wiring, sections, words of rows. No result is touched."""
        wired = (self.root / "dvc.yaml").read_text(encoding="utf-8")
        if not all(sign in wired for sign in WIRING):
            replace_text(self.root / "dvc.yaml", template("dvc.yaml"))
        said = self.lineage_file.read_text(encoding="utf-8")
        if EXAMINATIONS not in said or (A_ROW in said and OF_A_ROW not in said):
            self.lineage().write(self.lineage_file)
        if not all((self.data(folder, NOBODY) / ".gitkeep").is_file() for folder in NOBODYS):
            self.make_nobodys()

    @property
    def params_file(self) -> Path:
        return self.root / "params.yaml"

    @property
    def lineage_file(self) -> Path:
        return self.root / "lineage.yaml"

    @property
    def recipes(self) -> Path:
        return self.root / "recipes"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def lock(self) -> Path:
        """Held while a lifecycle runs in this workspace; the system frees it when its holder dies."""
        return self._lock("lifecycle")

    @property
    def landing_lock(self) -> Path:
        """Held while an archive lands."""
        return self._lock("landing")

    def _lock(self, name: str) -> Path:
        path = self.root / ".perennial" / f"{name}.lock"
        path.parent.mkdir(exist_ok=True)
        return path

    @property
    def temporary(self) -> Path:
        """Where a lifecycle keeps what is temporary."""
        return self.root / ".perennial" / "tmp"

    def data(self, kind: str = "", name: str = "") -> Path:
        """``data/<kind>/<name>``, as in ``dvc.yaml``; nowhere else is such a path put together."""
        return self.root / "data" / kind / name

    def page(self, line: str) -> Path:
        return self.root / "reports" / "lines" / line / PAGE_FILE

    @property
    def index(self) -> Path:
        """The first page of all."""
        return self.root / "reports" / PAGE_FILE

    def metrics(self, line: str) -> Path:
        return self.root / "reports" / "metrics" / f"{line}.json"

    @property
    def docs(self) -> Path:
        """Data Docs."""
        return self.root / "reports" / "data_docs" / PAGE_FILE

    def write_docs(self) -> Path:
        """Bring Data Docs up to date, and say where they are."""
        from components.reports.data_docs import write_docs

        write_docs(self.docs.parent, self.data, tuple(self.params().archives))
        return self.docs

    def params(self) -> Params:
        """``params.yaml``; raises BadParams, also where a section is left out that the wiring needs."""
        params = load(self.params_file)
        missing = [section for section in WIRED if section not in params.model_fields_set]
        if missing:
            raise BadParams(
                f"expected the sections {', '.join(WIRED)} in '{self.params_file}', found no {', '.join(missing)}. "
                "Add " + ", ".join(f"`{section}: {{}}`" for section in missing) + ": the defaults then hold."
            )
        return params

    def rewrite(self, change: Callable[[CommentedMap], None]) -> None:
        """Change ``params.yaml``, comments kept; raises BadParams, with the file as it was, for what nobody could follow."""
        yaml = YAML()
        yaml.Representer = _Quoting
        yaml.preserve_quotes = True
        yaml.width = 4096  # lines stay as they were written
        yaml.indent(mapping=2, sequence=4, offset=2)
        document = yaml.load(self.params_file.read_text(encoding="utf-8"))
        change(document)
        written = io.StringIO()
        yaml.dump(document, written)
        parse(Params, load_yaml(written.getvalue()), self.params_file.name)
        replace_text(self.params_file, written.getvalue())

    def restore(self, params: str) -> None:
        """Let ``params.yaml`` say what it said before."""
        replace_text(self.params_file, params)

    def made_of(self, archive: str) -> list[Path]:
        """Folders of what was made of an archive."""
        kinds = ("manifests", "validation", "faces", "face_validation", "drift")
        return [*(self.data(kind, archive) for kind in kinds), self.root / "reports" / "near_duplicates" / archive]

    def forget_archive(self, archive: str) -> None:
        """Delete what was made of an archive that leaves."""
        for folder in self.made_of(archive):
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what processes that were killed had begun to write; whoever lives keeps what it holds."""
        hidden = self.root / ".perennial"
        for folder in (self.root, self.recipes, self.data("archives"), hidden, *(path for path in hidden.glob("*/"))):
            sweep(folder)

    def link_archives(self) -> None:
        """Point to the archives that stayed where they are, wherever a copy of this workspace lacks the links."""
        for name, archive in self.params().archives.items():
            link = self.data("archives", name)
            if archive.at and not link.is_symlink() and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(archive.at)

    def lineage(self) -> Lineage:
        return Lineage.read(self.lineage_file)


class AtWork(PerennialError):
    """A lifecycle runs in the workspace."""


@contextmanager
def only_one(workspace: Workspace, patience_s: float) -> Iterator[None]:
    """Two lifecycles never share a workspace; the lock dies with its holder."""
    lock = FileLock(workspace.lock, timeout=patience_s)
    try:
        lock.acquire()
    except Timeout:
        raise AtWork(
            f"expected no other lifecycle in '{workspace.root}', found one running. Wait for it to end; it will also "
            "do what has landed meanwhile."
        ) from None
    try:
        yield
    finally:
        lock.release()
