"""A source, an identity, a clip or one face may no longer be learned or replayed; or an archive nobody learned goes again.

What was learned stays learned: history is not raised anew, its verdicts stand, and who saw it is said. But once params.yaml
names a withdrawal (`memory.withdrawn`), whatever runs leaves it out: evolve of its task, curate of its memory, planned
before or after. The memories that would be replayed next are made anew at once by their own stage, so that DVC knows what
lies there and brings nothing back.

Every step can be killed and done again.
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString

from components.archives import manifest
from components.archives.withdrawn import struck
from components.errors import BadArchive, BadParams, BrokenLineage, PerennialError, UnknownName
from components.faces.table import FaceTable
from components.generations.card import CARD, read_card
from components.memory.buffer import EXEMPLARS, Memory
from components.params import Withdrawal, parse
from components.registry import ledger, withdrawals
from components.settings import settings
from components.vocabulary import NOBODY, TRAIN
from flows import pipeline
from flows.workspace import Workspace

Say = Callable[[str], None]


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


@dataclass
class Withdrawn:
    """What `withdraw` found and did."""

    words: list[str]
    """What was withdrawn, in words."""
    already: bool
    """It had been withdrawn before."""
    seen: dict[str, Seen]
    descendants: list[str]
    """Generations that met none of it, raised from one that did."""
    renewed: list[str] = field(default_factory=list)
    """Whose memory was made anew."""
    still_here: list[str] = field(default_factory=list)
    """Folders of this workspace that hold some of it as before, and why."""
    elsewhere: dict[str, int] = field(default_factory=dict)
    """Other archives with clips of the same name for a source or an identity."""
    purged: int | None = None
    """Files taken out of the local cache; None where that was not asked for."""


def orders(
    archive: str, *, source: str = "", identity: str = "", clips: Sequence[str] = (), frame: int | None = None
) -> list[Withdrawal]:
    """What the words of the command name; nothing where they name the archive alone. Raises BadParams."""
    named = {"source": [source] if source else [], "identity": [identity] if identity else [], "clip": list(clips)}
    kinds = [kind for kind, values in named.items() if values]
    if len(kinds) > 1:
        raise BadParams(
            f"expected a SOURCE, an --identity or --clip, found {' and '.join(kinds)}. Withdraw one after another."
        )
    if frame is not None and len(clips) != 1:
        raise BadParams(
            f"expected one --clip beside --frame {frame}, found {len(clips)}. Name the clip it is a frame of."
        )
    whole = {"archive": archive} | ({} if frame is None else {"frame": frame})
    return [parse(Withdrawal, {**whole, kind: value}, "the withdrawal") for kind in kinds for value in named[kind]]


def told(found: Withdrawn) -> str:
    """What `withdraw` did, for a person."""
    what = "; ".join(found.words)
    lines = [f"{what}: {'had been withdrawn already' if found.already else 'will never be learned or replayed again'}."]
    for name, seen in found.seen.items():
        counts = [f"{verb} {n}" for verb, n in asdict(seen).items() if n]
        lines.append(f"  {name} {', '.join(counts)} of its faces; its weights stay as they are")
    lines += [f"  {name} descends from one that did" for name in found.descendants]
    lines += ["  no generation has met it"] if not found.seen else []
    lines += [f"  {name} has a memory without it now" for name in found.renewed]
    lines += [f"  still here: {place}" for place in found.still_here]
    lines += [f"  of the same name in '{name}': {count} clips, which stay" for name, count in found.elsewhere.items()]
    if found.purged is None:
        lines.append(
            "  the local cache keeps what it had (--purge); DVC remotes and other clones are out of reach from here"
        )
    else:
        lines.append(
            f"  {found.purged} files purged from the local cache; DVC remotes and other clones are out of reach from here"
        )
    return "\n".join(lines)


def withdraw(
    workspace: Workspace, orders: Sequence[Withdrawal], *, why: str, purge: bool = False, say: Say = print
) -> Withdrawn:
    """From now on nobody learns or replays what `orders` name.

    Raises UnknownName for an archive and BadArchive for what is not in it, with nothing changed; PerennialError while a
    lifecycle runs. Where a memory cannot be made anew the error of its stage comes through, and the same call goes on there.
    """
    with _alone(workspace):
        for order in orders:
            _expect_there(workspace, order)
        _fetch(workspace)
        known = workspace.params().memory.withdrawn
        seen = _seen(workspace, orders)
        found = Withdrawn(
            words=[order.words for order in orders],
            already=all(order in known for order in orders),
            seen=seen,
            descendants=_descendants(workspace, seen),
            elsewhere=_elsewhere(workspace, orders),
        )
        workspace.rewrite(lambda document: _add(document, [order for order in orders if order not in known]))
        _record(workspace, orders, why)
        for name in _holding(workspace, orders):
            say(f"making the memory of {name} anew")
            pipeline.reproduce(workspace.root, f"curate@{name}", timeout_s=settings().stage_timeout_s, force=True)
            found.renewed.append(name)
        if left := _holding(workspace, orders):
            raise BrokenLineage(
                f"expected the memories of {', '.join(left)} without {'; '.join(found.words)}, found it there. "
                "Run the same command again; if that does not help, their stage curate does not read memory.withdrawn."
            )
        found.still_here = _still_here(workspace, orders)
        if purge:
            struck_out = workspace.params().memory.withdrawn
            found.purged = pipeline.purge(workspace.root, lambda file: _shows(file, struck_out))
        return found


def withdraw_archive(workspace: Workspace, name: str, *, why: str) -> None:
    """Take an archive that no generation learned and none is examined on out of params.yaml, and its files away.

    Raises UnknownName where it never landed, BadParams where generations rest on it; then nothing has changed.
    """
    with _alone(workspace):
        params, folders = workspace.params(), _folders(workspace, name)
        if name not in params.archives and not any(folder.is_dir() for folder in folders):
            raise UnknownName("archive", name, params.archives)
        _expect_unused(workspace, name)
        if name in params.archives:
            workspace.rewrite(lambda document: _remove(document, name))
        withdrawals.append(workspace.ledger, withdrawals.Entry(ledger.now(), ledger.somebody(), {"archive": name}, why))
        pipeline.remove(workspace.root, workspace.data("archives", name))
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


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
            yield
    finally:
        lock.release()


def _expect_there(workspace: Workspace, order: Withdrawal) -> None:
    """Raise UnknownName or BadArchive unless the archive landed and holds what is named."""
    archives = workspace.params().archives
    if order.archive not in archives:
        raise UnknownName("archive", order.archive, archives)
    clips = manifest.read(workspace.data("manifests", order.archive) / manifest.MANIFEST_FILE)
    what, column = next((w, c) for w, c in _COLUMNS.items() if getattr(order, w))
    names = sorted(set(clips[column]) - {""})
    if getattr(order, what) not in names:
        near = difflib.get_close_matches(getattr(order, what), names, n=3)
        hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        raise BadArchive(
            f"expected {what} '{getattr(order, what)}' in archive '{order.archive}', found none of that name among "
            f"{len(names)}.{hint} They are named as in data/manifests/{order.archive}."
        )
    faces = workspace.data("faces", order.archive)
    if order.frame is not None and faces.is_dir() and not struck(FaceTable.load(faces).rows, [order]).any():
        frames = sorted(FaceTable.load(faces).rows.query("clip == @order.clip")["frame"].tolist())
        raise BadArchive(
            f"expected a face of frame {order.frame} of '{order.clip}', found faces of frames {frames}. Name one of them."
        )


_COLUMNS = {"source": "source", "identity": "identity", "clip": "path"}  # of a manifest


def _expect_unused(workspace: Workspace, name: str) -> None:
    lineage = workspace.lineage()
    learned = [generation for generation, row in lineage.generations.items() if row.learns == name]
    if learned or name in lineage.benches:
        rest = [f"{', '.join(learned)} learned it"] if learned else []
        rest += ["generations are examined on it"] if name in lineage.benches else []
        raise BadParams(
            f"expected '{name}' to be an archive nothing rests on, found that {' and '.join(rest)}. What was learned stays; "
            f"withdraw what it holds instead (perennial withdraw SOURCE --archive {name}, or --identity, or --clip), or "
            "take it out of `sequence` so that no new line learns it."
        )


def _fetch(workspace: Workspace) -> None:
    """Put back from the cache what must be looked at and is not here."""
    rows = workspace.lineage().generations
    needed = [workspace.data("memories", name) / EXEMPLARS for name in rows]
    needed += [workspace.data("faces", row.learns) / "faces.json" for row in rows.values()]
    if not all(path.is_file() for path in needed):
        pipeline.checkout(workspace.root)


def _seen(workspace: Workspace, orders: Sequence[Withdrawal]) -> dict[str, Seen]:
    """Who met what is withdrawn, generation by generation; what a generation was told to leave out it did not meet."""
    seen: dict[str, Seen] = {}
    rows: dict[str, pd.DataFrame] = {}
    for name, row in workspace.lineage().generations.items():
        folder = workspace.data("generations", name)
        if not (folder / CARD).is_file():
            continue
        heeded = [Withdrawal.model_validate(order) for order in read_card(folder).get("withdrawn", ())]
        met = [order for order in orders if order not in heeded]
        learned = 0
        if any(order.archive == row.learns for order in met):
            if row.learns not in rows:
                table = FaceTable.load(workspace.data("faces", row.learns))
                rows[row.learns] = table.rows[table.rows["split"] == TRAIN]
            learned = int(struck(rows[row.learns], met).sum())
        seen[name] = Seen(learned, _held(workspace, row.teacher, met), _held(workspace, name, orders))
    return {name: counts for name, counts in seen.items() if counts}


def _held(workspace: Workspace, name: str, orders: Sequence[Withdrawal]) -> int:
    """Withdrawn faces in the memory that a generation left; none where it left none yet."""
    folder = workspace.data("memories", name)
    if name == NOBODY or not (folder / EXEMPLARS).is_file():
        return 0
    table = Memory.load(folder).table
    return 0 if table is None else int(struck(table.rows, orders).sum())


def _descendants(workspace: Workspace, seen: dict[str, Seen]) -> list[str]:
    descendants: list[str] = []
    for name, row in workspace.lineage().generations.items():  # teachers stand before their descendants
        if (row.teacher in seen or row.teacher in descendants) and name not in seen:
            descendants.append(name)
    return descendants


def _current(workspace: Workspace) -> list[str]:
    """The youngest generation of each line that left a memory: the one that is replayed next."""
    left = [
        name for name in workspace.lineage().generations if (workspace.data("memories", name) / EXEMPLARS).is_file()
    ]
    return list({workspace.lineage().generations[name].line: name for name in left}.values())


def _holding(workspace: Workspace, orders: Sequence[Withdrawal]) -> list[str]:
    """Whose current memory holds something withdrawn."""
    return [name for name in _current(workspace) if _held(workspace, name, orders)]


def _still_here(workspace: Workspace, orders: Sequence[Withdrawal]) -> list[str]:
    past = [name for name in workspace.lineage().generations if name not in _current(workspace)]
    memories = [
        f"data/memories/{name}: an older generation's, never replayed"
        for name in past
        if _held(workspace, name, orders)
    ]
    archives = dict.fromkeys(order.archive for order in orders)
    return [
        f"data/archives/{name} and data/faces/{name}: scores of its test clips rest on them" for name in archives
    ] + memories


def _elsewhere(workspace: Workspace, orders: Sequence[Withdrawal]) -> dict[str, int]:
    counts: dict[str, int] = {}
    known = workspace.params().memory.withdrawn
    for name in workspace.params().archives:
        file = workspace.data("manifests", name) / manifest.MANIFEST_FILE
        alike = [
            order.model_copy(update={"archive": name}) for order in orders if order.archive != name and not order.clip
        ]
        asked = [order for order in alike if order not in known]
        if asked and file.is_file():
            clips = manifest.read(file)
            counts[name] = int(struck(clips.assign(archive=name), asked).sum())
    return {name: count for name, count in counts.items() if count}


def _record(workspace: Workspace, orders: Sequence[Withdrawal], why: str) -> None:
    """One line of the ledger for each; what was withdrawn before keeps the line of that day."""
    for order in orders:
        saw = {name: asdict(counts) for name, counts in _seen(workspace, [order]).items()}
        what = order.model_dump(exclude_defaults=True)
        withdrawals.append(workspace.ledger, withdrawals.Entry(ledger.now(), ledger.somebody(), what, why, saw))


def _folders(workspace: Workspace, name: str) -> list[Path]:
    """What was made of an archive, and the archive."""
    docs = workspace.root / "reports" / "data_docs"
    made = [workspace.data(kind, name) for kind in ("archives", "manifests", "validation", "faces")]
    return [*made, docs / name, docs / f"{name}_faces"]


def _add(document: CommentedMap, orders: Sequence[Withdrawal]) -> None:
    if not orders:
        return
    document["memory"] = document.get("memory") or CommentedMap()
    document["memory"]["withdrawn"] = document["memory"].get("withdrawn") or CommentedSeq()
    for order in orders:
        named = order.model_dump(exclude_defaults=True)
        quoted = {key: SingleQuotedScalarString(value) for key, value in named.items() if key in _COLUMNS}
        line = CommentedMap({**named, **quoted})  # plain, 133_097 would be read as a number and no as false
        line.fa.set_flow_style()
        document["memory"]["withdrawn"].append(line)


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


def _shows(file: Path, withdrawn: Sequence[Withdrawal]) -> bool:
    """Whether a file is a table of faces with something withdrawn among them."""
    columns = ["archive", "source", "identity", "clip", "frame"]
    try:
        table = pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
    except (pa.ArrowInvalid, OSError):
        return False
    return {*columns, "image"} <= set(table.column_names) and bool(
        struck(table.select(columns).to_pandas(), withdrawn).any()
    )
