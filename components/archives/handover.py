"""What a landing measured, for the stage it starts next: files by the digest of their bytes.

An archive is measured before anything of it is copied, and once more where it lies then. The second time it is enough to
see that the bytes are the same: what a file is follows from them and from the code that measures. So the stage finds the
same with this file and without it, only later; the landing takes the file away when it ends.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import av
import PIL
import pyarrow as pa
import pyarrow.parquet as pq

from components import code
from components.archives import media
from components.archives.media import Measured

FOLDER: Final = Path(".perennial/measured")
_SCHEMA: Final = pa.schema(
    [
        ("sha256", pa.string()),
        ("kind", pa.string()),
        ("frames", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
    ]
)


def write(folder: Path, name: str, measured: Collection[Measured]) -> None:
    """Keep what was measured of an archive in `folder`; a disk that cannot hold it is done without."""
    columns = {field.name: [getattr(one, field.name) for one in measured] for field in _SCHEMA}
    table = pa.table(columns, _SCHEMA.with_metadata({"made_of": _made_of()}))
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, _file(folder, name))


def read(folder: Path, name: str) -> dict[str, Measured]:
    """What was measured of an archive by today's code, by digest; nothing where nobody wrote it or it cannot be read."""
    try:
        table = pq.read_table(_file(folder, name))
    except (OSError, pa.ArrowException):
        return {}
    if (table.schema.metadata or {}).get(b"made_of", b"").decode() != _made_of() or table.schema != _SCHEMA:
        return {}
    columns = [column.to_pylist() for column in table.columns]
    return {row[0]: Measured(*row) for row in zip(*columns, strict=True)}


def forget(folder: Path) -> None:
    """Delete what was kept in `folder`: landings take turns, so this one's, and that of one that was killed."""
    shutil.rmtree(folder, ignore_errors=True)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"


@cache
def _made_of() -> str:
    """The code and the libraries that measure."""
    return f"{code.digest([code.closure(media.__name__)])} av {av.__version__} pillow {PIL.__version__}"
