"""The face table: aligned faces as lossless WebP in Arrow shards, one row per face; a memory's may be lossy.

    faces.json            digest of the content, profile of the aligner, counts
    data-*.arrow          the rows; with state.json and dataset_info.json the folder opens in `datasets.load_from_disk`
    outcomes.parquet      what became of every frame that was looked at (where the table was cut from clips)

The same rows give the same bytes of every file, so DVC sees no change where there is none. A table is written beside
its place and moved there when it is whole: a stage that fails leaves what was there before.

Where somebody knows which pixels were manipulated, the rows have a column `mask`: a grey image, smaller than the face, 255
where all of a cell was manipulated; nothing for faces of which nobody knows, and for genuine ones. A table without masks
has no such column.

Codec: WebP lossless, method 0, is bit-exact and a third smaller than PNG level 1, and decodes twice as fast (aligned
FaceForensics++ faces, 256 px, 2026-11: 57 KB, 390 encoded/s, 1100 decoded/s a core; PNG 80 KB, 290/s, 650/s). Masks are
WebP of method 4 (64 px: 0.37 KB, 4,000 encoded/s, 45,000 decoded/s; method 0 0.71 KB, PNG 0.49 KB).
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from components.errors import BadArchive, NoFaceFound
from components.faces import decoded, quality
from components.faces.about import FACES_FILE, read_about
from components.faces.elsewhere import Elsewhere, is_elsewhere
from components.vocabulary import Codec
from components.writing import replace_text

Images = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.float32]
Indices = Sequence[int] | npt.NDArray[np.integer[Any]]

CACHE_BYTES = 256 * 2**20  # of decoded faces a table keeps: training meets the same faces epoch after epoch
SHARD_ROWS = 4096  # about 250 MB at 256 px: few big files suit DVC and object stores
BATCH_ROWS = 256

_TEXT = ("archive", "clip", "method", "identity", "source", "split")
_LENGTHS = {"landmarks": 10, "box": 4}
_FLOATS = ("score", *quality.COLUMNS)
_SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("archive", pa.string()),
        ("clip", pa.string()),
        ("frame", pa.int32()),
        ("label", pa.int8()),
        ("method", pa.string()),
        ("identity", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("landmarks", pa.list_(pa.float32(), 10)),  # in crop pixels; NaN where they are unknown
        ("box", pa.list_(pa.float32(), 4)),  # x0, y0, x1, y1 in pixels of the frame
        ("score", pa.float32()),
        *((name, pa.float32()) for name in quality.COLUMNS),  # NaN where nobody measured it
    ]
)
_MASKED_SCHEMA = _SCHEMA.append(pa.field("mask", _SCHEMA.field("image").type))
_IMAGES = ("image", "mask")
_LISTS = {field.type: pd.ArrowDtype(field.type) for field in _SCHEMA if pa.types.is_fixed_size_list(field.type)}
_LOSSY = {"webp": (".webp", cv2.IMWRITE_WEBP_QUALITY), "jpeg": (".jpg", cv2.IMWRITE_JPEG_QUALITY)}
COLUMNS = tuple(name for name in _SCHEMA.names if name not in _IMAGES)
_ROWS = pa.schema([_SCHEMA.field(name) for name in COLUMNS])


class FaceTable:
    """Aligned faces that are read at random, memory-mapped.

    rows      every column but the image, one row per face, RangeIndex
    digest    sha256 of the rows, the image bytes and the masks; the folder's place, shards and profile do not enter
    profile   detector, its weights, size, margin and frames a clip; `profile["hash"]` names them all
    """

    def __init__(
        self, path: Path, source: Here | Elsewhere, about: Mapping[str, Any], cache_bytes: int, shared_bytes: int
    ) -> None:
        self.path = path
        self.digest: str = about["digest"]
        self.profile: dict[str, Any] = dict(about["profile"])
        self.rows: pd.DataFrame = _frame(source.rows)
        self._source = source
        self._cache_bytes, self._shared_bytes = cache_bytes, shared_bytes

    @classmethod
    def load(cls, path: Path, *, cache_bytes: int = CACHE_BYTES, shared_bytes: int = 0) -> FaceTable:
        """Open the table in folder `path`; raises BadArchive where there is none or it is damaged.

        cache_bytes   of decoded faces that are kept in memory
        shared_bytes  of the files of the workspace in which stages keep decoded faces for one another, instead, if this
                      table's fit
        """
        about = read_about(path)
        try:
            source = Elsewhere(path, about["digest"]) if is_elsewhere(path) else Here(path)
        except (ValueError, OSError, KeyError, pa.ArrowException) as fault:
            raise BadArchive(f"the face table in '{path}' is damaged ({fault}). Make it again.") from fault
        if source.rows.num_rows != about["faces"]:
            raise BadArchive(
                f"the face table in '{path}' should hold {about['faces']} faces, found {source.rows.num_rows}. Make it again."
            )
        return cls(path, source, about, cache_bytes, shared_bytes)

    @classmethod
    def write(
        cls,
        path: Path,
        rows: pd.DataFrame,
        encoded: Iterable[bytes],
        profile: Mapping[str, Any],
        outcomes: pd.DataFrame | None = None,
        masks: Sequence[bytes | None] | None = None,
    ) -> FaceTable:
        """Make folder `path` hold exactly these faces, replacing what it held; see `Writer` to write as faces come.

        `masks` are their encoded masks, None for each that is not known; where none is, the table has no masks.
        """
        known = [None] * len(rows) if masks is None else masks
        with Writer(path, profile, masks=any(mask is not None for mask in known)) as writer:
            for row, image, mask in zip(_records(rows), encoded, known, strict=True):
                writer.add(row, image, mask)
            return writer.finish(outcomes)

    def take(self, indices: Indices, path: Path) -> FaceTable:
        """A table of these faces, in this order, in folder `path`."""
        with Writer(path, self.profile, masks=self.knows_masks(indices)) as writer:
            writer.add_from(self, indices)
            return writer.finish()

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        # worker processes map the files again instead of copying them
        load = partial(FaceTable.load, cache_bytes=self._cache_bytes, shared_bytes=self._shared_bytes)
        return load, (self.path,)

    @cached_property
    def outcomes(self) -> pd.DataFrame | None:
        """archive, clip, frame, outcome of every frame that was looked at; None where no clip was."""
        file = self.path / "outcomes.parquet"
        return pq.read_table(file).to_pandas() if file.is_file() else None

    def encoded(self, indices: Indices) -> list[bytes]:
        """The encoded bytes of these faces."""
        self._source.fetch(indices)
        return [bytes(self._source.image(int(i))) for i in indices]

    def encoded_bytes(self, indices: Indices) -> int:
        """How many bytes these faces take, encoded."""
        return int(self._source.image_bytes[np.asarray(indices, np.intp)].sum())

    def knows_masks(self, indices: Indices) -> bool:
        """Whether the mask of one of these faces is known."""
        return bool(self._source.masked[np.asarray(indices, np.intp)].any())

    def encoded_masks(self, indices: Indices) -> list[bytes | None]:
        """The WebP bytes of the masks of these faces, None for each that is not known."""
        masks = (self._source.mask(int(i)) for i in indices)
        return [None if mask is None else bytes(mask) for mask in masks]

    def masks(self, indices: Indices) -> Shares | None:
        """Which share of each cell of these faces was manipulated, (N, h, w) in [0, 1] and NaN throughout where nobody
        knows; None where nobody knows of any."""
        known = {place: decode_mask(mask) for place, mask in enumerate(self.encoded_masks(indices)) if mask is not None}
        if not known:
            return None
        shares = np.full((len(indices), *next(iter(known.values())).shape), np.nan, np.float32)
        for place, mask in known.items():
            shares[place] = mask.astype(np.float32) / 255
        return shares

    def images(self, indices: Indices) -> Images:
        """Decoded faces, (N, H, W, 3) uint8 RGB."""
        self._source.fetch(self._decoded.missing(indices))
        images = [self.image(int(i)) for i in indices]
        return np.stack(images) if images else np.empty((0, *self.shape), np.uint8)

    def image(self, index: int) -> Images:
        """One decoded face, (H, W, 3) uint8 RGB, which is not to be written on."""
        return self._decoded.get(index, lambda: decode(self._source.image(index)))

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of every face."""
        width, height = _size_px(bytes(self._source.image(0)))
        return height, width, 3

    @cached_property
    def _decoded(self) -> decoded.InMemory | decoded.OnDisk:
        if shared := self._shared_bytes:
            on_disk = decoded.kept_for(self.digest, (len(self), *self.shape), shared)
            if on_disk is not None:
                return on_disk
        return decoded.InMemory(self._cache_bytes)


