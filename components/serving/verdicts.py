"""Verdicts on files: clips and photographs go in, one record for each comes out, whatever befalls the others.

    file -> people (`looking`) -> detector -> score and strangeness of every face -> who is judged, and how (`judging`)

A file that cannot be read, shows no face or none that is good enough is answered too: nothing can be told, and why.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from rich.color import Color
from rich.style import Style
from rich.text import Text

from components.archives.listing import looks_like_media
from components.errors import BadArchive, BrokenLineage, Refused
from components.evaluation import point_files, traits
from components.evaluation.operating_point import OperatingPoint
from components.faces import detection
from components.faces.extraction import Person, profile_of
from components.faces.table import named_profile
from components.generations.card import code_digest, read_card
from components.generations.generation import load_classifier
from components.params import CropOptions
from components.serving import record
from components.serving.judging import Judged, Point, judge
from components.serving.judging import Seen as Judgeable
from components.serving.looking import Seen, box_of, look, qualities
from components.serving.record import CANNOT_TELL, Record, Sighting
from components.vocabulary import FORGED

if TYPE_CHECKING:
    from components.detectors import Detector
    from components.faces.detection import FaceDetector

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

ANNOTATED = "annotated"  # landmarks that came with an archive: a file brings none
BATCH = 32
BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Examiner:
    """A generation ready to answer; loaded once, asked about as many files as there are."""

    detector: Detector
    face_detector: FaceDetector
    params: CropOptions
    point: Point
    champion: record.Champion
    settings: record.Settings

    @classmethod
    def load(
        cls,
        generation: Path,
        operating_point: Path | None,
        params: CropOptions,
        *,
        face_detector: str | None = None,
        champion: record.Champion | None = None,
        device: str = "cpu",
    ) -> Examiner:
        """The generation in a folder.

        operating_point   its folder; where there is none, or none in it, one half is the threshold and the record says so
        params            how faces are cut
        face_detector     a name of `faces.detection`: ``none`` where files are face crops already; None: the generation's
        champion          what is known of it besides its card: since when it answers, what it was taught and when

        Raises Refused where the faces would be cut otherwise than those it was taught, BrokenLineage for a damaged
        generation or the operating point of another one, and MissingWeights for the face detector's.
        """
        card = read_card(generation)
        finder = finder_for(card, face_detector, params)
        point = point_of(card, operating_point)
        if champion is None:
            champion = champion_of(card)
        profile = named_profile(profile_of(finder, params))
        settings = record.Settings(
            face_detector=finder.name,
            profile=str(profile["hash"]),
            frames=params.frames,
            device=device,
            program=version("perennial"),
        )
        return cls(load_classifier(generation, device), finder, params, point, champion, settings)

    def answer(self, path: Path, name: str = "") -> Record:
        """The answer for one file; never raises for a file."""
        return self.judge(self.look(path, name))

    def look(self, path: Path, name: str = "") -> Seen:
        """What is seen in a file; `name` is what it is called, where that is not its path."""
        return look(path, self.face_detector, self.params, name)

    def judge(self, seen: Seen) -> Record:
        """The answer for what was seen in a file, perhaps by another process."""
        start = time.perf_counter()
        people = [self._judgeable(person, seen.file.frames_per_s) for person in seen.people]
        found = judge(people, self.point, is_clip=seen.file.kind == "clip")
        if not people:
            found = replace(found, verdict=CANNOT_TELL, reason=seen.reason)
        decisive = found.decisive
        return Record(
            file=seen.file,
            verdict=found.verdict,
            reason=found.reason,
            score=decisive.score if decisive else None,
            probability=decisive.probability if decisive else None,
            likelihood_ratio=decisive.likelihood_ratio if decisive else None,
            decided_by=decisive.number if decisive else None,
            faces_seen=len(found.faces),
            faces_left_out=sum(face.left_out for face in found.faces),
            faces=found.faces,
            operating_point=self.point.told(),
            champion=self.champion,
            settings=self.settings,
            limits=tuple(self._limits(seen, found)),
            answered=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(seen.seconds + time.perf_counter() - start, 4),
        )

    def probabilities(self, faces: Images) -> Floats:
        """``(N, S, S, 3)`` uint8 RGB -> what the detector says of each face, ``(N,)``; not calibrated."""
        return self._seen(faces)[0]

    def pixels(self, faces: Images) -> torch.Tensor:
        """``(N, S, S, 3)`` uint8 RGB -> ``(N, 3, S, S)`` float32 in [0, 1], where the detector is."""
        device = next(self.detector.parameters()).device
        return torch.from_numpy(np.ascontiguousarray(faces)).to(device).permute(0, 3, 1, 2).float() / 255

    def _judgeable(self, person: Person, frames_per_s: float | None) -> Judgeable:
        scores, embeddings = self._seen(person.faces)
        sightings = [
            Sighting(
                frame=int(frame),
                time_s=round(int(frame) / frames_per_s, 3) if frames_per_s else None,
                box=box_of(person, place),
                score=float(score),
                quality=quality,
            )
            for place, (frame, score, quality) in enumerate(zip(person.frames, scores, qualities(person), strict=True))
        ]
        return Judgeable(sightings, self._unfamiliarity(person.faces, embeddings))

    def _unfamiliarity(self, faces: Images, embeddings: npt.NDArray[np.float32]) -> Floats | None:
        """How far each face lies from what was taught; None where that is not known."""
        point = self.point.calibrated
        if point is None or point.familiarity is None:
            return None
        pictures = np.stack([traits.picture(face) for face in faces])
        return point.unfamiliarity({traits.PICTURE: pictures, traits.EMBEDDING: embeddings})

    def _seen(self, faces: Images) -> tuple[Floats, npt.NDArray[np.float32]]:
        """Scores (N,) and embeddings (N, D)."""
        scores, embeddings = [], []
        with torch.inference_mode():
            for start in range(0, len(faces), BATCH):
                found = self.detector(self.pixels(faces[start : start + BATCH]))
                scores.append(found.logits.double().softmax(dim=1)[:, FORGED].cpu().numpy())
                embeddings.append(found.embedding.flatten(1).float().cpu().numpy())
        return np.concatenate(scores), np.concatenate(embeddings)

    def _limits(self, seen: Seen, found: Judged) -> Iterator[str]:
        """What the answer does not say."""
        taught = ", ".join(one.archive for one in self.champion.taught) or "nobody knows what"
        yield f"It was taught {taught}. A forgery of another kind may be called genuine."
        if self.point.calibrated:
            yield (
                "Probability and likelihood ratio are at even odds: whoever knows how many such files are forged multiplies "
                "by those odds."
            )
        left_out = [face for face in found.faces if face.left_out]
        if left_out and len(left_out) < len(found.faces):
            said = "; ".join(f"face {face.number}: {face.reason.code}" for face in left_out if face.reason)
            yield f"{len(left_out)} of {len(found.faces)} faces were left out ({said}). Nothing is said of them."
        if (judged := len(found.faces) - len(left_out)) > 1:
            yield (
                f"The most suspicious of {judged} faces decides. The error rates are of one face, so that a genuine file "
                "with several is called forged more often."
            )
        if seen.file.kind == "clip" and seen.file.frames and seen.file.frames > self.params.frames:
            yield f"{self.params.frames} of its {seen.file.frames} frames were looked at."
        if seen.file.kind == "still" and self.point.calibrated:
            yield "One picture was looked at; the error rates are of validation clips, which may show more."


def point_of(card: Mapping[str, Any], folder: Path | None) -> Point:
    """The operating point of a generation; raises BrokenLineage where the folder has that of other weights."""
    said = point_files.told(folder) if folder else dict(point_files.NONE)
    if not said.get("point"):
        return Point(None, f"it has no operating point, because {_why(said['reason'])}")
    assert folder is not None
    if said.get("weights") != card["weights"]:
        raise BrokenLineage(
            f"expected the operating point of '{card.get('generation')}' in '{folder}', found that of "
            f"'{said.get('generation')}' with other weights. Run calibrate@{card.get('generation')} again."
        )
    return Point(OperatingPoint.read(folder))


def _why(reason: str) -> str:
    return reason if reason == point_files.NOT_CALIBRATED else f"there were {reason}"


def champion_of(card: Mapping[str, Any]) -> record.Champion:
    """What a generation's card says of it."""
    taught = [card["learns"]] if card.get("learns") else []
    return record.Champion(
        line=card.get("line"),
        generation=str(card["generation"]),
        since=None,
        weights=str(card["weights"]),
        code=code_digest(card),
        detector=str(card["detector"]),
        strategy=str(card["strategy"]),
        taught=tuple(record.Taught(archive=name, generation=None, promoted=None) for name in taught),
    )


