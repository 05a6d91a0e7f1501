"""From clips to aligned faces: read, detect, follow one person, align; and say what became of every frame.

Of a picture it is the largest face, or that in the clip's box; of a clip that shows several people the one whose faces take
most of its frames together, or, where there is a mask, the one who was manipulated most (`components.faces.tracks`).
Reading goes on while faces are looked for.

Differs   a frame without that person is replaced by the nearest unused ones, at most `SPARE` of them, in one more pass over
          the clip; the canonical pipeline takes the nearest alone, which mostly fails for the same reason, and of each frame
          the largest face, whoever that is
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.archives.fragments import part_of
from components.errors import NoFaceFound, Unreadable
from components.faces import alignment, detection, frames, tracks
from components.faces.ahead import ahead
from components.faces.detection import Face, FaceDetector, Frame
from components.faces.hashes import hash_of, is_hashed
from components.faces.table import Images
from components.faces.tracks import Sighting, Track
from components.params import CropOptions

OK = "ok"
NO_FACE = "no_face"  # the detector saw none it was sure enough of
NO_ALIGNMENT = "no_alignment"  # its landmarks lie on one point
ANOTHER_FACE = "another_face"  # somebody is seen, but not who is followed
UNREADABLE = "unreadable"  # the clip is no whole video or still; told once, of frame -1
OUTCOMES = (OK, NO_FACE, NO_ALIGNMENT, ANOTHER_FACE, UNREADABLE)

SPARE = 4  # frames tried around one that failed
PEOPLE = 8  # the largest faces of a frame, among whom somebody is followed
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
    reason: str = ""
    """Why a clip is unreadable."""
    frame_hash: bytes = b""
    """Of one of the few frames of a clip that are hashed (`components.faces.hashes`), where it gave a face."""


@dataclass(frozen=True)
class Person:
    """One face followed through a file: N faces (N,S,S,3) with their frames (N,), and where in those they were seen.

    `boxes` (N,4) and `landmarks` (N,5,2) are in pixels of the frames; landmarks are NaN where those were crops already.
    """

    frames: npt.NDArray[np.int64]
    faces: Images
    boxes: npt.NDArray[np.float64]
    landmarks: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    """(N,): how sure the face detector was."""


@dataclass(frozen=True)
class _Look:
    """One frame as it was looked at: the faces that could be aligned, and what to say if there is none."""

    clip: str
    frame: int
    crops: tuple[Crop, ...]
    without: str = NO_FACE
    hash: bytes = b""
    """Of the frame, where it is one of those that are hashed and shows a face."""


def extract(
    clips: Sequence[tuple[str, Path]],
    detector: FaceDetector,
    params: CropOptions,
    masks: Mapping[str, Path] | None = None,
    lengths: Mapping[str, int] | None = None,
) -> list[Outcome]:
    """The faces of `clips` (name and file), ordered as given and then by frame; a clip that cannot be read is an outcome.

    Several stills in one call share the detector's batches. `masks` are the files that show what was manipulated of some
    of the clips, frame n for frame n; of a frame after their last it is unknown. `lengths` are the clips' frames where
    they were counted before; others are counted here. Raises BadArchive where the system refuses to read a file.
    """
    known = masks or {}
    reading = _Reading(params, lengths or {}, known)
    looks: dict[str, list[_Look]] = defaultdict(list)
    for look in _looks(reading.evenly(clips), detector, reading):
        looks[look.clip].append(look)
    found: list[Outcome] = []
    for clip, path in clips:
        try:
            if clip in reading.unreadable:
                raise reading.unreadable[clip]
            found += _outcomes(clip, path, looks.pop(clip), known.get(clip), reading, detector)
        except Unreadable as fault:
            found.append(Outcome(clip, -1, UNREADABLE, reason=str(fault)))
    return found


def faces_of(
    path: Path, detector: FaceDetector, params: CropOptions
) -> tuple[Images, npt.NDArray[np.int64], list[tuple[int, str]]]:
    """The faces of one file: (N,S,S,3) uint8 RGB, their frame indices (N,), and (frame, outcome) of every frame seen.

    Raises BadArchive where the file cannot be read, NoFaceFound where it shows no face.
    """
    found = extract([(path.name, path)], detector, params)
    if found[0].outcome == UNREADABLE:
        raise Unreadable(found[0].reason)
    crops = [(o.frame, o.crop.image) for o in found if o.crop is not None]
    if not crops:
        raise _faceless(path, len(found), detector)
    return (
        np.stack([image for _, image in crops]),
        np.array([frame for frame, _ in crops], np.int64),
        [(o.frame, o.outcome) for o in found],
    )


def people_of(path: Path, detector: FaceDetector, params: CropOptions, length: int | None = None) -> list[Person]:
    """Everybody who is seen in one file, the most prominent first; each is followed as `faces_of` follows that one.

    length   the frames it shows, where they were counted before

    Raises BadArchive where the file cannot be read, NoFaceFound where it shows no face.
    """
    reading = _Reading(params, {} if length is None else {path.name: length}, (), all_of=True)
    looks = list(_looks(reading.evenly([(path.name, path)]), detector, reading))
    if fault := reading.unreadable.get(path.name):
        raise fault
    if not any(look.crops for look in looks):
        raise _faceless(path, len(looks), detector)
    return [_person(looks, track) for track in _followed(looks)]


def profile_of(detector: FaceDetector, params: CropOptions) -> dict[str, object]:
    """All that decides how a face looks in the table; faces of other profiles do not compare."""
    of_all = params.model_dump(exclude={"detect_px"})  # which is the affair of one detector
    return {"detector": detector.name, "weights": detector.weights_digest, **of_all, **detector.looks}


# -- reading -------------------------------------------------------------------------------------------------------------


@dataclass
class _Reading:
    """Reads frames, in the thread that reads ahead, and remembers what it learned of each clip."""

    params: CropOptions
    lengths: Mapping[str, int]
    masked: Container[str]
    all_of: bool = False
    """Whether everybody in a still is asked for, and not the largest alone."""
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    unreadable: dict[str, Unreadable] = field(default_factory=dict)

    def evenly(self, clips: Iterable[tuple[str, Path]]) -> Generator[Frame]:
        """The frames of each clip that are looked at; a clip that ends in a fault is remembered as unreadable."""
        for clip, path in clips:
            try:
                self.spans[clip] = self._span(clip, path)
                first = self.spans[clip][0]
                yield from self.read(clip, path, [first + index for index in self.chosen(clip)])
            except Unreadable as fault:
                self.unreadable[clip] = fault

    def read(self, clip: str, path: Path, indices: Sequence[int]) -> Generator[Frame]:
        closely = clip in self.masked or part_of(clip).box is not None
        for index, pixels in frames.read_at(path, indices) if indices else ():
            yield Frame(clip, index, pixels, closely)

    def chosen(self, clip: str) -> list[int]:
        """The frames that are looked at, counted from the clip's first."""
        first, last = self.spans[clip]
        return frames.evenly_spaced(last - first + 1, self.params.frames)

    def wanted(self, frame: Frame, faces: Sequence[Face]) -> list[Face]:
        """The faces that may turn out to be the one that is wanted: that in the clip's box, or the largest."""
        if (box := part_of(frame.clip).box) is not None:
            at = detection.at(faces, box)
            return [] if at is None else [at]
        first, last = self.spans[frame.clip]
        several = last > first or self.all_of or frame.clip in self.masked
        return detection.by_size(faces)[: PEOPLE if several else 1]

    def around(self, clip: str, failed: Sequence[int]) -> list[list[int]]:
        """For each frame that failed those to try in its place, nearest first."""
        first, last = self.spans[clip]
        gone = [index - first for index in failed]
        spares = _spares(gone, {*gone, *self.chosen(clip)}, last - first + 1)
        return [[first + index for index in near] for near in spares.values()]

    def _span(self, clip: str, path: Path) -> tuple[int, int]:
        """First and last frame of a clip, which may be some of its file."""
        if part := part_of(clip).frames:
            return part
        return 0, (self.lengths[clip] if clip in self.lengths else frames.length(path)) - 1