class Here:
    """The images of a table whose shards are in its folder, mapped."""

    def __init__(self, path: Path) -> None:
        table = pa.concat_tables([_shard(file) for file in sorted(path.glob("data-*.arrow"))])
        self.rows = _with_quality(table).cast(_MASKED_SCHEMA if "mask" in table.column_names else _SCHEMA)
        self._images = _bytes_of(self.rows["image"])
        self._masks = _bytes_of(self.rows["mask"]) if "mask" in self.rows.column_names else None

    @property
    def image_bytes(self) -> npt.NDArray[np.int64]:
        """How many bytes each image takes."""
        lengths: npt.NDArray[np.int64] = pc.binary_length(self._images).to_numpy()
        return lengths

    @property
    def masked(self) -> npt.NDArray[np.bool_]:
        """Whether each face has a mask that is known."""
        if self._masks is None:
            return np.zeros(len(self._images), bool)
        known: npt.NDArray[np.bool_] = pc.is_valid(self._masks).to_numpy()
        return known

    def image(self, index: int) -> Any:
        return self._images[index].as_buffer()

    def mask(self, index: int) -> Any:
        return None if self._masks is None else self._masks[index].as_py()

    def fetch(self, indices: Indices) -> None:
        """They are here."""


class Writer:
    """Writes a face table while the faces come, holding no more than a batch of images and some 150 bytes a row beside.

        with Writer(path, profile) as writer:
            writer.add(row, image)
            table = writer.finish()

    Left without `finish`, or by an error, it leaves `path` as it was. With `masks`, faces may come with one.
    """

    def __init__(self, path: Path, profile: Mapping[str, Any], *, masks: bool = False) -> None:
        self._path = path
        self._schema = _MASKED_SCHEMA if masks else _SCHEMA
        self._profile = named_profile(profile)
        self._partial = path.with_name(f".{path.name}.partial")
        self._written: list[pa.RecordBatch] = []  # without their images
        self._flushed = 0
        self._rows: list[dict[str, Any]] = []  # of the batch being filled, as what follows
        self._images: list[bytes] = []
        self._masks: list[bytes | None] = []
        self._digest = hashlib.sha256()
        self._size: tuple[int, int] | None = None
        self._mask_size: tuple[int, int] | None = None
        self._shards: list[Path] = []
        self._sink: pa.RecordBatchStreamWriter | None = None

    def __enter__(self) -> Self:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close_shard()
        shutil.rmtree(self._partial, ignore_errors=True)

    @property
    def rows(self) -> pd.DataFrame:
        """The rows added so far."""
        filling = _batch(self._rows, self._images, self._masks, self._schema).select(COLUMNS)
        return _frame(pa.Table.from_batches([*self._written, filling]))

    def __len__(self) -> int:
        return self._flushed + len(self._rows)

    def add(self, row: Mapping[str, Any], image: bytes, mask: bytes | None = None) -> None:
        """Append a face: a value for every column but the images, its encoded bytes, and its mask's, if known."""
        typed = _typed(row)
        self._expect_one_size(typed, image, mask)
        self._digest.update(_content(typed, image, mask))
        self._rows.append(typed)
        self._images.append(image)
        self._masks.append(mask)
        if len(self._images) == BATCH_ROWS:
            self._flush()

    def add_from(self, table: FaceTable, indices: Indices, encoded: Callable[[int], bytes] | None = None) -> None:
        """Append faces of another table, in this order and with their masks, encoded as there unless something is said."""
        chosen = np.asarray(indices, np.intp)
        for row, index in zip(_records(table.rows, chosen), chosen.tolist(), strict=True):
            (mask,) = table.encoded_masks([index])
            self.add(row, encoded(index) if encoded else table.encoded([index])[0], mask)

    def finish(self, outcomes: pd.DataFrame | None = None) -> FaceTable:
        """Move the whole table to its place."""
        if not len(self):
            raise NoFaceFound(
                f"a face table needs at least one face, found none for '{self._path}'. "
                "Look at the archive, the face detector and faces.min_score in params.yaml."
            )
        self._flush()
        self._close_shard()
        self._write_descriptions()
        if outcomes is not None:
            write_parquet(outcomes, self._partial / "outcomes.parquet")
        self._written = []
        shutil.rmtree(self._path, ignore_errors=True)
        self._partial.rename(self._path)
        return FaceTable.load(self._path)

    def _expect_one_size(self, row: Mapping[str, Any], image: bytes, mask: bytes | None) -> None:
        size = _size_px(image)
        self._size = self._size or size
        if size != self._size:
            raise BadArchive(
                f"expected every face of a table to be {self._size[0]}x{self._size[1]} px as the first, found "
                f"{size[0]}x{size[1]} in '{row['archive']}/{row['clip']}'. Crop all archives with one faces.size_px."
            )
        if mask is None:
            return
        if self._schema is _SCHEMA:
            raise ValueError("expected no mask in a table that was begun without; begin it with masks=True")
        size = _size_px(mask)
        self._mask_size = self._mask_size or size
        if size != self._mask_size:
            raise BadArchive(
                f"expected every mask of a table to be {self._mask_size[0]}x{self._mask_size[1]} px as the first, found "
                f"{size[0]}x{size[1]} in '{row['archive']}/{row['clip']}'. Crop all archives again."
            )

    def _flush(self) -> None:
        if not self._images:
            return
        if self._sink is None:
            self._shards.append(self._partial / f"shard-{len(self._shards):05d}")
            self._sink = pa.ipc.new_stream(str(self._shards[-1]), self._schema.with_metadata(_metadata(self._schema)))
        batch = _batch(self._rows, self._images, self._masks, self._schema)
        self._sink.write_batch(batch)
        self._written.append(batch.select(COLUMNS))
        self._flushed += batch.num_rows
        self._rows, self._images, self._masks = [], [], []
        if len(self) % SHARD_ROWS == 0:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._sink is not None:
            self._sink.close()
        self._sink = None

    def _write_descriptions(self) -> None:
        count = len(self._shards)
        names = [f"data-{number:05d}-of-{count:05d}.arrow" for number in range(count)]
        for shard, name in zip(self._shards, names, strict=True):
            shard.rename(shard.with_name(name))
        digest = self._digest.hexdigest()
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": digest[:16],  # `datasets` draws one at random; ours follows the content
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        _write_json(self._partial / "state.json", state)
        _write_json(self._partial / "dataset_info.json", {"features": _features(self._schema)})
        about = {"digest": digest, "faces": len(self), "profile": self._profile}
        _write_json(self._partial / FACES_FILE, about)


