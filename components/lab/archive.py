"""Archives in the `lab` layout: rendered clips or forged photographs, with everything known about them.

    lab.json            {"format": 1, what made it}
    clips.csv           file, label, method, identity, source, split, frames, mask ("" where nothing was forged)
    clips/*.mp4|*.png   H.264 clips, or stills
    masks/*.mkv|*.png   of each forged clip, frame by frame: white where the forgery blended a pixel, black elsewhere
    landmarks.parquet   file, frame, landmarks (x0, y0, ... x4, y4 in pixels), one row per frame

People come in pairs who lend each other their faces; a pair is a *source* and never crosses a split. Every genuine
clip has one forged counterpart. The same arguments give the same bytes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import BadParams
from components.lab.camera import finish
from components.lab.film import write_clip, write_masks
from components.lab.forgeries import family
from components.lab.people import life, person
from components.lab.photographs import Finder, photographs
from components.lab.picture import Mask, Picture, Portrait
from components.lab.portraits import render
from components.vocabulary import FORGED, GENUINE, REAL, SPLITS, TEST, TRAIN, VAL

FORMAT = 1
_SHARES = {TRAIN: 0.60, VAL: 0.15}  # the rest is test
_MIN_PEOPLE = 6
_MASK_SUFFIX = {".mp4": ".mkv", ".png": ".png"}  # of the masks of clips, and of stills


@dataclass(frozen=True)
class Sitter:
    """One identity of an archive: its footage, its place in a split, and the pair it belongs to."""

    identity: str
    source: str
    split: str
    takes: list[list[Portrait]]
    """Clips of frames; a still is a clip of one."""


@dataclass(frozen=True)
class Clip:
    """One file to be: the frames and the row that describes it."""

    name: str
    label: int
    method: str
    sitter: Sitter
    frames: list[Portrait]
    seed: tuple[int, ...]


def render_archive(
    root: Path,
    *,
    families: Sequence[str],
    people: int,
    clips_per_person: int,
    frames: int,
    size_px: int,
    seed: int,
    first_person: int = 0,
) -> None:
    """Render inhabitants `first_person` to `first_person + people` of the lab's world into an archive at `root`.

    Two archives share no person when their ranges do not overlap, and no clip when their seeds or families differ.
    Raises BadParams, UnknownName.
    """
    stamp = _stamp(families, seed)
    _check(families, people, at_least_one=clips_per_person * frames)
    numbers = range(first_person, first_person + people)
    sitters = []
    for number, (source, split) in zip(numbers, _places([f"{n:04d}" for n in numbers], stamp), strict=True):
        takes = [_take(number, (*stamp, number, take), frames, size_px) for take in range(clips_per_person)]
        sitters.append(Sitter(f"person-{number:04d}", source, split, takes))
    _write(root, sitters, families, stamp, ".mp4", {"kind": "rendered", "size_px": size_px})


def forge_portraits(
    root: Path,
    portraits: Path,
    *,
    families: Sequence[str],
    people: int,
    per_person: int,
    seed: int,
    yunet: Path,
    first_person: int = 0,
    up_to: int | None = None,
) -> None:
    """Forge given photographs (`portraits`/IDENTITY/IDENTITY_NNNN.jpg) into an archive of stills at `root`.

    Identities are taken in an order of their own, `first_person` onwards, so that archives can be disjoint; each gives
    `per_person` photographs, or as many as it has up to `up_to`. The same people and seed give the same pairs and splits
    whatever is forged, so that archives may also share all their people, as those of FaceForensics++ do.
    Raises BadParams, UnknownName, BadArchive, NoFaceFound, MissingWeights.
    """
    stamp = _stamp(families, seed)
    _check(families, people, at_least_one=per_person)
    found = photographs(
        portraits, Finder(yunet), people=people, per_person=per_person, first_person=first_person, up_to=up_to
    )
    places = _places([name for name, _ in found], (seed,))
    sitters = [
        Sitter(name, source, split, [[still] for still in stills])
        for (name, stills), (source, split) in zip(found, places, strict=True)
    ]
    _write(root, sitters, families, stamp, ".png", {"kind": "photographs"})


def _stamp(families: Sequence[str], seed: int) -> tuple[int, ...]:
    """Entropy that differs between archives, whoever is in them."""
    return seed, zlib.crc32(",".join(families).encode())


def _check(families: Sequence[str], people: int, *, at_least_one: int) -> None:
    for name in families:
        family(name)
    if not families:
        raise BadParams("expected at least one forgery family, found none. Name some of components.lab.forgeries.")
    if people < _MIN_PEOPLE:
        raise BadParams(f"expected at least {_MIN_PEOPLE} people, a pair for each split, found {people}. Ask for more.")
    if at_least_one < 1:
        raise BadParams("expected at least one clip of one frame per person, found none. Ask for more.")


def _take(number: int, entropy: tuple[int, ...], frames: int, size_px: int) -> list[Portrait]:
    rng = np.random.default_rng(entropy)
    return [render(person(number), moment, size_px) for moment in life(rng, frames)]


def _places(names: Sequence[str], entropy: tuple[int, ...]) -> list[tuple[str, str]]:
    """(source, split) of each name: neighbours pair up (an odd one joins the last pair), pairs fill the splits."""
    pairs = max(1, len(names) // 2)
    members: list[list[str]] = [[] for _ in range(pairs)]
    for position, name in enumerate(names):
        members[min(position // 2, pairs - 1)].append(name)
    train = min(max(1, round(_SHARES[TRAIN] * pairs)), pairs - 2)
    val = min(max(1, round(_SHARES[VAL] * pairs)), pairs - train - 1)
    splits = [TRAIN] * train + [VAL] * val + [TEST] * (pairs - train - val)
    order = np.random.default_rng([*entropy, 1]).permutation(pairs)
    split_of = {int(pair): split for pair, split in zip(order, splits, strict=True)}
    return [("+".join(members[pair]), split_of[pair]) for pair in (min(i // 2, pairs - 1) for i in range(len(names)))]


def _write(
    root: Path,
    sitters: list[Sitter],
    families: Sequence[str],
    stamp: tuple[int, ...],
    suffix: str,
    about: dict[str, object],
) -> None:
    for folder in ("clips", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows, marks = [], []
    for clip in _clips(sitters, families, stamp):
        file = f"clips/{clip.name}{suffix}"
        _save(root / file, _finished(clip))
        mask = _save_masks(root, clip, suffix)
        sitter = clip.sitter
        who = (sitter.identity, sitter.source, sitter.split)
        rows.append((file, clip.label, clip.method, *who, len(clip.frames), mask))
        marks += [(file, i, frame.landmarks.ravel().tolist()) for i, frame in enumerate(clip.frames)]
    columns = ["file", "label", "method", "identity", "source", "split", "frames", "mask"]
    table = pd.DataFrame(sorted(rows), columns=columns)
    (root / "clips.csv").write_text(table.to_csv(index=False, lineterminator="\n"))
    _write_landmarks(root / "landmarks.parquet", sorted(marks))
    card = {"format": FORMAT, "families": list(families), "seed": stamp[0], "people": len(sitters), **about}
    (root / "lab.json").write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")


def _clips(sitters: list[Sitter], families: Sequence[str], stamp: tuple[int, ...]) -> Iterator[Clip]:
    """Every genuine clip, each followed by its forged counterpart; families take turns within a split."""
    turns = {split: cycle(families) for split in SPLITS}
    partners = _partners(sitters)
    for number, sitter in enumerate(sitters):
        donor = sitters[partners[number]]
        for take, frames in enumerate(sitter.takes):
            seed = (*stamp, number, take)
            name = f"{sitter.identity}_{take:02d}"
            yield Clip(name, REAL, GENUINE, sitter, frames, (*seed, 0))
            method = next(turns[sitter.split])
            forged = _forged(frames, donor.takes[take % len(donor.takes)], method, (*seed, 2))
            yield Clip(f"{name}_{method}", FORGED, method, sitter, forged, (*seed, 1))


def _partners(sitters: list[Sitter]) -> list[int]:
    """Who lends each sitter a face: the next of the same source, in a ring."""
    rings: dict[str, list[int]] = {}
    for number, sitter in enumerate(sitters):
        rings.setdefault(sitter.source, []).append(number)
    return [ring[(ring.index(n) + 1) % len(ring)] for n, ring in ((n, rings[s.source]) for n, s in enumerate(sitters))]


def _forged(target: list[Portrait], donor: list[Portrait], method: str, seed: tuple[int, ...]) -> list[Portrait]:
    """All frames are forged from one generator state: a clip keeps its accidents."""
    forge = family(method)
    return [forge(frame, donor[i % len(donor)], np.random.default_rng(seed)) for i, frame in enumerate(target)]


def _finished(clip: Clip) -> list[Picture]:
    """The frames after the last camera, which is drawn from the same distribution for genuine and forged."""
    rng = np.random.default_rng(clip.seed)
    noise, quality = rng.uniform(0.8, 2.0), int(rng.integers(86, 96))
    seeds = rng.integers(2**31, size=len(clip.frames)).tolist()
    return [
        finish(frame.image, noise=noise, quality=quality, seed=s) for frame, s in zip(clip.frames, seeds, strict=True)
    ]


def _save(path: Path, frames: list[Picture]) -> None:
    if path.suffix == ".mp4":
        write_clip(path, frames)
    else:
        path.write_bytes(cv2.imencode(".png", frames[0][..., ::-1])[1].tobytes())


def _save_masks(root: Path, clip: Clip, suffix: str) -> str:
    """Write what was forged of a clip and return where; "" for a genuine one."""
    masks: list[Mask] = [frame.mask for frame in clip.frames if frame.mask is not None]
    if not masks:
        return ""
    file = f"masks/{clip.name}{_MASK_SUFFIX[suffix]}"
    if suffix == ".mp4":
        write_masks(root / file, masks)
    else:
        bilevel = [cv2.IMWRITE_PNG_BILEVEL, 1]
        (root / file).write_bytes(cv2.imencode(".png", masks[0] * np.uint8(255), bilevel)[1].tobytes())
    return file


def _write_landmarks(path: Path, marks: list[tuple[str, int, list[float]]]) -> None:
    files, frames, landmarks = zip(*marks, strict=True)
    table = pa.table(
        {
            "file": pa.array(files, pa.string()),
            "frame": pa.array(frames, pa.int32()),
            "landmarks": pa.array(landmarks, pa.list_(pa.float64())),
        }
    )
    pq.write_table(table, path, compression="zstd")