# -- looking -------------------------------------------------------------------------------------------------------------


def _looks(seen: Generator[Frame], detector: FaceDetector, reading: _Reading) -> Iterator[_Look]:
    """How frames look; the next few are read while these are looked at."""
    looked = Counter[str]()
    for batch in ahead(_batches(seen, detector.batch)):
        for frame, faces in zip(batch, detector.detect(batch), strict=True):
            wanted = [detector.refine(frame, face) for face in reading.wanted(frame, faces)]
            crops = tuple(crop for face in wanted if (crop := _crop(frame, face, reading.params)))
            hashed = crops and is_hashed(looked[frame.clip], reading.params.frames)
            looked[frame.clip] += 1
            without = NO_ALIGNMENT if wanted else NO_FACE
            yield _Look(frame.clip, frame.index, crops, without, hash_of(frame.pixels) if hashed else b"")


def _batches(seen: Generator[Frame], size: int) -> Generator[list[Frame]]:
    while batch := list(islice(seen, size)):
        yield batch


def _crop(frame: Frame, face: Face, params: CropOptions) -> Crop | None:
    """None where the landmarks fix no alignment."""
    if np.isnan(face.landmarks).all():  # a crop already: where its landmarks lie is not known, and not invented
        image, landmarks = alignment.resize(frame.pixels, params.size_px), face.landmarks
    else:
        try:
            image, landmarks = alignment.align(frame.pixels, face.landmarks, params.size_px, params.margin)
        except ValueError:
            return None
    return Crop(image, landmarks, face.box, face.score, face.landmarks)


