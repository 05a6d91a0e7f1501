"""`perennial verify`: is everything still what was written down of it? And with `repair`, what can be had again is.

What a lineage rests on is told by digests, in a chain: DVC's of every file, the recipe's and the weights' on a card, the
candidate's and the champion's in a verdict, and the ledger's of itself. The registry is a projection, so it is compared with
the files, and follows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from components.errors import PerennialError
from components.gates.files import GenerationFiles
from components.generations import lineage as lineages
from components.registry import ledger
from flows import champions, objects, pipeline
from flows.pending import judged, marker
from flows.workspace import Workspace, only_one

FETCHED = ("cache", "file")
"""Kinds of fault that a remote mends."""


@dataclass(frozen=True)
class Fault:
    """One thing that is not what was written down."""

    what: str
    words: str
    unrecorded: str = ""
    """A generation that the registry lacks."""


@dataclass(frozen=True)
class Verified:
    """What was found, and what of it was mended."""

    faults: tuple[Fault, ...]
    """As they are now."""
    repaired: tuple[Fault, ...] = ()


def verify(workspace: Workspace, *, repair: bool = False) -> Verified:
    """Read every byte that the lineage rests on while no lifecycle is at work; nothing is changed unless `repair`."""
    with only_one(workspace, patience_s=0):
        found = tuple(_faults(workspace))
        if not found or not repair:
            return Verified(found)
        unfetched = _repair(workspace)
        left = tuple(_faults(workspace))
    if unfetched and any(fault.what in FETCHED for fault in left):
        left = (*left, Fault("remote", f"expected to fetch what is lacking, found: {unfetched}"))
    return Verified(left, tuple(fault for fault in found if fault not in left))


def _faults(workspace: Workspace) -> Iterator[Fault]:
    yield from _of_the_bytes(workspace)
    yield from _of_the_lineage(workspace)
    yield from _of_the_registry(workspace)


def _of_the_bytes(workspace: Workspace) -> Iterator[Fault]:
    found = objects.look(workspace.root)
    for name, path in found.spoilt.items():
        yield Fault("cache", f"expected the bytes of {name} in '{path}', found others.")
    for name in found.lacking:
        yield Fault("cache", f"expected {name}, which the workspace rests on, found it neither here nor in the cache.")
    for name, path in found.whole.items():
        yield Fault("cache", f"expected {name} in the cache, found it in '{path}' alone.")
    for path, digest in found.files.items():
        yield Fault("file", f"expected the bytes of {digest} in '{path}', found others.")


def _of_the_lineage(workspace: Workspace) -> Iterator[Fault]:
    try:
        lineage = workspace.lineage()
        lineages.check(lineage, workspace.recipes, workspace.data("generations"))
    except PerennialError as fault:
        yield Fault("lineage", str(fault))
        return
    for name in lineage.generations:
        if judged(workspace, name):
            try:
                _files(workspace, name).expect_whole()
            except PerennialError as fault:
                yield Fault("generation", str(fault))
    try:
        ledger.expect_unbroken(workspace.ledger)
    except PerennialError as fault:
        yield Fault("ledger", str(fault))


def _of_the_registry(workspace: Workspace) -> Iterator[Fault]:
    """Of what was recorded here: every version is there with the files of its day, every champion is the ledger's."""
    from components.registry import catalogue
    from components.tracking import answering, connect

    names = [n for n in workspace.lineage().generations if judged(workspace, n) and _is_recorded(workspace, n)]
    if not names:
        return
    try:
        tracking = connect(workspace.root)
        with answering(tracking):
            for name in names:
                card = _files(workspace, name).card
                version = catalogue.version_of(card["line"], name, card["weights"], tracking)
                if version is None:
                    words = (
                        f"expected '{name}' in '{catalogue.model_name(card['line'])}', found no version of its weights."
                    )
                    yield Fault("registry", words, unrecorded=name)
                    continue
                try:
                    catalogue.fetch(version, tracking)
                except PerennialError as fault:
                    yield Fault("registry", str(fault))
            for line, now in ledger.standings(workspace.ledger).items():
                holder = catalogue.holder(line, catalogue.CHAMPION, tracking)
                named = holder.tags[catalogue.GENERATION_TAG] if holder else "nobody"
                if now.champion and named != now.champion.generation:
                    words = f"expected '{now.champion.generation}' as the champion of '{line}', found '{named}'."
                    yield Fault("registry", f"{words} `perennial run` settles it.")
    except PerennialError as fault:
        yield Fault("registry", str(fault))


def _repair(workspace: Workspace) -> str:
    """From the workspace, from the cache and from DVC's remote; and what the registry lacks is recorded by the next run.

    Returns why not all could be fetched.
    """
    unfetched = ""
    for _ in range(2):  # a list of a folder that was lost names more files once it is back
        if found := objects.look(workspace.root):
            with objects.mended(workspace.root, found):
                unfetched = pipeline.bring_back(workspace.root)
    for fault in _of_the_registry(workspace):
        if fault.unrecorded:
            marker(workspace, fault.unrecorded).unlink(missing_ok=True)
    with suppress(PerennialError):  # the second look says what it was
        champions.settle(workspace)
    return unfetched


def _files(workspace: Workspace, name: str) -> GenerationFiles:
    folder, scores, judged_at = (workspace.data(kind, name) for kind in ("generations", "scores", "verdicts"))
    return GenerationFiles(folder, scores, judged_at, workspace.recipes / f"{name}.yaml")


def _is_recorded(workspace: Workspace, name: str) -> bool:
    try:
        return marker(workspace, name).exists()
    except PerennialError:  # its card is gone, which was said
        return False
