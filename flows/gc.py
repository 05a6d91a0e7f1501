"""`perennial gc`: what takes room and nothing rests on; said first, and taken away when it was asked for.

Never what a generation of a living branch, a champion, the one before it or a study rests on. Everything that stands in
``lineage.yaml`` stays, the retired too: their rows, weights and verdicts are the register.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from components.errors import PerennialError
from components.evaluation.examiner import KEPT
from components.generations.card import CARD, read_card
from components.generations.evolve import CHECKPOINTS
from components.registry import ledger
from components.settings import settings
from components.tracking import DATABASE, MODELS
from flows import cache
from flows.pending import judged
from flows.study import FOLDER as STUDIES
from flows.workspace import Workspace, only_one


@dataclass(frozen=True)
class Heap:
    """Things of one kind that may go."""

    words: str
    things: int
    size: int
    """Bytes."""
    take_away: Callable[[], object]


@dataclass(frozen=True)
class Found:
    """What may go, and what was left alone and why."""

    heaps: tuple[Heap, ...]
    left_alone: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(heap.size for heap in self.heaps)


def gc(workspace: Workspace, *, delete: bool = False) -> Found:
    """Look while no lifecycle is at work here or in a study, and with `delete` take away what was found.

    Raises `AtWork` where one is.
    """
    places = [workspace, *_studies(workspace)]
    with ExitStack() as alone:
        for place in places:
            alone.enter_context(only_one(place, patience_s=0))
        left_alone: list[str] = []
        heaps = [heap for place in places for heap in _of_files(place)]
        for look in (_of_the_cache, _of_mlflow):
            try:
                heaps += look(workspace, places)
            except PerennialError as why:
                left_alone.append(str(why))
        found = Found(tuple(heap for heap in heaps if heap.things), tuple(left_alone))
        if delete:
            for place in places:
                place.sweep()
            for heap in found.heaps:
                heap.take_away()
    return found


def told(found: Found, *, deleted: bool) -> list[str]:
    """A line for each kind, and what to do."""
    lines = [f"{_amount(heap.size):>9}  {heap.words}" for heap in found.heaps]
    lines += [f"left alone: {why}" for why in found.left_alone]
    if not found.heaps:
        return [*lines, "Nothing to take away: something rests on everything that is here."]
    total = _amount(found.size)
    return [*lines, f"Taken away: {total}." if deleted else f"In all {total}. `perennial gc --delete` takes it away."]


def _of_files(place: Workspace) -> Iterator[Heap]:
    """Kept scores, checkpoints and fetched models, of weights and generations that nobody needs them of."""
    needed, answering = _weights(place)
    yield _folders(
        "scores kept of weights that are gone or retired",
        [path for path in place.root.glob(f"{KEPT}/*") if path.name not in needed],
    )
    yield _folders(
        "checkpoints of trainings that ended, or that nobody goes on with",
        [path for path in place.root.glob(f"{CHECKPOINTS}/*") if not _is_under_way(place, path.name)],
    )
    models = [path for path in place.root.glob(f"{MODELS}/*") if not path.name.startswith(".")]
    yield _folders(
        "models fetched from MLflow of those who answer no more; MLflow still has them",
        [path for path in models if _weights_of(path / "artifacts") not in answering],
    )


def _of_the_cache(workspace: Workspace, places: Iterable[Workspace]) -> Iterator[Heap]:
    """Objects that nothing here or in a study is; raises PerennialError where others share the cache."""
    unused = cache.unused(workspace.root, [place.root for place in places])
    size = sum(path.stat().st_size for path in unused.values())
    words = f"{len(unused)} files in DVC's cache that no archive, no stage and no study of today made or was made of"
    yield Heap(words, len(unused), size, partial(cache.forget, workspace.root, unused))


def _of_mlflow(workspace: Workspace, _places: Iterable[Workspace]) -> Iterator[Heap]:
    """Runs that were deleted; only in books of the workspace's own, since a server's are its administrator's."""
    if settings().tracking_uri or not (workspace.root / DATABASE).is_file():
        return
    from components.registry import deleted
    from components.tracking import connect

    tracking = connect(workspace.root)
    folders = deleted.folders(tracking)
    size = sum(map(_size, folders.values()))
    words = f"{len(folders)} runs in MLflow whose recording was cut off and made again"
    yield Heap(words, len(folders), size, lambda: deleted.take_away(list(folders), tracking))


def _folders(words: str, paths: list[Path]) -> Heap:
    def take_away() -> None:
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return Heap(f"{len(paths)} {words}", len(paths), sum(map(_size, paths)), take_away)


def _weights(place: Workspace) -> tuple[set[str], set[str]]:
    """Digests of the weights of whoever lives or answers, and of the champions and those before them alone."""
    lineage = place.lineage()
    standings = ledger.standings(place.ledger).values() if place.ledger.is_file() else ()
    holders = [holder for now in standings for holder in (now.champion, now.previous) if holder]
    answering = {holder.weights for holder in holders}
    living = [place.data("generations", name) for name in lineage.generations if name not in lineage.retired]
    return answering | {weights for folder in living if (weights := _weights_of(folder))}, answering


def _weights_of(folder: Path) -> str:
    return str(read_card(folder)["weights"]) if (folder / CARD).is_file() else ""


def _is_under_way(place: Workspace, name: str) -> bool:
    """Whether a training that a folder of checkpoints is named after may still be gone on with."""
    lineage, generation = place.lineage(), name.removesuffix(".unreadable")
    there = generation in lineage.generations and generation not in lineage.retired
    return there and not judged(place, generation)


def _studies(workspace: Workspace) -> list[Workspace]:
    return [Workspace.at(path.parent) for path in sorted(workspace.root.glob(f"{STUDIES}/*/dvc.yaml"))]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _amount(size: int) -> str:
    """`34.1 MB`"""
    unit, scale = next(((unit, s) for unit, s in (("GB", 1e9), ("MB", 1e6)) if size >= s), ("kB", 1e3))
    return f"{size / scale:.1f} {unit}"
