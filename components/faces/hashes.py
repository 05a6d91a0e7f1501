"""Perceptual hashes of the faces and frames of a clip: 256 bits that stay nearly the same where a picture was only altered.

hashes.parquet, beside a face table: clip, frame, kind (face or frame), hash (32 bytes), of `HASHED` frames of each clip.

The hash is pHash of 16x16 cosines (ImageHash). Bits that differ, of 200 face crops and an altered copy each, and of pairs
among 11,412 faces (crops of four archives, LFW), 2026-11:

    copy                            median   19 of 20   most        pairs of                          at most 30   16
    JPEG of quality 50                   2          6     10        other sources: 65 million                 13    7
    JPEG of quality 20                   4         14     24        the same person, other photograph          1    1
    half the size, quality 50, 0.8       2          8     14
    a quarter of the size                0          4      6        of the 13, 4 are the same file twice and 3 its
    1.3 times as bright                  4         18     38        forgeries; the one of LFW is known to be
    gamma 1.5                           12         20     26        there twice under two numbers
    shifted by 2 of 256 px              22         32     34
    turned by 1 degree                  12         20     32
    scaled by 1.02                      18         28     32

With 64 bits (8x8) a copy differs in up to 8, and 632 pairs of other sources do: aligned faces are too much alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.faces.table import FaceTable, Images
from components.vocabulary import FACE

HASHES_FILE: Final = "hashes.parquet"
HASHED: Final = 4
"""Frames of a clip."""
SIDE: Final = 16
BITS: Final = SIDE * SIDE

_SCHEMA: Final = pa.schema(
    [("clip", pa.string()), ("frame", pa.int32()), ("kind", pa.string()), ("hash", pa.binary(BITS // 8))]
)
_WEIGHT: Final = 4  # pixels a cosine is measured on, along each side


def hash_of(image: Images) -> bytes:
    """Of an image (H,W,3) RGB; 32 bytes."""
    import imagehash  # it imports wavelets, which nobody needs who scores one file
    from PIL import Image

    side = (SIDE * _WEIGHT, SIDE * _WEIGHT)
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), side, interpolation=cv2.INTER_AREA)
    return np.packbits(imagehash.phash(Image.fromarray(grey), SIDE, _WEIGHT).hash.ravel()).tobytes()


def is_hashed(seen: int, frames: int) -> bool:
    """Whether the frame of a clip is hashed that is looked at as number `seen`, of about `frames`."""
    return seen % -(-frames // HASHED) == 0


def write(rows: list[tuple[str, int, str, bytes]], faces: Path) -> None:
    """(clip, frame, kind, hash) beside the face table in folder `faces`."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=_SCHEMA)
    pq.write_table(table, faces / HASHES_FILE, compression="zstd", version="2.6", store_schema=False)


def read(faces: Path) -> pd.DataFrame:
    """clip, frame, kind, hash, and split, source of the hashed faces and frames; of a table that was cut before there were
    hashes, its faces alone are hashed now."""
    table = FaceTable.load(faces)
    about = table.rows.drop_duplicates("clip").set_index("clip")[["split", "source"]]
    file = faces / HASHES_FILE
    found = pq.read_table(file).to_pandas() if file.is_file() else _of_faces(table)
    return found[found["clip"].isin(about.index)].join(about, on="clip").reset_index(drop=True)


def packed(hashes: pd.Series[bytes]) -> npt.NDArray[np.uint8]:
    """(N, 32) bytes."""
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, BITS // 8)


def _of_faces(table: FaceTable) -> pd.DataFrame:
    rows = table.rows[["clip", "frame"]]
    by_clip = rows.groupby("clip")
    step = -(-by_clip["frame"].transform("size") // HASHED)
    chosen = rows[by_clip.cumcount() % step == 0]
    return chosen.assign(kind=FACE, hash=[hash_of(table.image(index)) for index in chosen.index])
