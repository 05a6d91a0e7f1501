"""Verdicts on files: clips and photographs go in, one answer for each comes out, whatever befalls the others.

    file -> frames -> faces (B, S, S, 3) -> detector -> p_forged per face -> mean over faces -> genuine or forged

A file that cannot be read or shows no face is an answer too, with the reason in `error`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from rich.color import Color
from rich.style import Style
from rich.text import Text

from components.archives.listing import looks_like_media
from components.errors import BadArchive, Refused
from components.faces import detection
from components.faces.extraction import profile_of
from components.faces.table import named_profile
from components.generations.card import read_card
from components.generations.generation import load_classifier
from components.params import CropOptions
from components.serving.looking import Seen, look
from components.vocabulary import FORGED, GENUINE, LABEL_NAMES

if TYPE_CHECKING:
    from components.detectors import Detector
    from components.faces.detection import FaceDetector

Images = npt.NDArray[np.uint8]

ANNOTATED = "annotated"  # landmarks that came with an archive: a file brings none
THRESHOLD = 0.5
BATCH = 32
BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class FrameAnswer:
    """What one frame looked like."""

    frame: int
    probability: float
    """That its face is forged."""


@dataclass(frozen=True)
class Answer:
    """What the champion says of one file."""

    file: str
    verdict: str | None
    """``genuine`` or ``forged``; None where there is an error."""
    probability: float | None
    """That it is forged: the mean over its faces."""
    faces: int
    frames: tuple[FrameAnswer, ...]
    seconds: float
    error: str | None = None
    """Why there is no verdict."""
    overlay: str | None = None
    """PNG of the most suspicious face and where the detector looked, if it was asked for."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def score(
    paths: Iterable[Path],
    generation: Path,
    *,
    params: CropOptions,
    face_detector: str | None = None,
    overlays: Path | None = None,
    device: str = "cpu",
) -> Iterator[Answer]:
    """Answer for every file with the generation in that folder, as the answers come.

    params         how faces are cut
    face_detector  a name of `faces.detection`: ``none`` where the files are face crops already; None: the generation's own
    overlays       a folder for one PNG a file: the most suspicious face beside its heat map

    Raises Refused where the faces would be cut otherwise than those the generation was taught, BrokenLineage for a
    damaged generation, MissingWeights for the face detector's, and BadArchive where there is no file at all; never for a
    file.
    """
    finder = finder_for(read_card(generation), face_detector, params)
    examiner = Examiner(load_classifier(generation, device), finder, params)
    asked = [*paths]
    files = list(files_of(asked))
    if not files:
        names = ", ".join(f"'{path}'" for path in asked)
        raise BadArchive(f"expected clips or images in {names}, found none: nothing was examined. Check the path.")
    for path in files:
        yield examiner.answer(path, overlays)


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


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as given, folders as the clips and images in them, in order of their names; hidden ones are left out.

    An image or clip of a format that is not read is among them: its answer says so.
    """
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file())
            seen = (p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts))
            yield from (p for p in seen if looks_like_media(p))
        else:
            yield path


@dataclass(frozen=True)
class Examiner:
    """A generation ready to answer."""

    detector: Detector
    face_detector: FaceDetector
    params: CropOptions

    def answer(self, path: Path, overlays: Path | None = None) -> Answer:
        """The answer for one file."""
        return self.judge(look(path, self.face_detector, self.params), overlays)

    def judge(self, seen: Seen, overlays: Path | None = None) -> Answer:
        """The answer for what was seen in a file, perhaps by another process."""
        start = time.perf_counter()
        if seen.error is not None:
            return Answer(seen.file, None, None, 0, (), seen.seconds, error=seen.error)
        forged = self.probabilities(seen.faces)
        mean = float(forged.mean())
        drawn = self._draw(Path(seen.file), seen.faces, forged, overlays) if overlays else None
        frames = tuple(FrameAnswer(int(n), float(p)) for n, p in zip(seen.frames, forged, strict=True))
        verdict = LABEL_NAMES[FORGED] if mean > THRESHOLD else GENUINE
        seconds = round(seen.seconds + _since(start), 4)
        return Answer(seen.file, verdict, mean, len(seen.faces), frames, seconds, overlay=drawn)

    def probabilities(self, faces: Images) -> npt.NDArray[np.float64]:
        """``(N, S, S, 3)`` uint8 RGB -> the probability that each face is forged, ``(N,)``."""
        parts = []
        with torch.inference_mode():
            for start in range(0, len(faces), BATCH):
                logits = self.detector(self.pixels(faces[start : start + BATCH])).logits  # (B, 2)
                parts.append(logits.double().softmax(dim=1)[:, FORGED].cpu().numpy())
        return np.concatenate(parts)

    def pixels(self, faces: Images) -> torch.Tensor:
        """``(N, S, S, 3)`` uint8 RGB -> ``(N, 3, S, S)`` float32 in [0, 1], where the detector is."""
        device = next(self.detector.parameters()).device
        return torch.from_numpy(np.ascontiguousarray(faces)).to(device).permute(0, 3, 1, 2).float() / 255

    def _draw(self, path: Path, faces: Images, forged: npt.NDArray[np.float64], overlays: Path) -> str:
        """Save the most suspicious face beside its Grad-CAM; two files of one name do not meet."""
        from PIL import Image

        from components.evaluation import explain

        worst = int(forged.argmax())
        heat = explain.heat_maps(self.detector, self.pixels(faces[worst : worst + 1]))[0].cpu().numpy()
        picture = np.concatenate([faces[worst], explain.overlay(faces[worst], heat)], axis=1)
        overlays.mkdir(parents=True, exist_ok=True)
        target = overlays / f"{path.stem}.png"
        number = 1
        while target.exists():
            number += 1
            target = overlays / f"{path.stem}-{number}.png"
        Image.fromarray(picture).save(target)
        return str(target)


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


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 4)
