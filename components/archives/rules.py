"""What must hold before anything is learned: rules over the manifest and over the face table, as plain data.

A rule looks at one column. Where it compares rows with one another (a source in two splits, bytes under two labels),
the comparison is worked out here as a column of its own, so that every broken rule can name its rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.archives.listing import MASK
from components.archives.manifest import BENCHMARK, among
from components.params import ValidationOptions
from components.vocabulary import FORGED, LABELS, REAL, SPLITS, TEST, TRAIN


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """One expectation on one column; an empty (NaN, None) value is not looked at, except by `empty` and `holds`."""

    name: str
    words: str
    """What is expected, for people."""
    column: str
    least: float | None = None
    most: float | None = None
    among: tuple[int | str, ...] = ()
    """The values there may be."""
    holds: tuple[str, ...] = ()
    """Values of which each must occur."""
    empty: bool = False
    unique: bool = False
    share: float = 1.0
    """Of the rows, that must pass."""
    shows: tuple[str, ...] = ()
    """Columns quoted beside a row that broke it."""
    warns: bool = False
    """Reported, but no reason to stop."""
    advice: str = ""
    """What to do where it is broken, if that is not what is always said."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, the column that names them, and what must hold for them."""

    name: str
    rows: pd.DataFrame
    key: str
    rules: tuple[ColumnRule, ...]


_AT_ONCE: Final = 4096  # rows whose landmarks are numbers of Python at a time
YIELD_RULES: Final = ("yield", "yield_of_real", "yield_of_forged")
LEAST_NEW: Final = 0.5
"""Share of forged files that no earlier archive brought. Genuine ones are shared: DeeperForensics, DF40 and Celeb-DF++ have
those of FaceForensics++ and Celeb-DF v2, and Celeb-DF++ a tenth of its forgeries too."""


def manifest_table(manifest: pd.DataFrame, earlier: pd.DataFrame, role: str, params: ValidationOptions) -> Table:
    """The manifest with what must hold for it; `earlier` is what landed before it (`archives.leaks`)."""
    splits = (TEST,) if role == BENCHMARK else SPLITS
    used = (TEST,) if role == BENCHMARK else (TRAIN, TEST)
    few = params.min_per_class
    rules = (
        ColumnRule("labels", "every label is 0 (real) or 1 (forged)", "label", among=LABELS),
        ColumnRule("splits", f"every split is one of {', '.join(splits)}", "split", among=splits),
        ColumnRule("splits_in_use", f"there are clips in {' and '.join(used)}", "split", holds=used),
        *_both_classes(few),
        ColumnRule("paths", "every clip is there once", "path", unique=True),
        ColumnRule("sources", "no source is in two splits", "splits_of_source", most=1, shows=("source", "split")),
        ColumnRule(
            "identities", "no identity is in two splits", "splits_of_identity", most=1, shows=("identity", "split")
        ),
        ColumnRule("bytes_labels", "no file has both labels", "labels_of_bytes", most=1, shows=("label", "bytes")),
        ColumnRule("bytes_splits", "no file is in two splits", "splits_of_bytes", most=1, shows=("split", "bytes")),
        ColumnRule(
            "bytes_archives",
            f"{LEAST_NEW:.0%} or more of the forged files have not landed before",
            "is_new_forgery",
            least=1,
            share=LEAST_NEW,
            shows=("landed_in",),
        ),
        ColumnRule(
            "bytes_shared", "no file has landed before", "landed_in", empty=True, shows=("landed_in",), warns=True
        ),
        ColumnRule(
            "bytes_labels_archives",
            "no file landed before under the other label",
            "other_label_in",
            empty=True,
            shows=("label", "other_label_in"),
        ),
        ColumnRule("bytes_once", "no file is there twice", "copies", most=1, shows=("bytes",), warns=True),
        ColumnRule(
            "sides",
            f"every side measures {params.min_side_px} px or more",
            "shorter_side_px",
            least=params.min_side_px,
            shows=("width", "height"),
        ),
        ColumnRule("frames", "every clip has a frame", "frames", least=1, shows=("frames",)),
        *_mask_rules(manifest),
    )
    return Table("manifest", _compared(manifest, earlier), "path", rules)


def leak_table(manifest: pd.DataFrame, set_aside: pd.DataFrame, params: ValidationOptions) -> Table:
    """All clips of an archive, those that were set aside as leaks among them."""
    leaks = set_aside[set_aside["shared"] != ""]
    aside = leaks[["path", "why"]].rename(columns={"why": "because"}).assign(leaks=1)
    rows = pd.concat([manifest[["path"]].assign(leaks=0, because=""), aside])
    rule = ColumnRule(
        "leaks",
        f"{1 - params.max_leaking:.0%} or more of the clips share nothing with another split of an earlier archive",
        "leaks",
        most=0,
        share=1 - params.max_leaking,
        shows=("because",),
        advice="Withdraw it (perennial withdraw --archive NAME) and land it with --role benchmark, where all its clips are "
        "test clips, or before the archives it shares people with, or raise validation.max_leaking.",
    )
    return Table("set_aside", rows.sort_values("path", ignore_index=True), "path", (rule,))


