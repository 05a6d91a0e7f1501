"""From clips to aligned faces: read, detect, choose a face, align; and say what became of every frame.

The face is the largest; of a clip that is one face of a picture the one in its box, of a forged clip with a mask the one
that was manipulated most.

Differs   a frame without a face is replaced by the nearest unused ones, at most `SPARE` of them, in one more pass over
          the clip; the canonical pipeline takes the nearest alone, which mostly fails for the same reason
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.archives.fragments import part_of
from components.errors import NoFaceFound
from components.faces import alignment, detection, frames
from components.faces.detection import Face, FaceDetector, Frame
from components.faces.hashes import hash_of, is_hashed
from components.faces.table import Images
from components.params import CropOptions

OK = "ok"
NO_FACE = "no_face"  # the detector saw none it was sure enough of
NO_ALIGNMENT = "no_alignment"  # its landmarks lie on one point
OUTCOMES = (OK, NO_FACE, NO_ALIGNMENT)

BATCH = 16  # frames held and detected together
SPARE = 4  # frames tried around one that failed
# A pixel as bright in any channel is manipulated. Published masks are grey or coloured, and H.264 rings around them: of a
# coloured oval at quality 23 this level errs on 0.8 % of its area, within 4 px; DeepfakeBench's, 2, on 8.8 %, 80 px away.
MASK_FLOOR = 16


@dataclass(frozen=True)
class Crop:
    """An aligned face: `image` (S,S,3) RGB, `landmarks` (5,2) in it, the `box` (4,) in the frame.

    `in_frame` are its landmarks in the frame (5,2), NaN where that was a crop already; `mask` (S/4,S/4) tells which share
    of each cell was manipulated, 255 for all of it, None where nobody knows.
    """

    image: Images
    landmarks: npt.NDArray[np.float64]
    box: npt.NDArray[np.float64]
    score: float
    in_frame: npt.NDArray[np.float64]
    mask: Images | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one frame; there is a crop exactly where it is `ok`."""

    clip: str
    frame: int
    outcome: str
    crop: Crop | None = None
    others: tuple[Crop, ...] = ()
    """Further faces of the frame, of a clip whose mask is still to choose among them."""
    frame_hash: bytes = b""
    """Of one of the few frames of a clip that are hashed (`components.faces.hashes`), where it gave a face."""


def extract(
    clips: Sequence[tuple[str, Path]],
    detector: FaceDetector,
    params: CropOptions,
    masks: Mapping[str, Path] | None = None,
    lengths: Mapping[str, int] | None = None,
) -> list[Outcome]:
    """The faces of `clips` (name and file), ordered as given and then by frame; raises BadArchive.

    Several stills in one call share the detector's batches. `masks` are the files that show what was manipulated of some
    of the clips, frame n for frame n; of a frame after their last it is unknown. `lengths` are the clips' frames where
    they were counted before; others are counted here.
    """
    spans = {clip: _span(clip, path, lengths or {}) for clip, path in clips}
    seen = chain.from_iterable(_evenly(clip, path, spans[clip], params) for clip, path in clips)
    found = list(_outcomes(seen, detector, params, masks or {}))
    for clip, path in clips:
        failed = [o.frame for o in found if o.clip == clip and o.outcome != OK]
        if failed:
            found += _replacements(clip, path, spans[clip], failed, detector, params, masks or {})
    for clip, path in (masks or {}).items():
        found = [o for o in found if o.clip != clip] + _masked([o for o in found if o.clip == clip], path, params)
    place = {clip: number for number, (clip, _) in enumerate(clips)}
    return sorted(found, key=lambda outcome: (place[outcome.clip], outcome.frame))


def faces_of(
    path: Path, detector: FaceDetector, params: CropOptions
) -> tuple[Images, npt.NDArray[np.int64], list[tuple[int, str]]]:
    """The faces of one file: (N,S,S,3) uint8 RGB, their frame indices (N,), and (frame, outcome) of every frame seen.

    Raises BadArchive where the file cannot be read, NoFaceFound where it shows no face.
    """
    found = extract([(path.name, path)], detector, params)
    crops = [(o.frame, o.crop.image) for o in found if o.crop is not None]
    if not crops:
        raise NoFaceFound(
            f"expected a face in '{path}', found none in the {len(found)} frames looked at by '{detector.name}'. "
            "Is the face visible and upright? faces.min_score in params.yaml says how sure the detector must be."
        )
    return (
        np.stack([image for _, image in crops]),
        np.array([frame for frame, _ in crops], np.int64),
        [(o.frame, o.outcome) for o in found],
    )


def profile_of(detector: FaceDetector, params: CropOptions) -> dict[str, object]:
    """All that decides how a face looks in the table; faces of other profiles do not compare."""
    return {"detector": detector.name, "weights": detector.weights_digest, **params.model_dump()}