def encode(image: Images, codec: Codec = "lossless", quality: int = 90) -> bytes:
    """One face (H, W, 3) RGB, with what a codec that is not lossless leaves of it at a `quality` of 1 to 100.

    Lossless WebP is Pillow's: OpenCV cannot choose the method and is 18 times slower.
    """
    if codec != "lossless":
        suffix, how = _LOSSY[codec]
        _, lossy = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [how, quality])
        return lossy.tobytes()
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "WEBP", lossless=True, method=0, quality=0)  # here quality means effort
    return sink.getvalue()


def encode_mask(mask: Images) -> bytes:
    """Lossless WebP of one mask (h, w)."""
    sink = io.BytesIO()
    Image.fromarray(mask).save(sink, "WEBP", lossless=True, method=4, quality=50)
    return sink.getvalue()


def decode_mask(encoded: Any) -> Images:
    """One mask (h, w) from its bytes, or anything that lends them."""
    return _decoded(encoded, cv2.IMREAD_GRAYSCALE)


def decode(encoded: Any) -> Images:
    """One face (H, W, 3) RGB from its bytes, or anything that lends them."""
    return _decoded(encoded, cv2.IMREAD_COLOR_RGB)


def _decoded(encoded: Any, how: int) -> Images:
    image: Images | None = cv2.imdecode(np.frombuffer(encoded, np.uint8), how)
    if image is None:
        raise BadArchive(
            f"expected an encoded face, found {len(encoded)} bytes of something else. Make the face table again."
        )
    return image


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """`frame` without its index and without the versions of the libraries: same rows, same bytes."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd", version="2.6")


def named_profile(profile: Mapping[str, Any]) -> dict[str, Any]:
    """`profile` with the ``hash`` that names all of it."""
    plain = {key: value for key, value in profile.items() if key != "hash"}
    return plain | {"hash": hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}


def _present(rows: pd.DataFrame) -> list[str]:
    missing = [column for column in COLUMNS if column not in (*rows.columns, *quality.COLUMNS)]
    if missing:
        raise BadArchive(f"a face table needs the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}.")
    return [column for column in COLUMNS if column in rows.columns]


def _frame(table: pa.Table) -> pd.DataFrame:
    """The rows without images, lists of numbers as Arrow holds them: as objects they take ten times the memory.

    In one piece: of many, Arrow makes one whenever some rows are taken.
    """
    whole = _with_quality(table).select(COLUMNS).cast(_ROWS).combine_chunks()
    rows: pd.DataFrame = whole.to_pandas(types_mapper=_LISTS.get)
    return rows


def _records(rows: pd.DataFrame, order: npt.NDArray[np.intp] | None = None) -> Iterator[dict[str, Any]]:
    """Rows as `Writer.add` takes them, all or these in their order, a batch of them at a time."""
    columns, count = _present(rows), len(rows) if order is None else len(order)
    for start in range(0, count, BATCH_ROWS):
        piece = slice(start, start + BATCH_ROWS)
        for row in rows.iloc[piece if order is None else order[piece]][columns].to_dict("records"):
            yield {str(column): value for column, value in row.items()}


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """`row` in the order and the types of the table, so that the digest does not depend on who wrote it."""
    typed: dict[str, Any] = {}
    for column in COLUMNS:
        value = row.get(column, np.nan) if column in quality.COLUMNS else row[column]
        if column in _TEXT:
            typed[column] = str(value)
        elif column in _LENGTHS:
            typed[column] = np.asarray(value, np.float32).reshape(_LENGTHS[column])
        else:
            typed[column] = float(np.float32(value)) if column in _FLOATS else int(value)
    return typed


def _content(row: Mapping[str, Any], image: bytes, mask: bytes | None) -> bytes:
    """What the digest sees of a face; lengths come first, so no two rows run together. What nobody measured is not seen."""
    unseen = _LENGTHS.keys() | ({*quality.COLUMNS} if all(np.isnan(row[name]) for name in quality.COLUMNS) else set())
    words = json.dumps([value for column, value in row.items() if column not in unseen]).encode()
    numbers = b"".join(row[column].tobytes() for column in _LENGTHS)
    content = b"%d %d " % (len(words), len(image)) + words + numbers + image
    return content if mask is None else content + b"mask %d " % len(mask) + mask


def _batch(
    rows: Sequence[Mapping[str, Any]], images: Sequence[bytes], masks: Sequence[bytes | None], schema: pa.Schema
) -> pa.RecordBatch:
    columns = [_images(images)]
    for column in COLUMNS:
        values = [row[column] for row in rows]
        if column in _LENGTHS:
            flat = pa.array(np.concatenate(values or [np.empty(0)]), pa.float32(), from_pandas=False)
            columns.append(pa.FixedSizeListArray.from_arrays(flat, _LENGTHS[column]))
        else:
            columns.append(pa.array(values, schema.field(column).type))
    if "mask" in schema.names:
        columns.append(_images(masks))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _images(encoded: Sequence[bytes | None]) -> pa.StructArray:
    """As `datasets` stores images; nothing where there is none."""
    missing = [image is None for image in encoded]
    return pa.StructArray.from_arrays(
        [pa.array(encoded, pa.binary()), pa.nulls(len(encoded), pa.string())],
        fields=list(_SCHEMA.field("image").type),
        mask=pa.array(missing) if any(missing) else None,
    )


def _bytes_of(images: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([chunk.field("bytes") for chunk in images.chunks], pa.binary())


def _shard(file: Path) -> pa.Table:
    return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()


def _with_quality(table: pa.Table) -> pa.Table:
    """A table that was written before quality was measured has it unknown, in its place."""
    for place, name in enumerate(_SCHEMA.names):
        if name in quality.COLUMNS and name not in table.column_names:
            table = table.add_column(place, name, pa.array(np.full(len(table), np.nan, np.float32)))
    return table


def _size_px(image: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(image), formats=["WEBP", "JPEG"]) as opened:  # reads the header alone
        return opened.size


def _write_json(path: Path, content: Any) -> None:
    replace_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def _metadata(schema: pa.Schema) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": _features(schema)}})}


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """The columns in the words of `datasets`."""
    return {field.name: _feature(field) for field in schema}


def _feature(field: pa.Field) -> dict[str, Any]:
    if field.name in _IMAGES:
        return {"_type": "Image"}
    if field.name in _LENGTHS:
        return {"_type": "List", "feature": {"_type": "Value", "dtype": "float32"}, "length": _LENGTHS[field.name]}
    return {"_type": "Value", "dtype": {"float": "float32"}.get(str(field.type), str(field.type))}