def finder_for(card: Mapping[str, Any], name: str | None, params: CropOptions) -> FaceDetector:
    """The face detector `name`, or the generation's own; raises Refused unless its faces compare with what was taught."""
    taught = card.get("profiles", [])
    if not taught:
        raise Refused(
            f"expected '{card.get('generation')}' to say how the faces it learned were cut, found no word of it: it was "
            "raised by a version before 0.2. Run `perennial upgrade`, which writes it down."
        )
    name = name or taught[-1]["detector"]
    if name == ANNOTATED:
        raise Refused(
            f"expected faces that can be found in a file, found that '{card.get('generation')}' learned faces whose "
            "landmarks came with their archive: what it says of others means nothing. Ask a generation whose archives "
            "landed with --faces yunet or retinaface."
        )
    finder = detection.build(name, params)
    asked = named_profile(profile_of(finder, params))
    if asked["hash"] not in {profile["hash"] for profile in taught}:
        raise Refused(
            f"expected faces cut as '{card.get('generation')}' learned them ({_words(taught[-1], asked)}), found "
            f"{_words(asked, taught[-1])}. Faces cut otherwise do not compare: ask with --faces {taught[-1]['detector']} "
            "and the weights of that time, or raise a generation on faces cut like these."
        )
    return finder


def _words(profile: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What of a profile differs from the other: `detector yunet, size_px 256`."""
    differing = [key for key in profile if key != "hash" and profile[key] != other.get(key)]
    return ", ".join(f"{key} {str(profile[key])[:12]}" for key in differing)


# -- what is asked ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """The files that are looked at, and those of the folders that are passed over."""

    files: tuple[Path, ...]
    others: tuple[Path, ...]
    """Neither their names nor their first bytes are of a clip or an image."""


def asked(paths: Iterable[Path]) -> Asked:
    """Files as given, folders as the files in them, in order of their names; hidden ones are left out.

    Raises BadArchive where there is no clip or image at all. One of a format that is not read is among the files: its
    answer says so.
    """
    given = [*paths]
    files: list[Path] = []
    others: list[Path] = []
    for path in given:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        for file in inside:
            if not any(part.startswith(".") for part in file.relative_to(path).parts):
                (files if looks_like_media(file) else others).append(file)
    if not files:
        names = ", ".join(f"'{path}'" for path in given)
        more = f" ({len(others)} other files are there)" if others else ""
        raise BadArchive(
            f"expected clips or images in {names}, found none{more}: nothing was examined. Check the path."
        )
    return Asked(tuple(files), tuple(others))


# -- what is said in a line ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrameAnswer:
    """What one frame looked like."""

    frame: int
    probability: float
    """What the detector said of its face."""


@dataclass(frozen=True)
class Answer:
    """A record in one line, for a terminal or a table."""

    file: str
    verdict: str | None
    """None where nothing can be told."""
    probability: float | None
    """That it is forged; a score where there is no operating point."""
    faces: int
    frames: tuple[FrameAnswer, ...]
    """Of the face that decides."""
    seconds: float
    error: str | None = None
    """Why nothing can be told."""
    overlay: str | None = None
    """A picture of the most suspicious face and where the detector looked, if it was asked for."""

    @classmethod
    def of(cls, said: Record, overlay: str | None = None) -> Answer:
        number = said.decided_by or 1
        shown = said.faces[number - 1].sightings if said.faces else ()
        frames = tuple(FrameAnswer(sighting.frame, sighting.score) for sighting in shown)
        number_told = said.score if said.probability is None else said.probability
        told = said.verdict != CANNOT_TELL
        error = f"{said.reason.code}: {said.reason.words}" if said.reason else None
        return cls(
            file=said.file.name,
            verdict=said.verdict if told else None,
            probability=number_told,
            faces=said.faces_seen,
            frames=frames,
            seconds=said.seconds,
            error=error,
            overlay=overlay,
        )


def strip(frames: Sequence[FrameAnswer]) -> Text:
    """A clip at a glance: one block a frame, as high and as red as it is suspicious."""
    text = Text()
    for frame in frames:
        height = min(int(frame.probability * len(BLOCKS)), len(BLOCKS) - 1)
        text.append(BLOCKS[height], Style(color=_colour(frame.probability)))
    return text


def _colour(probability: float) -> Color:
    """Green, over amber, to red."""
    stops = np.array([[62, 166, 111], [224, 166, 54], [214, 69, 65]], float)
    mixed = [np.interp(probability, [0, 0.5, 1], stops[:, channel]) for channel in range(3)]
    return Color.from_rgb(*mixed)
