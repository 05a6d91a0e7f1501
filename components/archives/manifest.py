"""The manifest: one row per clip of an archive, what its publisher says beside what was measured.

    path         POSIX, relative to the archive, perhaps with a part of the file (`fragments`); rows are sorted by it
    sha256       of the file
    label        0 real, 1 forged
    method       the forgery; "genuine" for a real clip
    identity     who is seen, "" if unknown
    source       clips of one source stay in one split
    split        train, val or test; a benchmark is all test; val may be held out by us (`archives.held_out`)
    kind         "clip" or "image"
    frames, width, height      measured; an image has one frame
    mask         POSIX, relative to the archive: a file that shows which pixels of the clip were manipulated, frame n for
                 frame n; "" where there is none. An archive without any mask has no such column.

Twins. Some archives hold one file under two names with two sources (four times among the 5,200 crops of the DFDC
sample). Equal bytes prove that the two sources are one, so they become one. Where that source would then lie in two
splits, only its clips of the most guarded split (test, then val) remain and the others are set aside: the benchmark
stays what it was and nothing of it is learned. An archive with more such clips than `MAX_SET_ASIDE` is not mended
here; its rows stay, and the validation suite refuses it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.archives.files import UnreadableError, troubles_with
from components.archives.fragments import part_of
from components.archives.listing import MASK, Clip, Faults, parts_of
from components.archives.media import Measured, measure
from components.digests import file_digest
from components.errors import BadArchive
from components.progress import shown
from components.vocabulary import TEST, TRAIN, VAL

SCHEMA: Final = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("label", pa.int8()),
        ("method", pa.string()),
        ("identity", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("kind", pa.string()),
        ("frames", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
MASKED_SCHEMA: Final = SCHEMA.append(pa.field(MASK, pa.string()))
EARLIER: Final = pa.schema(
    [("name", pa.string()), ("label", pa.int8()), ("split", pa.string()), ("archive", pa.string())]
)
"""What landed earlier, files and names (`archives.leaks`)."""
WHY: Final = (pa.field("why", pa.string()), pa.field("shared", pa.string()))
"""Of a row that is set aside: the reason, and what it shares with an earlier archive."""

_EARLIER_IN_0_2: Final = pa.schema([("sha256", pa.string()), ("archive", pa.string())])

BENCHMARK: Final = "benchmark"
MANIFEST_FILE: Final = "manifest.parquet"
EARLIER_FILE: Final = "earlier.parquet"
MAX_SET_ASIDE: Final = 0.01  # share of an archive; more is no accident

_GUARDED: Final = (TRAIN, VAL, TEST)  # the later, the less may be learned from it
_CONTENT: Final = ("path", "sha256", "label", "method", "identity", "source", "split")
_AT_ONCE: Final = 16  # files a thread is asked for: asking costs as much as measuring a small one
_SLOW_FILES: Final = 2000  # below, measuring takes no two seconds


def build(
    clips: list[Clip], root: Path, *, layout: str, role: str, known: dict[str, Measured] | None = None
) -> pd.DataFrame:
    """Measure every clip and lay both accounts side by side; raises BadArchive naming every unreadable file.

    `known`: what files are, by digest, that need not be measured again; what is measured is added to it.
    """
    if not clips:
        raise BadArchive(f"expected clips in '{root}', found none. Check the path and the layout '{layout}'.")
    faults = Faults(root, layout)
    rows = []
    known = {} if known is None else known
    masks = _measured({clip.mask for clip in clips if clip.mask}, root, known)
    measured = _measured({part_of(clip.path).file for clip in clips}, root, known)
    for clip in clips:
        found = _of_part(clip.path, measured)
        if isinstance(found, UnreadableError):
            faults.add("file that cannot be read to its end", f"'{clip.path}' ({found})")
        elif clip.frames not in (None, found.frames):
            faults.add("other number of frames", f"'{clip.path}' ({clip.frames} listed, {found.frames} there)")
        else:
            split = TEST if role == BENCHMARK else clip.split
            about = (clip.label, clip.method, clip.identity, clip.source, split)
            size = (found.kind, found.frames, found.width, found.height)
            rows.append((clip.path, found.sha256, *about, *size, clip.mask))
            if clip.mask:
                _compare_mask(clip, found, masks[clip.mask], faults)
    faults.settle()
    built = _frame(rows, MASKED_SCHEMA).sort_values("path", ignore_index=True)
    return built if masks else built.drop(columns=MASK)


def join_twins(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(manifest with the sources of equal files joined, its rows that were set aside); see Twins above."""
    joined = manifest.assign(source=_joined_sources(manifest))
    guard = joined["split"].map(_GUARDED.index)
    behind = guard < guard.groupby(joined["source"]).transform("max")
    # A source the archive itself puts in two splits is its own fault: it stays, and the suite says so.
    declared = manifest.groupby("source")["split"].transform("nunique") > 1
    torn = behind & ~declared.groupby(joined["source"]).transform("any")
    if not 0 < torn.sum() <= MAX_SET_ASIDE * len(manifest):
        torn &= False
    return joined[~torn].reset_index(drop=True), joined[torn].reset_index(drop=True)


