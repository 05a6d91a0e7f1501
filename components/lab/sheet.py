"""The contact sheet: people down, a genuine portrait and every forgery of it across.

python -m components.lab.sheet OUT.png [--portraits DIR --yunet FILE] [--people N] [--seed N]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from components.lab.camera import finish
from components.lab.forgeries import FAMILIES
from components.lab.people import Moment, person
from components.lab.photographs import Finder, photographs
from components.lab.picture import Picture, Portrait
from components.lab.portraits import render
from components.vocabulary import GENUINE

_CELL_PX = 160
_TITLE_PX = 18


def contact_sheet(
    out: Path, *, people: int = 6, seed: int = 0, portraits: Path | None = None, yunet: Path | None = None
) -> Path:
    """Write the sheet as PNG to `out`; from photographs in `portraits` (faces found by `yunet`) where given."""
    sitters = _photographed(portraits, yunet, people + 1) if portraits and yunet else _rendered(people + 1, seed)
    rows = [_row(sitters[i], sitters[i + 1], seed + i) for i in range(people)]
    sheet = np.concatenate([_titles([GENUINE, *FAMILIES]), *rows])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    return out


def _rendered(count: int, seed: int) -> list[Portrait]:
    return [render(person(i), Moment.draw(np.random.default_rng([seed, i])), _CELL_PX) for i in range(count)]


def _photographed(folder: Path, yunet: Path, count: int) -> list[Portrait]:
    finder = Finder(yunet)
    found = photographs(folder, finder, people=count, per_person=1, first_person=0)
    return [portraits[0] for _, portraits in found]


def _row(target: Portrait, donor: Portrait, seed: int) -> Picture:
    forged = [forge(target, donor, np.random.default_rng([seed, k])) for k, forge in enumerate(FAMILIES.values())]
    return np.concatenate([_cell(finish(p.image, noise=1.0, quality=92, seed=seed)) for p in (target, *forged)], axis=1)


def _cell(image: Picture) -> Picture:
    return np.asarray(cv2.resize(image, (_CELL_PX, _CELL_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _titles(names: Sequence[str]) -> Picture:
    strip = np.full((_TITLE_PX, _CELL_PX * len(names), 3), 245, np.uint8)
    for column, name in enumerate(names):
        place = (column * _CELL_PX + 6, _TITLE_PX - 6)
        cv2.putText(strip, name.replace("_", " "), place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return strip


def _main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m components.lab.sheet", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--portraits", type=Path, help="folder of photographs, IDENTITY/IDENTITY_NNNN.jpg")
    parser.add_argument("--yunet", type=Path, help="face_detection_yunet.onnx")
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(argv)
    if (chosen.portraits is None) != (chosen.yunet is None):
        parser.error("--portraits and --yunet belong together: give both, or neither")
    contact_sheet(**vars(chosen))


if __name__ == "__main__":
    _main()
