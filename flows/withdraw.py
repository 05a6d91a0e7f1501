"""A source, an identity, a clip or one face may no longer be learned or replayed; or an archive nobody learned goes again.

What was learned stays learned: history is not raised anew, its verdicts stand, and who saw it is said. But once params.yaml
names a withdrawal (`withdrawn`), the files of whatever is yet to be made name it too: crop of its archive, evolve of its
task, curate of its memory, planned before or after. The memories that would be replayed next are made anew at once by
their own stage, so that DVC knows what lies there and brings nothing back.

Every step can be killed and done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from filelock import FileLock, Timeout
from ruamel.yaml.comments import CommentedMap

from components.errors import BadParams, BrokenLineage, PerennialError, UnknownName
from components.faces import decoded, elsewhere, weights
from components.params import Withdrawal
from components.settings import settings
from components.vocabulary import NOBODY
from components.withdrawal import files, notes, witnesses
from components.withdrawal.told import Withdrawn
from components.withdrawal.witnesses import Witnesses
from flows import cache, pipeline
from flows.orders import name_in
from flows.workspace import Workspace

Say = Callable[[str], None]


def withdraw(
    workspace: Workspace, orders: Sequence[Withdrawal], *, why: str, purge: bool = False, say: Say = print
) -> Withdrawn:
    """From now on nobody learns or replays what `orders` name.

    Raises UnknownName for an archive and BadArchive for what is not in it, with nothing changed; PerennialError while a
    lifecycle runs. Where a memory cannot be made anew the error of its stage comes through, and the same call goes on there.
    """
    with _alone(workspace):
        data, params, lineage = workspace.data(), workspace.params(), workspace.lineage()
        new = [order for order in orders if order not in params.withdrawn]
        for order in new:
            witnesses.expect_there(data, order, params.archives)
        everybody = Witnesses(data, lineage)
        if not all(path.is_file() for path in everybody.needed):
            pipeline.checkout(workspace.root)
        seen = everybody.seen(orders)
        found = Withdrawn(
            words=[order.words for order in orders],
            already=not new,
            seen=seen,
            descendants=everybody.descendants(seen),
            elsewhere=everybody.elsewhere(orders, params.archives, params.withdrawn),
        )
        workspace.rewrite(lambda document: name_in(document, new))
        for order in orders:
            saw = {name: asdict(counts) for name, counts in everybody.seen([order]).items()}
            notes.note(workspace.ledger, order.model_dump(exclude_defaults=True), why, saw)
        decoded.forget(workspace.root)
        elsewhere.forget(workspace.root)
        params = workspace.params()
        files.resolve(data, params, lineage)
        found.renewed += _renewed(workspace, everybody.lost, say)
        found.renewed += _renewed(workspace, everybody.holding(orders), say)
        if left := everybody.holding(orders):
            raise BrokenLineage(
                f"expected the memories of {', '.join(left)} without {'; '.join(found.words)}, found it there. "
                "Run the same command again; if that does not help, their stage curate does not read data/withdrawals."
            )
        found.still_here = everybody.still_here(orders)
        if purge:
            found.purged = cache.purge(workspace.root, lambda file: witnesses.shows(file, params.withdrawn))
        return found


def _renewed(workspace: Workspace, names: Sequence[str], say: Say) -> Sequence[str]:
    """Make the memories of these generations anew, without what was withdrawn."""
    for name in names:
        say(f"making the memory of {name} anew")
        files.tell_generation(workspace.data(), name, workspace.params(), workspace.lineage(), kinds=(files.MEMORIES,))
        pipeline.reproduce(workspace.root, f"curate@{name}", timeout_s=settings().stage_timeout_s, force=True)
    return names


def withdraw_archive(workspace: Workspace, name: str, *, why: str) -> None:
    """Take an archive that no generation learned and none is examined on out of params.yaml, and its files away.

    Raises UnknownName where it never landed, BadParams where generations rest on it; then nothing has changed.
    """
    with _alone(workspace):
        params = workspace.params()
        there = [workspace.data("archives", name), *workspace.made_of(name)]
        if name not in params.archives and not any(folder.is_dir() for folder in there):
            raise UnknownName("archive", name, params.archives)
        _expect_unused(workspace, name)
        if name in params.archives:
            workspace.rewrite(lambda document: _remove(document, name))
        notes.note(workspace.ledger, {"archive": name}, why)
        files.forget_archive(workspace.data(), name)
        weights.forget(workspace.data(), name)
        decoded.forget(workspace.root)
        elsewhere.forget(workspace.root)
        cache.remove(workspace.root, workspace.data("archives", name))
        workspace.forget_archive(name)
        workspace.write_docs()


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Neither a lifecycle nor a landing meanwhile: both read params.yaml and would miss the change."""
    lock = FileLock(workspace.lock, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise PerennialError(
            f"expected no lifecycle in '{workspace.root}' while something is withdrawn, found one running. "
            "Wait for it to end, or stop it: it goes on where it was."
        ) from None
    try:
        with FileLock(workspace.landing_lock):
            workspace.sweep()
            yield
    finally:
        lock.release()


def _expect_unused(workspace: Workspace, name: str) -> None:
    lineage = workspace.lineage()
    if not lineage.rests_on(name):
        return
    learned = [generation for generation, row in lineage.generations.items() if row.learns == name]
    rest = [f"{', '.join(learned)} learned it"] if learned else []
    rest += ["generations are examined on it"] if name in lineage.benches else []
    raise BadParams(
        f"expected '{name}' to be an archive nothing rests on, found that {' and '.join(rest)}. What was learned stays; "
        f"withdraw what it holds instead (perennial withdraw SOURCE --archive {name}, or --identity, or --clip), or "
        "take it out of `sequence` so that no new line learns it."
    )


def _remove(document: CommentedMap, name: str) -> None:
    """The archive, its places in every order, and its place before the archive that landed after it."""
    before = document["archives"].pop(name).get("after", NOBODY)
    for archive in document["archives"].values():
        if archive.get("after") == name:
            archive["after"] = before
    orders = [document, *(document.get("lines") or {}).values()]
    for section in orders:
        for key in ("sequence", "benchmarks"):
            if name in (section.get(key) or ()):
                section[key].remove(name)