def face_tables(
    rows: pd.DataFrame, manifest: pd.DataFrame, params: ValidationOptions, size_px: int | None
) -> tuple[Table, Table]:
    """The faces, and the clips with the number of faces each gave; `size_px` is the side of a crop, if it is fixed."""
    faces = _faces_compared(rows, manifest, size_px)
    face_rules = [
        ColumnRule("clips", "every face is of a clip of the manifest", "is_of_a_clip", least=1, shows=("frame",)),
        ColumnRule(
            "agreement", "no face contradicts the manifest", "disagreements", most=0, shows=("label", "source", "split")
        ),
        ColumnRule("scores", "every score lies between 0 and 1", "score", least=0, most=1, shows=("frame", "score")),
        ColumnRule("landmarks", "every landmark lies inside its crop", "landmark_outside_px", most=0, shows=("frame",)),
        *_both_classes(params.min_per_class),
    ]
    if len(rows) and {"width", "height"} <= set(rows.columns):
        side = size_px or int(rows["width"].to_numpy()[0])
        face_rules += [
            ColumnRule(name, f"every crop is {side} px {word}", name, least=side, most=side, shows=("frame",))
            for name, word in (("width", "wide"), ("height", "high"))
        ]
    share = params.min_yield
    clip_rules = tuple(
        ColumnRule(name, f"{share:.0%} or more of the {word} give a face", column, least=1, share=share)
        for name, word, column in (
            ("yield", "clips", "faces"),
            ("yield_of_real", "real clips", "faces_of_real"),
            ("yield_of_forged", "forged clips", "faces_of_forged"),
        )
    )
    return Table("faces", faces, "clip", tuple(face_rules)), Table("clips", _yield(rows, manifest), "path", clip_rules)


def _mask_rules(manifest: pd.DataFrame) -> Iterable[ColumnRule]:
    if MASK in manifest:
        yield ColumnRule("masks", "no genuine clip has a mask", "mask_of_genuine", empty=True, shows=(MASK,))


def _both_classes(few: int) -> Iterable[ColumnRule]:
    for name, word in (("real_clips_of_split", "real"), ("forged_clips_of_split", "forged")):
        words = f"{few} or more {word} clips in every split"
        yield ColumnRule(name.removesuffix("_of_split"), words, name, least=few, shows=("split", name))


def _compared(manifest: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    named = manifest["identity"].where(manifest["identity"] != "")
    splits_of_identity = manifest.groupby("identity")["split"].transform("nunique").where(named.notna())
    by_bytes = manifest.groupby("sha256")
    landed = earlier[among(earlier["name"], manifest["sha256"])].drop_duplicates(["name", "label"])
    landed_in = manifest["sha256"].map(landed.drop_duplicates("name").set_index("name")["archive"])
    return manifest.assign(
        splits_of_source=manifest.groupby("source")["split"].transform("nunique"),
        splits_of_identity=splits_of_identity,
        labels_of_bytes=by_bytes["label"].transform("nunique"),
        splits_of_bytes=by_bytes["split"].transform("nunique"),
        bytes=manifest["sha256"].str.slice(0, 12),
        copies=by_bytes["path"].transform("size"),
        landed_in=landed_in,
        is_new_forgery=landed_in.isna().astype(float).where(manifest["label"] == FORGED),
        other_label_in=_other_label_in(manifest, landed),
        shorter_side_px=manifest[["width", "height"]].min(axis=1),
        **_masks_of_genuine(manifest),
        **_clips_of_split(manifest, "path"),
    )


def _other_label_in(manifest: pd.DataFrame, landed: pd.DataFrame) -> pd.Series[str]:
    """The archive that brought the same file under the other label."""
    by_label = {label: landed[landed["label"] == label].set_index("name")["archive"] for label in LABELS}
    others = {label: manifest["sha256"].map(by_label[1 - label]) for label in LABELS}
    return others[REAL].where(manifest["label"] == REAL, others[FORGED])


def _masks_of_genuine(manifest: pd.DataFrame) -> dict[str, pd.Series[str]]:
    if MASK not in manifest:
        return {}
    return {"mask_of_genuine": manifest[MASK].where((manifest["label"] == REAL) & (manifest[MASK] != ""))}


def _clips_of_split(rows: pd.DataFrame, clip: str) -> dict[str, pd.Series[int]]:
    def count(label: int) -> pd.Series[int]:
        clips = rows[rows["label"] == label].groupby("split")[clip].nunique()
        return rows["split"].map(clips).fillna(0).astype(int)

    return {"real_clips_of_split": count(REAL), "forged_clips_of_split": count(FORGED)}


def _faces_compared(rows: pd.DataFrame, manifest: pd.DataFrame, size_px: int | None) -> pd.DataFrame:
    about = manifest.set_index("path")
    known = rows["clip"].isin(about.index)
    claims = about.reindex(rows["clip"]).reset_index(drop=True)
    faces = rows.drop(columns=["landmarks", "box"], errors="ignore").reset_index(drop=True)
    differs = sum((faces[column] != claims[column]).astype(int) for column in ("label", "source", "split"))
    return faces.assign(
        is_of_a_clip=known.astype(int).to_numpy(),
        disagreements=np.where(known, differs, 0),
        landmark_outside_px=_outside_px(rows["landmarks"], size_px),
        **_clips_of_split(faces, "clip"),
    )


def _outside_px(landmarks: pd.Series[Any], size_px: int | None) -> NDArray[np.float64]:
    """How far each row's outermost landmark lies outside the crop; NaN where there are no landmarks."""
    found = np.empty(len(landmarks))
    for start in range(0, len(landmarks), _AT_ONCE):
        points = np.array(landmarks.iloc[start : start + _AT_ONCE].tolist(), dtype=np.float64)
        low, high = -points.min(axis=1), points.max(axis=1) - (size_px or np.inf)
        outside = np.nan_to_num(np.maximum(np.maximum(low, high), 0.0), nan=np.inf)
        found[start : start + _AT_ONCE] = np.where(np.isnan(points).all(axis=1), np.nan, outside)
    return found


def _yield(rows: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    faces = manifest["path"].map(rows.groupby("clip").size()).fillna(0).astype(int)
    return manifest.assign(
        faces=faces,
        faces_of_real=faces.where(manifest["label"] == REAL),
        faces_of_forged=faces.where(manifest["label"] == FORGED),
    )
