"""Answers as documents: a page and a PDF of each record, and a page that lists them; each needs nothing else.

    out/index.html                   what was asked about, and what was passed over
    out/<name>-<digest>.html .pdf    one file: verdict, timeline, faces with heat maps, quality, limits, digests

A name from outside never makes the name of a file here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from components.evaluation import explain
from components.reports import answer_pdf
from components.reports.answers import SIDE_PX, number_of, pill, scaled, sections
from components.reports.pages import render, write_page
from components.serving.pictures import Picture
from components.serving.record import CANNOT_TELL, Record
from components.texts import printable


def write(folder: Path, said: Record, pictures: Sequence[Picture]) -> tuple[Path, Path]:
    """Write page and PDF of a record; gives their paths. The same record gives the same names."""
    folder.mkdir(parents=True, exist_ok=True)
    page, pdf = (folder / f"{name_of(said)}.{kind}" for kind in ("html", "pdf"))
    page.write_text(render("answer.html", **sections(said, pictures)), encoding="utf-8")
    answer_pdf.write(pdf, said, pictures)
    return page, pdf


def write_index(folder: Path, records: Sequence[Record], passed_over: Sequence[tuple[str, str]]) -> None:
    """Write the page that lists what was asked about, and what was passed over with the reason."""
    rows = [
        {
            "name": printable(one.file.name), "page": f"{name_of(one)}.html", "pdf": f"{name_of(one)}.pdf",
            "verdict": one.verdict, "class": pill(one.verdict), "number": number_of(one),
            "reason": one.reason.code if one.reason else "", "faces": one.faces_seen,
        }
        for one in records
    ]  # fmt: skip
    counts = {verdict: sum(one.verdict == verdict for one in records) for verdict in ("forged", "genuine", CANNOT_TELL)}
    others = [(printable(name), words) for name, words in passed_over]
    write_page(folder, "answers.html", rows=rows, counts=counts, passed_over=others)


def write_overlay(folder: Path, stem: str, picture: Picture) -> Path:
    """One picture as a PNG: the face, the same under its heat, and the scale; two files of one name do not meet."""
    edge = max(SIDE_PX, picture.image.shape[0])
    scale = np.repeat(np.linspace(1, 0, edge, dtype=np.float32)[:, None], edge // 16, axis=1)
    bar = explain.overlay(np.full((*scale.shape, 3), 128, np.uint8), scale)
    gap = np.full((edge, edge // 32, 3), 255, np.uint8)
    drawn = np.concatenate([scaled(picture.image, edge), scaled(picture.overlay, edge), gap, bar], axis=1)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{plain(stem)}.png"
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{plain(stem)}-{number}.png"
    Image.fromarray(drawn).save(target)
    return target


def name_of(said: Record) -> str:
    """What the documents of a record are called; the digest is of the name as well: copies of one file may be asked about."""
    own = hashlib.sha256(f"{said.file.name}\0{said.file.sha256}".encode()).hexdigest()
    return f"{plain(PurePath(said.file.name).stem)}-{own[:8]}"


def plain(name: str) -> str:
    """A name that no disk and no browser reads otherwise."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:56] or "file"