# -- choosing ------------------------------------------------------------------------------------------------------------


def _outcomes(
    clip: str, path: Path, looks: Sequence[_Look], mask: Path | None, reading: _Reading, detector: FaceDetector
) -> list[Outcome]:
    """What became of a clip's frames, given how the evenly spaced ones look."""
    looks = _masked(looks, mask, reading.params)
    kept = {look.frame for look in looks}
    missing = [look.frame for look, crop in zip(looks, _chosen(looks), strict=True) if crop is None]
    around = reading.around(clip, missing)
    spare = list(_looks(reading.read(clip, path, sorted(chain(*around))), detector, reading))
    looks = sorted([*looks, *_masked(spare, mask, reading.params)], key=lambda look: look.frame)
    told = {look.frame: _outcome(look, crop) for look, crop in zip(looks, _chosen(looks), strict=True)}
    for near in around:
        kept |= set(_until_ok([told[frame] for frame in near if frame in told]))
    return [told[frame] for frame in sorted(kept)]


def _until_ok(tried: Iterable[Outcome]) -> Iterator[int]:
    """The frames that were tried in vain, and the one that replaces."""
    for outcome in tried:
        yield outcome.frame
        if outcome.outcome == OK:
            return


def _outcome(look: _Look, crop: Crop | None) -> Outcome:
    if crop is None:
        return Outcome(look.clip, look.frame, ANOTHER_FACE if look.crops else look.without)
    return Outcome(look.clip, look.frame, OK, crop, frame_hash=look.hash)


def _chosen(looks: Sequence[_Look]) -> list[Crop | None]:
    """The face of each frame that is the wanted person's."""
    people = _followed(looks)
    if not people:
        return [None] * len(looks)
    wanted = max(people, key=lambda track: _manipulated(looks, track)).faces
    return [look.crops[wanted[place]] if place in wanted else None for place, look in enumerate(looks)]


def _followed(looks: Sequence[_Look]) -> list[Track]:
    return tracks.follow([[_sighting(crop) for crop in look.crops] for look in looks])


def _sighting(crop: Crop) -> Sighting:
    is_frame = np.isnan(crop.in_frame).all()  # whatever it shows is the face
    return Sighting(crop.box, None if is_frame else tracks.looks_of(crop.image))


def _manipulated(looks: Sequence[_Look], track: Track) -> int:
    """How much of a person was manipulated, as far as masks tell."""
    masks = (looks[place].crops[number].mask for place, number in track.faces.items())
    return sum(int(mask.sum(dtype=np.int64)) for mask in masks if mask is not None)


def _person(looks: Sequence[_Look], track: Track) -> Person:
    seen = [(looks[place].frame, looks[place].crops[number]) for place, number in track.faces.items()]
    return Person(
        np.array([frame for frame, _ in seen], np.int64),
        np.stack([crop.image for _, crop in seen]),
        np.stack([crop.box for _, crop in seen]),
        np.stack([crop.in_frame for _, crop in seen]),
        np.array([crop.score for _, crop in seen]),
    )


def _masked(looks: Sequence[_Look], path: Path | None, params: CropOptions) -> Sequence[_Look]:
    """The same with what the clip's mask in `path` shows of every face, in the frames it has."""
    if path is None or not any(look.crops for look in looks):
        return looks
    last = frames.length(path) - 1
    wanted = [look.frame for look in looks if look.crops and look.frame <= last]
    shown = {index: _bright(pixels) for index, pixels in frames.read_at(path, wanted)} if wanted else {}
    return [
        replace(look, crops=tuple(_with_mask(crop, shown[look.frame], params) for crop in look.crops))
        if look.frame in shown
        else look
        for look in looks
    ]


def _bright(pixels: Images) -> Images:
    return np.where(pixels.max(axis=2) >= MASK_FLOOR, 255, 0).astype(np.uint8)


def _with_mask(crop: Crop, manipulated: Images, params: CropOptions) -> Crop:
    return replace(crop, mask=alignment.align_mask(manipulated, crop.in_frame, params.size_px, params.margin))


def _faceless(path: Path, looked_at: int, detector: FaceDetector) -> NoFaceFound:
    return NoFaceFound(
        f"expected a face in '{path}', found none in the {looked_at} frames looked at by '{detector.name}'. "
        "Is the face visible and upright? faces.min_score in params.yaml says how sure the detector must be."
    )


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