def empty(schema: pa.Schema) -> pd.DataFrame:
    """No rows of a table written by `write`."""
    return _frame([], schema)


def write(frame: pd.DataFrame, path: Path, schema: pa.Schema = SCHEMA) -> None:
    """Parquet with the same bytes for the same rows; a manifest that names masks keeps them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = MASKED_SCHEMA if schema is SCHEMA and MASK in frame else schema
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd", version="2.6", store_schema=False)


def write_set_aside(rows: pd.DataFrame, path: Path) -> None:
    """The rows of a manifest that are set aside, each with `WHY`."""
    schema = MASKED_SCHEMA if MASK in rows else SCHEMA
    write(rows, path, pa.schema([*schema, *WHY]))


def read(path: Path) -> pd.DataFrame:
    """A manifest written by `write`; raises BadArchive if it is none."""
    return _read(path, SCHEMA, MASKED_SCHEMA)


def read_earlier(path: Path) -> pd.DataFrame:
    """What `leaks.known` found, written by `write`; raises BadArchive if it is something else.

    Version 0.2 kept files alone, without a split: there it is "".
    """
    found = _read(path, EARLIER, _EARLIER_IN_0_2)
    return found if "name" in found else found.rename(columns={"sha256": "name"}).assign(label=-1, split="")


def read_set_aside(path: Path) -> pd.DataFrame:
    """What `write_set_aside` wrote; version 0.2 wrote no reason: there it is "". Raises BadArchive."""
    found = _read(path, *(pa.schema([*schema, *why]) for schema in (SCHEMA, MASKED_SCHEMA) for why in (WHY, ())))
    return found if "why" in found else found.assign(why="", shared="")


def among(names: pd.Series[str], others: pd.Series[str]) -> npt.NDArray[np.bool_]:
    """(N,) which of the names are among the others: `isin`, which for texts takes twenty times the time and ten the memory."""
    found: npt.NDArray[np.bool_] = pc.is_in(pa.array(names), value_set=pa.array(others)).to_numpy(zero_copy_only=False)
    return found


def content_digest(manifest: pd.DataFrame) -> str:
    """One name for what an archive holds and claims: files, labels, sources, splits, masks; not where it lies."""
    columns = [*_CONTENT, MASK] if MASK in manifest else [*_CONTENT]
    rows = manifest.sort_values("path")[columns].itertuples(index=False)
    return _digest("\0".join(map(str, row)) for row in rows)


def same_content(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether two manifests describe the same archive: if not, the name is taken."""
    return content_digest(one) == content_digest(other)


def tree_digest(root: Path, names: Iterable[str] | None = None) -> str:
    """One name for an archive: the relative path and bytes of every file that is part of it, or of those alone."""
    names = sorted(parts_of(root) if names is None else names)
    with ThreadPoolExecutor(_threads()) as pool:
        digests = pool.map(_digest_of, (root / name for name in names))
        return _digest(f"{name}\0{digest}" for name, digest in zip(names, digests, strict=True))