def _evenly(clip: str, path: Path, span: tuple[int, int], params: CropOptions) -> Iterator[Frame]:
    first, last = span
    wanted = [first + index for index in frames.evenly_spaced(last - first + 1, params.frames)]
    return (Frame(clip, index, pixels) for index, pixels in frames.read_at(path, wanted))


def _span(clip: str, path: Path, lengths: Mapping[str, int]) -> tuple[int, int]:
    """First and last frame of a clip, which may be some of its file."""
    if part := part_of(clip).frames:
        return part
    return 0, (lengths[clip] if clip in lengths else frames.length(path)) - 1


def _outcomes(
    seen: Iterable[Frame], detector: FaceDetector, params: CropOptions, masked: Container[str]
) -> Iterator[Outcome]:
    remaining, looked = iter(seen), Counter[str]()
    while batch := list(islice(remaining, BATCH)):
        for frame, faces in zip(batch, detector.detect(batch), strict=True):
            box = part_of(frame.clip).box
            chosen = detection.largest(faces) if box is None else detection.at(faces, box)
            outcome = _outcome(frame, chosen, params)
            if frame.clip in masked and len(faces) > 1:
                every = (_outcome(frame, face, params).crop for face in faces if face is not chosen)
                outcome = replace(outcome, others=tuple(crop for crop in every if crop))
            if outcome.crop is not None and is_hashed(looked[frame.clip], params.frames):
                outcome = replace(outcome, frame_hash=hash_of(frame.pixels))
            looked[frame.clip] += 1
            yield outcome


def _outcome(frame: Frame, face: Face | None, params: CropOptions) -> Outcome:
    if face is None:
        return Outcome(frame.clip, frame.index, NO_FACE)
    if np.isnan(face.landmarks).all():  # a crop already: where its landmarks lie is not known, and not invented
        image, landmarks = alignment.resize(frame.pixels, params.size_px), face.landmarks
    else:
        try:
            image, landmarks = alignment.align(frame.pixels, face.landmarks, params.size_px, params.margin)
        except ValueError:
            return Outcome(frame.clip, frame.index, NO_ALIGNMENT)
    return Outcome(frame.clip, frame.index, OK, Crop(image, landmarks, face.box, face.score, face.landmarks))


def _masked(outcomes: Sequence[Outcome], path: Path, params: CropOptions) -> list[Outcome]:
    """The outcomes of a clip with what its mask in `path` shows of their frames, each of the face it shows most of."""
    last = frames.length(path) - 1
    shown = {o.frame: o for o in outcomes if o.crop is not None and o.frame <= last}
    seen = frames.read_at(path, sorted(shown)) if shown else ()
    crops = {index: _most_manipulated(shown[index], pixels, params) for index, pixels in seen if index in shown}
    return [replace(o, crop=crops.get(o.frame, o.crop), others=()) for o in outcomes]


def _most_manipulated(outcome: Outcome, pixels: Images, params: CropOptions) -> Crop:
    faces = [crop for crop in (outcome.crop, *outcome.others) if crop is not None]
    masked = [replace(crop, mask=_mask(pixels, crop.in_frame, params)) for crop in faces]
    return max(masked, key=lambda crop: int(crop.mask.sum(dtype=np.int64)) if crop.mask is not None else 0)


def _mask(pixels: Images, in_frame: npt.NDArray[np.float64], params: CropOptions) -> Images:
    manipulated = np.where(pixels.max(axis=2) >= MASK_FLOOR, 255, 0).astype(np.uint8)
    return alignment.align_mask(manipulated, in_frame, params.size_px, params.margin)


def _replacements(
    clip: str,
    path: Path,
    span: tuple[int, int],
    failed: Sequence[int],
    detector: FaceDetector,
    params: CropOptions,
    masked: Container[str],
) -> list[Outcome]:
    """For each failed frame the nearest frame with a face, preceded by those that were tried in vain."""
    first, last = span
    used = {index - first for index in failed} | set(frames.evenly_spaced(last - first + 1, params.frames))
    around = _spares([index - first for index in failed], used, last - first + 1)
    spares = {index: [first + spare for spare in near] for index, near in around.items()}
    wanted = sorted(chain.from_iterable(spares.values()))
    seen = (Frame(clip, index, pixels) for index, pixels in frames.read_at(path, wanted)) if wanted else ()
    tried = {outcome.frame: outcome for outcome in _outcomes(seen, detector, params, masked)}
    kept = []
    for candidates in spares.values():
        for outcome in (tried[index] for index in candidates if index in tried):
            kept.append(outcome)
            if outcome.outcome == OK:
                break
    return kept


def _spares(failed: Sequence[int], used: set[int], n_frames: int) -> dict[int, list[int]]:
    """Up to `SPARE` unused frames around each failed one, nearest first; no frame serves twice."""
    taken = set(used)
    spares: dict[int, list[int]] = {}
    for index in failed:
        around = (index + side * step for step in range(1, SPARE + 1) for side in (1, -1))
        free = [i for i in around if 0 <= i < n_frames and i not in taken][:SPARE]
        taken |= set(free)
        spares[index] = free
    return spares
