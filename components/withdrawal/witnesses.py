"""Who met what is withdrawn: in a task, in a memory, through an ancestor; and where some of it still lies."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa

from components.archives import manifest
from components.errors import BadArchive, UnknownName
from components.faces.about import FACES_FILE
from components.faces.table import FaceTable
from components.generations.card import CARD, read_card
from components.generations.lineage import Lineage
from components.memory import EXEMPLARS
from components.memory.buffer import Memory
from components.orders import struck
from components.params import Withdrawal
from components.vocabulary import NOBODY, TRAIN

COLUMNS = {"source": "source", "identity": "identity", "clip": "path"}  # of a manifest


@dataclass(frozen=True)
class Seen:
    """How many of the withdrawn faces a generation met."""

    learned: int = 0
    """In its task."""
    replayed: int = 0
    """In the memory its teacher left."""
    kept: int = 0
    """In the memory it left itself, before that was made anew."""

    def __bool__(self) -> bool:
        return bool(self.learned or self.replayed or self.kept)


@dataclass(frozen=True)
class Witnesses:
    """The generations of a workspace, and what lies in its folder `data`."""

    data: Path
    lineage: Lineage

    @property
    def needed(self) -> list[Path]:
        """Files that must be here before anybody can be asked; those of what is unborn are nowhere."""
        rows = self.lineage.generations
        rested_on = dict.fromkeys([*self.lineage.benches, *(row.learns for row in rows.values())])
        return [
            *(self.data / "generations" / name / CARD for name in rows),
            *(self.data / "memories" / name / EXEMPLARS for name in rows),
            *(self.data / "faces" / name / FACES_FILE for name in rested_on),
        ]

    def seen(self, orders: Sequence[Withdrawal]) -> dict[str, Seen]:
        """Who met what, generation by generation; what a generation was told to leave out it did not meet."""
        born = [name for name in self.lineage.generations if (self.data / "generations" / name / CARD).is_file()]
        met = {name: self._seen(name, orders) for name in born}
        return {name: counts for name, counts in met.items() if counts}

    def held(self, name: str, orders: Sequence[Withdrawal]) -> int:
        """Withdrawn faces in the memory that a generation left; none where it left none yet."""
        folder = self.data / "memories" / name
        if name == NOBODY or not (folder / EXEMPLARS).is_file():
            return 0
        table = Memory.load(folder).table
        return 0 if table is None else int(struck(table.rows, orders).sum())

    def descendants(self, seen: Collection[str]) -> list[str]:
        """Generations that are not in `seen`, raised from one that is."""
        found: list[str] = []
        for name, row in self.lineage.generations.items():  # teachers stand before their descendants
            if (row.teacher in seen or row.teacher in found) and name not in seen:
                found.append(name)
        return found

    @property
    def current(self) -> list[str]:
        """Of each line's living branch the youngest generation that left a memory: the one that is replayed next."""
        left = [
            [name for name in self.lineage.living(line) if (self.data / "memories" / name / EXEMPLARS).is_file()]
            for line in self.lineage.heads
        ]
        return [names[-1] for names in left if names]

    @property
    def lost(self) -> list[str]:
        """Of each line's living branch the youngest that was born, where its memory is gone: whoever made it anew was killed,
        and the cache has none."""
        born = [
            [name for name in self.lineage.living(line) if (self.data / "generations" / name / CARD).is_file()]
            for line in self.lineage.heads
        ]
        youngest = [names[-1] for names in born if names]
        return [name for name in youngest if not (self.data / "memories" / name / EXEMPLARS).is_file()]

    def holding(self, orders: Sequence[Withdrawal]) -> list[str]:
        """Whose current memory holds something withdrawn."""
        return [name for name in self.current if self.held(name, orders)]

    def still_here(self, orders: Sequence[Withdrawal]) -> list[str]:
        """Folders of this workspace that hold some of it as before, and why."""
        current = self.current
        past = [name for name in self.lineage.generations if name not in current]
        return [
            *(
                f"data/archives/{name} and data/faces/{name}: scores of its test clips rest on them"
                for name in dict.fromkeys(order.archive for order in orders)
            ),
            *(
                f"data/memories/{name}: an older generation's, never replayed"
                for name in past
                if self.held(name, orders)
            ),
        ]

    def elsewhere(
        self, orders: Sequence[Withdrawal], archives: Collection[str], known: Collection[Withdrawal]
    ) -> dict[str, int]:
        """Other archives with clips of the same name for a source or an identity that are not in `known`."""
        counts: dict[str, int] = {}
        for name in archives:
            others = [order for order in orders if order.archive != name and not order.clip]
            alike = [order.model_copy(update={"archive": name}) for order in others]
            file = self.data / "manifests" / name / manifest.MANIFEST_FILE
            if (asked := [order for order in alike if order not in known]) and file.is_file():
                counts[name] = int(struck(manifest.read(file).assign(archive=name), asked).sum())
        return {name: count for name, count in counts.items() if count}

    def _seen(self, name: str, orders: Sequence[Withdrawal]) -> Seen:
        row, card = self.lineage.generations[name], read_card(self.data / "generations" / name)
        heeded = [Withdrawal.model_validate(order) for order in card.get("withdrawn", ())]
        met = [order for order in orders if order not in heeded]
        learns = any(order.archive == row.learns for order in met)
        learned = int(struck(self._trained_on(row.learns), met).sum()) if learns else 0
        return Seen(learned, self.held(row.teacher, met), self.held(name, orders))

    def _trained_on(self, archive: str) -> pd.DataFrame:
        """Rows of the faces that a task shows, read once."""
        if archive not in self._tasks:
            rows = FaceTable.load(self.data / "faces" / archive).rows
            self._tasks[archive] = rows[rows["split"] == TRAIN]
        return self._tasks[archive]

    @cached_property
    def _tasks(self) -> dict[str, pd.DataFrame]:
        return {}


def expect_there(data: Path, order: Withdrawal, archives: Collection[str]) -> None:
    """Raise UnknownName or BadArchive unless the archive landed and holds what is named."""
    if order.archive not in archives:
        raise UnknownName("archive", order.archive, archives)
    clips = manifest.read(data / "manifests" / order.archive / manifest.MANIFEST_FILE)
    what, column = next((what, column) for what, column in COLUMNS.items() if getattr(order, what))
    names = sorted(set(clips[column]) - {""})
    if getattr(order, what) not in names:
        near = difflib.get_close_matches(getattr(order, what), names, n=3)
        hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        raise BadArchive(
            f"expected {what} '{getattr(order, what)}' in archive '{order.archive}', found none of that name among "
            f"{len(names)}.{hint} They are named as in data/manifests/{order.archive}."
        )
    if order.frame is not None:
        _expect_frame(data / "faces" / order.archive, order)


def _expect_frame(faces: Path, order: Withdrawal) -> None:
    if not faces.is_dir() or struck(rows := FaceTable.load(faces).rows, [order]).any():
        return
    frames = sorted(rows.query("clip == @order.clip")["frame"].tolist())
    raise BadArchive(
        f"expected a face of frame {order.frame} of '{order.clip}', found faces of frames {frames}. Name one of them."
    )


def shows(file: Path, withdrawn: Sequence[Withdrawal]) -> bool:
    """Whether a file is a table of faces with something withdrawn among them."""
    columns = ["archive", "source", "identity", "clip", "frame"]
    try:
        table = pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
    except (pa.ArrowInvalid, OSError):
        return False
    return {*columns, "image"} <= set(table.column_names) and bool(
        struck(table.select(columns).to_pandas(), withdrawn).any()
    )
