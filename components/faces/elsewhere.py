"""A face table whose images lie in an object store: they are fetched when they are first asked for, and kept.

    s3://bucket/prefix/<digest>/data-00000-of-00010.arrow      the shards, as they were written

What stays in the table's folder is small, and all that DVC versions: ``faces.json``, ``outcomes.parquet``, and in place of
the shards

    rows.parquet      every column but the images, and where those lie: shard, image_at, image_bytes, mask_at, mask_bytes
    elsewhere.json    {"address": "s3://bucket/prefix/<digest>", "shards": [{"name", "bytes", "etag"}, …]}

The address ends in the digest of the content, so nothing there is ever written over. Neighbours are fetched together,
several pieces at once, and kept in files as long as the shards that fill as they are read (`fetched_bytes` of the settings
says how much of that there may be). Endpoint, region and credentials come from the environment as boto3 reads them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.addresses import bucket_and_prefix
from components.errors import BadArchive, BadParams
from components.faces import decoded
from components.faces.about import read_about
from components.progress import shown
from components.settings import settings
from components.writing import replace_text

ELSEWHERE_FILE: Final = "elsewhere.json"
ROWS_FILE: Final = "rows.parquet"
FETCHED: Final = Path(".perennial/fetched")
GAP_BYTES: Final = 64 * 1024  # two pieces this near are fetched as one
PIECE_BYTES: Final = 8 * 2**20
AT_ONCE: Final = 8

Indices = Sequence[int] | npt.NDArray[np.integer[Any]]


def is_elsewhere(folder: Path) -> bool:
    return (folder / ELSEWHERE_FILE).is_file()


def put(folder: Path, store: str) -> str:
    """Bring the shards of the table in `folder` to ``s3://bucket/prefix`` and leave the rows; returns their address.

    Raises BadArchive where there is no table, BadParams where the store cannot be written.
    """
    digest = read_about(folder)["digest"]
    address = f"{store.rstrip('/')}/{digest}"
    bucket, prefix = bucket_and_prefix(address)
    files = sorted(folder.glob("data-*.arrow"))
    rows = pa.concat_tables([_rows(file, number) for number, file in enumerate(files)])
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = _client()
        for file in shown(files, f"to {store}"):
            client.upload_file(str(file), bucket, f"{prefix}/{file.name}")
        heads = [client.head_object(Bucket=bucket, Key=f"{prefix}/{file.name}") for file in files]
    except (BotoCoreError, ClientError, S3UploadFailedError) as fault:
        raise BadParams(
            f"'{address}' cannot be written: {fault}. Check it, AWS_ENDPOINT_URL and the credentials."
        ) from fault
    shards = [
        {"name": file.name, "bytes": file.stat().st_size, "etag": head["ETag"]}
        for file, head in zip(files, heads, strict=True)
    ]
    pq.write_table(rows.replace_schema_metadata(None), folder / ROWS_FILE, compression="zstd", version="2.6")
    said = json.dumps({"address": address, "shards": shards}, indent=2, sort_keys=True) + "\n"
    replace_text(folder / ELSEWHERE_FILE, said)
    for file in [*files, folder / "state.json", folder / "dataset_info.json"]:
        file.unlink(missing_ok=True)
    return address


class Elsewhere:
    """The images of such a table, as `table.Here` lends those of one that is here."""

    def __init__(self, folder: Path, digest: str) -> None:
        said = json.loads((folder / ELSEWHERE_FILE).read_text())
        self.rows = pq.read_table(folder / ROWS_FILE)
        self._address: str = said["address"]
        self._shards: list[dict[str, Any]] = said["shards"]
        self._shard = self._numbers("shard")
        self._at = {"image": self._numbers("image_at"), "mask": self._numbers("mask_at")}
        self._bytes = {"image": self._numbers("image_bytes"), "mask": self._numbers("mask_bytes")}
        self._kept = _Kept.in_files(digest, [shard["bytes"] for shard in self._shards], len(self._shard))

    @property
    def image_bytes(self) -> npt.NDArray[np.int64]:
        """How many bytes each image takes."""
        return self._bytes["image"]

    @property
    def masked(self) -> npt.NDArray[np.bool_]:
        """Whether each face has a mask that is known."""
        return self._at["mask"] >= 0

    def image(self, index: int) -> Any:
        return self._content("image", index)

    def mask(self, index: int) -> Any:
        return self._content("mask", index) if self._at["mask"][index] >= 0 else None

    def fetch(self, indices: Indices) -> None:
        """Bring the images of these faces here, where they can be kept."""
        if self._kept is not None:
            self._bring("image", np.unique(np.asarray(indices, np.intp)))

    def _content(self, what: str, index: int) -> Any:
        shard, at, size = self._shard[index], self._at[what][index], self._bytes[what][index]
        if self._kept is None:
            return self._download(int(shard), int(at), int(at + size))
        self._bring(what, np.array([index]))
        return memoryview(self._kept.files[shard])[at : at + size]

    def _bring(self, what: str, indices: npt.NDArray[np.intp]) -> None:
        assert self._kept is not None
        there, files = self._kept.there[what], self._kept.files
        missing = indices[there[indices] == 0]

        def bring(piece: npt.NDArray[np.intp]) -> None:
            shard, first = int(self._shard[piece[0]]), int(self._at[what][piece[0]])
            last = int(self._at[what][piece[-1]] + self._bytes[what][piece[-1]])
            files[shard][first:last] = np.frombuffer(self._download(shard, first, last), np.uint8)
            there[piece] = 1

        pieces = list(self._pieces(what, missing))
        if len(pieces) == 1:
            bring(pieces[0])
        elif pieces:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for _ in pool.map(bring, pieces):
                    pass

    def _pieces(self, what: str, indices: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
        """Neighbours in one shard together."""
        if not len(indices):
            return
        order = indices[np.lexsort((self._at[what][indices], self._shard[indices]))]
        shard, at = self._shard[order], self._at[what][order]
        end = at + self._bytes[what][order]
        first = 0
        for place in range(1, len(order) + 1):
            apart = place == len(order) or shard[place] != shard[first] or at[place] - end[place - 1] > GAP_BYTES
            if apart or end[place] - at[first] > PIECE_BYTES:
                yield order[first:place]
                first = place

    def _download(self, shard: int, first: int, last: int) -> bytes:
        """Bytes of a shard as it was put there; another version of it is refused by the store."""
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, prefix = bucket_and_prefix(self._address)
        about = self._shards[shard]
        key = f"{prefix}/{about['name']}"
        try:
            answer = self._client.get_object(
                Bucket=bucket, Key=key, Range=f"bytes={first}-{last - 1}", IfMatch=about["etag"]
            )
            content = bytes(answer["Body"].read())
        except (BotoCoreError, ClientError) as fault:
            raise BadArchive(
                f"expected faces in 's3://{bucket}/{key}', found none: {fault}. Check AWS_ENDPOINT_URL and the credentials, or "
                "crop the archive again."
            ) from fault
        if len(content) != last - first:
            raise BadArchive(
                f"expected {last - first} bytes of 's3://{bucket}/{key}', found {len(content)}. Try again."
            )
        return content

    @cached_property
    def _client(self) -> Any:
        return _client()

    def _numbers(self, column: str) -> npt.NDArray[np.int64]:
        return pc.fill_null(self.rows[column], -1).to_numpy().astype(np.int64)


class _Kept:
    """Files as long as the shards, and a mark beside each image and mask that says that it is there."""

    def __init__(self, folder: Path, sizes: Sequence[int], rows: int) -> None:
        self.files = [decoded.mapped(folder / f"shard-{n}", (size,)) for n, size in enumerate(sizes)]
        self.there = {what: decoded.mapped(folder / what, (rows,)) for what in ("image", "mask")}

    @classmethod
    def in_files(cls, digest: str, sizes: Sequence[int], rows: int) -> _Kept | None:
        """None where they do not fit into what the settings allow; a mark of before the machine was started is not believed."""
        here = FETCHED / f"{digest[:32]}-{int(psutil.boot_time())}"
        return decoded.with_room(here, sum(sizes), settings().fetched_bytes, partial(cls, here, sizes, rows))


def forget(workspace: Path) -> None:
    """Let go of everything that was fetched in a workspace, and in those of its studies."""
    for kept in (workspace / FETCHED, *workspace.glob(f".perennial/studies/*/{FETCHED}")):
        shutil.rmtree(kept, ignore_errors=True)


def _rows(file: Path, number: int) -> pa.Table:
    """The rows of one shard without images, and where in its file each image begins."""
    mapped = pa.memory_map(str(file))
    start = mapped.read_buffer().address
    mapped.seek(0)
    table = pa.ipc.open_stream(mapped).read_all()
    places = {"shard": pa.array(np.full(table.num_rows, number, np.int32))}
    for what in ("image", "mask"):
        parts = [_places(chunk, start) for chunk in table[what].chunks] if what in table.column_names else []
        at, size = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else (None, None)
        places[f"{what}_at"] = _nullable(at, table.num_rows, pa.int64())
        places[f"{what}_bytes"] = _nullable(size, table.num_rows, pa.int32())
    plain = table.drop_columns([name for name in ("image", "mask") if name in table.column_names])
    for name, values in places.items():
        plain = plain.append_column(name, values)
    return plain


def _places(images: pa.StructArray, start: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(offset in the file, length) of each image of a batch, -1 where there is none."""
    encoded = images.field("bytes")
    _, offsets, data = encoded.buffers()
    ends = np.frombuffer(offsets, np.int32)[encoded.offset : encoded.offset + len(encoded) + 1].astype(np.int64)
    known = pc.is_valid(encoded).to_numpy(zero_copy_only=False)
    at = ends[:-1] + (data.address - start if data is not None else 0)
    return np.where(known, at, -1), np.where(known, np.diff(ends), -1)


def _nullable(values: npt.NDArray[np.int64] | None, count: int, kind: pa.DataType) -> pa.Array:
    return pa.nulls(count, kind) if values is None else pa.array(values, mask=values < 0).cast(kind)


def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(max_pool_connections=AT_ONCE))
