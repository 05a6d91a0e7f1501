"""Given photographs as portraits: one face each, found by YuNet, cropped with a margin, never resampled."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from components.errors import BadArchive, MissingWeights, NoFaceFound
from components.lab.picture import Picture, Portrait

_MARGIN = 1.7
_MIN_SCORE = 0.8


class Finder:
    """YuNet, for pictures of one face."""

    def __init__(self, yunet: Path) -> None:
        if not yunet.is_file():
            raise MissingWeights(
                f"expected YuNet's weights at '{yunet}', found no file. Fetch face_detection_yunet_2023mar.onnx from "
                "the OpenCV model zoo, or name your copy."
            )
        before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it warns of a target nobody chose
        self._net = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), _MIN_SCORE)
        cv2.utils.logging.setLogLevel(before)

    def portrait(self, image: Picture) -> Portrait | None:
        """The largest face of `image` (H, W, 3) in a square crop `1.7` times its box, or None."""
        self._net.setInputSize(image.shape[1::-1])
        _, faces = self._net.detect(np.ascontiguousarray(image[..., ::-1]))
        if faces is None or len(faces) == 0:
            return None
        face = faces[np.argmax(faces[:, 2] * faces[:, 3])].astype(np.float64)
        x, y, width, height = face[:4]
        half = _MARGIN * max(width, height) / 2
        left, top = (max(0, int(c - half)) for c in (x + width / 2, y + height / 2))
        right, bottom = (int(c + half) for c in (x + width / 2, y + height / 2))
        crop = image[top:bottom, left:right]
        crop = crop[: crop.shape[0] // 2 * 2, : crop.shape[1] // 2 * 2]
        landmarks = face[4:14].reshape(5, 2) - (left, top)
        if landmarks.min() < 0 or (landmarks >= crop.shape[1::-1]).any():
            return None
        return Portrait(np.ascontiguousarray(crop), landmarks)


def photographs(
    folder: Path, finder: Finder, *, people: int, per_person: int, first_person: int, up_to: int | None = None
) -> list[tuple[str, list[Portrait]]]:
    """Identities with their portraits: those numbered `first_person` to `first_person + people` of the folder.

    Each has `per_person` portraits, or where `up_to` is named as many as there are between the two.
    The order of identities is fixed by the hash of their names, so that archives can take disjoint people whatever
    their seeds. Raises BadArchive when the folder has too few photographs, NoFaceFound when YuNet sees too few faces.
    """
    names = sorted((p.name for p in folder.iterdir() if p.is_dir()), key=_order) if folder.is_dir() else []
    names = [name for name in names if len(list((folder / name).glob("*.jpg"))) >= per_person]
    chosen: list[tuple[str, list[Portrait]]] = []
    skipped = 0
    for name in names[first_person:]:
        if len(chosen) == people:
            return chosen
        portraits = _portraits_of(folder / name, finder, per_person, up_to or per_person)
        if portraits is None:
            skipped += 1
        else:
            chosen.append((name, portraits))
    if len(chosen) == people:
        return chosen
    wanted = f"expected {people} people with {per_person} photographs each in '{folder}' from number {first_person} on"
    if skipped:
        raise NoFaceFound(f"{wanted}; found {len(chosen)}, and {skipped} whose faces YuNet missed. Ask for fewer.")
    raise BadArchive(f"{wanted} (IDENTITY/IDENTITY_NNNN.jpg); found {len(chosen)}. Ask for fewer, or add photographs.")


def _portraits_of(folder: Path, finder: Finder, least: int, most: int) -> list[Portrait] | None:
    portraits: list[Portrait] = []
    for path in sorted(folder.glob("*.jpg")):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        found = None if image is None else finder.portrait(np.ascontiguousarray(image[..., ::-1]))
        if found is not None:
            portraits.append(found)
        if len(portraits) == most:
            break
    return portraits if len(portraits) >= least else None


def _order(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
