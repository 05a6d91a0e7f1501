"""The PDF of one answer: the same as its page, for a file of a case. By fpdf2, in the font that Matplotlib brings along."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import matplotlib
from fpdf import FPDF
from fpdf.enums import WrapMode, XPos, YPos
from PIL import Image

from components.reports import answers
from components.serving.pictures import Picture
from components.serving.record import CANNOT_TELL, Face, Record
from components.texts import printable

FONT: Final = "DejaVu"
INK, MUTED, RULE, PAPER = (29, 33, 41), (102, 112, 128), (227, 225, 218), (251, 250, 247)
TONES: Final = {"forged": (180, 56, 47), "genuine": (21, 128, 61), CANNOT_TELL: (138, 109, 31)}
LINES: Final = (
    (0, 114, 178), (192, 86, 0), (0, 132, 95), (166, 77, 134), (138, 109, 0), (58, 142, 194), (91, 95, 151), (179, 66, 59),
)  # fmt: skip
PAGE_MM, EDGE_MM = (210, 297), 16
WIDTH_MM = PAGE_MM[0] - 2 * EDGE_MM
PICTURE_MM = 40.0

logging.getLogger("fontTools").setLevel(logging.ERROR)  # it tells of every table of a font that is cut down
logging.getLogger("fpdf").setLevel(logging.ERROR)  # it warns of every letter that a font does not have


def write(path: Path, said: Record, pictures: Sequence[Picture]) -> None:
    """Write the PDF of a record with its pictures."""
    document = _Document(said)
    document.head(said)
    document.timeline(said)
    document.heading("Faces")
    if said.faces:
        document.scale()
    for face in said.faces:
        document.face(face, [one for one in pictures if one.face == face.number])
    if not said.faces:
        document.words("Nobody was seen.")
    document.heading("What this answer does not say")
    for limit in said.limits:
        document.words(f"–  {printable(limit)}")
    document.heading("Digests and settings")
    document.facts(answers.facts(said))
    document.output(str(path))


class _Document(FPDF):
    def __init__(self, said: Record) -> None:
        super().__init__(unit="mm", format="A4")
        self._foot = f"perennial {said.settings.program} · {said.champion.generation} · {said.answered}"
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        for style, name in (("", "DejaVuSans"), ("B", "DejaVuSans-Bold")):
            self.add_font(FONT, style, str(fonts / f"{name}.ttf"))
        self.set_margins(EDGE_MM, EDGE_MM, EDGE_MM)
        self.set_auto_page_break(True, 18)
        self.set_title(f"{said.verdict}: {printable(said.file.name)}")
        self.set_creator("perennial")
        self.set_creation_date(datetime.fromisoformat(said.answered))
        self.add_page()

    def footer(self) -> None:
        self.set_y(-13)
        self._font(7.5, tone=MUTED)
        self.cell(WIDTH_MM / 2, 5, self._foot)
        self.cell(WIDTH_MM / 2, 5, f"page {self.page_no()}", align="R")

    def head(self, said: Record) -> None:
        self._font(8, "B", (15, 118, 110))
        self._line("PERENNIAL · ANSWER", 5)
        self._font(17, "B")
        self.multi_cell(
            WIDTH_MM, 7.5, answers.title(said), align="L", wrapmode=WrapMode.CHAR, new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )
        self.ln(2)
        self._font(11, "B", (255, 255, 255))
        self.set_fill_color(*TONES[said.verdict])
        self.cell(
            self.get_string_width(said.verdict) + 8,
            8,
            said.verdict,
            fill=True,
            align="C",
            new_x=XPos.LMARGIN,
            new_y=YPos.NEXT,
        )
        self.ln(2)
        self.words(printable(answers.headline(said)), 10.5)
        self.ln(1)
        self._tiles(said)
        self.words(printable(said.operating_point.words), 8.5, MUTED)

    def _tiles(self, said: Record) -> None:
        tiles = answers.tiles(said)[1:]
        width, top = WIDTH_MM / len(tiles), self.get_y()
        for number, tile in enumerate(tiles):
            left = EDGE_MM + number * width
            self.set_fill_color(*PAPER)
            self.set_draw_color(*RULE)
            self.rect(left, top, width - 3, 20, style="DF", round_corners=True, corner_radius=2)
            for words, size, style, tone, down in (
                (tile["name"], 7.5, "", MUTED, 1.5), (tile["value"], 13, "B", INK, 6), (tile["note"], 6.5, "", MUTED, 13.5),
            ):  # fmt: skip
                self.set_xy(left + 2, top + down)
                self._font(size, style, tone)
                self.cell(width - 7, 5, words)
        self.set_xy(EDGE_MM, top + 23)

    def timeline(self, said: Record) -> None:
        lines = answers.timeline(said)
        if not lines:
            return
        self.heading("Timeline")
        top, height, left = self.get_y() + 2, 34.0, EDGE_MM + 9
        width = WIDTH_MM - 11
        self._font(7, tone=MUTED)
        for mark in (0, 0.5, 1):
            y = top + height * (1 - mark)
            self.set_draw_color(*RULE)
            self.set_line_width(0.15)
            self.line(left, y, left + width, y)
            self.set_xy(EDGE_MM, y - 2)
            self.cell(8, 4, f"{mark:g}", align="R")
        self.set_draw_color(*INK)
        self.set_dash_pattern(dash=1.6, gap=1.4)
        y = top + height * (1 - said.operating_point.threshold)
        self.line(left, y, left + width, y)
        self.set_dash_pattern()
        self.set_line_width(0.5)
        for line in lines:
            colour = LINES[line.colour - 1]
            self.set_draw_color(*colour)
            self.set_fill_color(*colour)
            points = [(left + width * x, top + height * (1 - score)) for x, score in line.points]
            self.polyline(points)
            for x, y in points:
                self.circle(x, y, 0.7, style="F")
        length = answers.length_s(said)
        self.set_xy(left, top + height + 1)
        self.cell(width / 2, 4, "0 s")
        self.cell(width / 2, 4, "end" if length is None else f"{length:.1f} s", align="R")
        self.set_xy(left, top + height + 5)
        for line in lines:
            self.set_text_color(*LINES[line.colour - 1])
            self.cell(16, 4, f"● face {line.number}")
        self.set_text_color(*MUTED)
        self.cell(30, 4, "– –  threshold", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def scale(self) -> None:
        self.words(
            "Each as the detector saw it, and beside it where it looked: heat is what spoke for forged, and compares over all "
            "pictures of this file.", 8.5, MUTED,
        )  # fmt: skip
        self._font(7.5, tone=MUTED)
        self.cell(44, 5, "0: nothing spoke for forged")
        self.image(io.BytesIO(answers.heat_scale()), x=self.get_x(), y=self.get_y() + 1, w=48, h=3)
        self.set_x(self.get_x() + 51)
        self.cell(60, 5, "1: the strongest place of this file", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def face(self, face: Face, shown: Sequence[Picture]) -> None:
        if self.will_page_break(PICTURE_MM + 30):
            self.add_page()
        self.ln(3)
        self.set_draw_color(*LINES[(face.number - 1) % len(LINES)])
        self.set_line_width(0.8)
        self.line(EDGE_MM, self.get_y(), EDGE_MM + WIDTH_MM, self.get_y())
        self.ln(1.5)
        self._font(10.5, "B")
        self.cell(self.get_string_width(f"Face {face.number}") + 3, 6, f"Face {face.number}")
        self._font(9, "B", TONES[face.verdict])
        self._line(face.verdict, 6)
        self.words(printable(answers.words_of(face)), 8.5, MUTED)
        for start in range(0, len(shown), 2):
            self._pictures(shown[start : start + 2])
        quality = "    ".join(f"{words} {value}" for words, value in answers.measured(face.quality))
        self.words(quality, 8)

    def _pictures(self, shown: Sequence[Picture]) -> None:
        if self.will_page_break(PICTURE_MM + 8):
            self.add_page()
        top = self.get_y() + 1
        for number, one in enumerate(shown):
            left = EDGE_MM + number * (WIDTH_MM / 2 + 1)
            for place, pixels in enumerate((one.image, one.overlay)):
                image = Image.open(io.BytesIO(answers.jpeg(pixels)))
                self.image(image, x=left + place * (PICTURE_MM + 0.8), y=top, w=PICTURE_MM, h=PICTURE_MM)
            self.set_xy(left, top + PICTURE_MM + 0.5)
            self._font(7, tone=MUTED)
            self.multi_cell(2 * PICTURE_MM, 3.4, f"{answers.when(one)}: {one.words}", align="L")
        self.set_xy(EDGE_MM, top + PICTURE_MM + 7.5)

    def facts(self, rows: Sequence[tuple[str, str]]) -> None:
        for what, words in rows:
            self._font(8, "B")
            self.cell(30, 4.6, what)
            self._font(8)
            self.multi_cell(
                WIDTH_MM - 30, 4.6, words, align="L", wrapmode=WrapMode.WORD if " " in words else WrapMode.CHAR,
                new_x=XPos.LMARGIN, new_y=YPos.NEXT,
            )  # fmt: skip

    def heading(self, words: str) -> None:
        if self.will_page_break(40):
            self.add_page()
        self.ln(5)
        self._font(12.5, "B")
        self._line(words, 7)

    def words(self, words: str, size: float = 9, tone: tuple[int, int, int] = INK) -> None:
        self._font(size, tone=tone)
        self.multi_cell(WIDTH_MM, size * 0.5, words, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _line(self, words: str, height: float) -> None:
        self.cell(WIDTH_MM, height, words, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _font(self, size: float, style: str = "", tone: tuple[int, int, int] = INK) -> None:
        self.set_font(FONT, style, size)
        self.set_text_color(*tone)
