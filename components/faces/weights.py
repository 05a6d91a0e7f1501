"""With which weights the faces of an archive are found: ``data/weights/<archive>.txt``, a dependency of its crop.

The file holds the sha256 of the weights as they were when the archive landed or was first cropped; `none` where the face
detector needs none, `absent` where they were not there yet. What was cropped keeps its file, so that another machine, or
other weights in the environment, make nothing stale.
"""

from __future__ import annotations

from pathlib import Path

from components.digests import file_digest
from components.errors import BadArchive, MissingWeights
from components.faces import detection
from components.faces.about import FACES_FILE
from components.params import Params
from components.writing import replace_text

NONE, ABSENT = "none", "absent"


def file_of(data: Path, archive: str) -> Path:
    """`data` is the workspace's folder of that name."""
    return data / "weights" / f"{archive}.txt"


def resolve(data: Path, params: Params) -> None:
    """Tell every archive without faces the weights of today."""
    for name, archive in params.archives.items():
        path = file_of(data, name)
        if not (path.is_file() and (data / "faces" / name / FACES_FILE).is_file()):
            tell(data, name, archive.faces)


def tell(data: Path, archive: str, face_detector: str) -> None:
    """Write the weights of today for one archive."""
    replace_text(file_of(data, archive), f"{today(face_detector)}\n")


def forget(data: Path, archive: str) -> None:
    """Delete the file of an archive that leaves."""
    file_of(data, archive).unlink(missing_ok=True)


def today(face_detector: str) -> str:
    """What a file says that is written now."""
    try:
        path = detection.weights(face_detector)
    except MissingWeights:
        return ABSENT
    return NONE if path is None else file_digest(path)


def expect(path: Path, face_detector: str, digest: str | None) -> None:
    """Raise BadArchive unless the weights at work are those that the file at `path` names, or it names none."""
    said = path.read_text().strip() if path.is_file() else ABSENT
    found = digest or NONE
    if said not in (ABSENT, found):
        raise BadArchive(
            f"expected the weights {said[:12]} of face detector '{face_detector}', as '{path}' says, found {found[:12]}. "
            "Point its variable to the weights of that time; or delete that file and run `perennial run`, which finds "
            "the faces anew."
        )