def _digest_of(path: Path) -> str:
    with troubles_with(path):
        return file_digest(path)


def _read(path: Path, schema: pa.Schema, *others: pa.Schema) -> pd.DataFrame:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as fault:
        raise BadArchive(f"expected '{path}' as stage ingest writes it: {fault}. Run ingest again.") from fault
    if not any(table.schema.equals(known) for known in (schema, *others)):
        columns = ", ".join(schema.names)
        raise BadArchive(
            f"expected '{path}' as stage ingest writes it, with the columns {columns}; "
            f"found {', '.join(table.schema.names)}. Run ingest again."
        )
    return table.to_pandas()


def _joined_sources(manifest: pd.DataFrame) -> pd.Series[str]:
    """Every row's source, where sources that hold the same bytes under the same label share the first one's name."""
    leader: dict[str, str] = {}

    def lead(source: str) -> str:
        while source in leader:
            source = leader[source]
        return source

    twins = manifest[manifest.duplicated(["sha256", "label"], keep=False)]
    for _, sources in twins.groupby(["sha256", "label"], sort=True)["source"]:
        first, *others = sorted({lead(source) for source in sources})
        leader |= dict.fromkeys(others, first)
    return manifest["source"].map(lead)


def _of_part(path: str, measured: Mapping[str, Measured | UnreadableError]) -> Measured | UnreadableError:
    """What a clip is that may be a part of its file; its digest is then of the file and of which part."""
    part = part_of(path)
    whole = measured[part.file]
    if path == part.file or isinstance(whole, UnreadableError):
        return whole
    left, top, _, _ = part.box or (0, 0, 0, 0)
    first, last = part.frames or (0, whole.frames - 1)
    if left >= whole.width or top >= whole.height or not first <= last < whole.frames:
        return UnreadableError(f"a part outside of its {whole.frames} frames of {whole.width}x{whole.height} px")
    digest = hashlib.sha256(f"{whole.sha256}{path.removeprefix(part.file)}".encode()).hexdigest()
    return Measured(digest, whole.kind, last - first + 1, whole.width, whole.height)


def _compare_mask(clip: Clip, found: Measured, mask: Measured | UnreadableError, faults: Faults) -> None:
    """A mask may end before its clip: what was manipulated of the frames after it is then unknown."""
    if isinstance(mask, UnreadableError):
        faults.add("mask that cannot be read to its end", f"'{clip.mask}' ({mask})")
    elif (mask.kind, mask.width, mask.height) != (found.kind, found.width, found.height):
        of_the_mask, of_the_clip = (f"{it.kind} {it.width}x{it.height}" for it in (mask, found))
        faults.add("mask unlike its clip", f"'{clip.mask}' ({of_the_mask}; '{clip.path}': {of_the_clip})")


def _measured(names: Collection[str], root: Path, known: dict[str, Measured]) -> dict[str, Measured | UnreadableError]:
    """What each of these files is; a `known` one is only hashed, and what is measured is added to those."""

    def look(path: str) -> Measured | UnreadableError:
        try:
            return measure(root / path, known)
        except UnreadableError as fault:
            return fault

    paths = sorted(names)
    pieces = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
    quiet = len(paths) < _SLOW_FILES and all(path.endswith((".jpg", ".png")) for path in paths)
    with ThreadPoolExecutor(_threads()) as pool:
        found = chain.from_iterable(pool.map(lambda piece: [look(path) for path in piece], pieces))
        measured = dict(zip(paths, shown(found, f"measuring {root.name}", total=len(paths), quiet=quiet), strict=True))
    known |= {one.sha256: one for one in measured.values() if isinstance(one, Measured)}
    return measured


def _frame(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pd.DataFrame:
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema).to_pandas()


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _threads() -> int:
    return min(8, 2 * (os.cpu_count() or 1))
