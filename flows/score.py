"""`perennial score`: the champion's answers to files, told in a terminal or to a machine, with pages and PDFs of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

from components.texts import printable

if TYPE_CHECKING:
    from components.serving.record import Record
    from components.serving.verdicts import Answer, Examiner

PASSED_OVER: Final = 3
"""Exit code: files were passed over, because they cannot be read or are neither clip nor image."""
NAMED: Final = 20  # files that are named before they are only counted
COLUMNS: Final = (
    "file", "sha256", "verdict", "reason", "probability", "likelihood_ratio", "score", "threshold", "faces_seen",
    "faces_left_out", "decided_by", "generation", "weights", "answered", "seconds", "words",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass
class Scored:
    """What became of the files that were asked about."""

    answers: list[Record] = field(default_factory=list)
    others: tuple[Path, ...] = ()
    """Neither clips nor images, in folders that were asked about."""

    @property
    def unreadable(self) -> list[Record]:
        return [one for one in self.answers if one.reason and one.reason.code == "unreadable"]

    @property
    def exit_code(self) -> int:
        return PASSED_OVER if self.unreadable or self.others else 0

    @property
    def passed_over(self) -> list[tuple[str, str]]:
        """Names, and why."""
        unread = [(one.file.name, one.reason.words) for one in self.unreadable if one.reason]
        return unread + [(str(path), "neither a clip nor an image") for path in self.others]

    def as_json(self, generation: str) -> dict[str, Any]:
        passed_over = [{"file": printable(name), "why": why} for name, why in self.passed_over]
        return {"champion": generation, "answers": [one.as_json() for one in self.answers], "passed_over": passed_over}


def score(
    examiner: Examiner,
    paths: Sequence[Path],
    *,
    tell: Callable[[Answer], None],
    quiet: bool = False,
    heat_maps: Path | None = None,
    report: Path | None = None,
) -> Scored:
    """Answer for every file as the answers come; raises BadArchive where there is none.

    tell        is told of each
    quiet       no bar on a terminal, because each answer is a line of its own
    heat_maps   a folder for one PNG a file: its most suspicious face beside where the detector looked
    report      a folder for a page and a PDF a file, and a page that lists them
    """
    from components.progress import shown
    from components.reports import answer_files as reports
    from components.serving.pictures import most_suspicious, pictures
    from components.serving.verdicts import Answer, asked

    found = asked(paths)
    scored = Scored(others=found.others)
    for path in shown(found.files, "scoring", quiet=quiet):
        seen = examiner.look(path)
        said = examiner.judge(seen)
        scored.answers.append(said)
        drawn = pictures(examiner, seen, said) if heat_maps or report else []
        worst = most_suspicious(said, drawn)
        overlay = reports.write_overlay(heat_maps, path.stem, worst) if heat_maps and worst else None
        if report:
            reports.write(report, said, drawn)
        tell(Answer.of(said, str(overlay) if overlay else None))
    if report:
        reports.write_index(report, scored.answers, scored.passed_over)
    return scored


def as_csv(answers: Sequence[Record]) -> str:
    """A row a file. A name that a spreadsheet would take for a formula is written as a path: ``./=a.png``."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(one) for one in answers)
    return sink.getvalue()


def _row(said: Record) -> Iterator[object]:
    reason = said.reason
    values: dict[str, object] = {
        **said.model_dump(include={*COLUMNS} - {"file", "reason"}),
        "file": _cell(said.file.name),
        "sha256": said.file.sha256,
        "reason": reason.code if reason else "",
        "words": _cell(reason.words if reason else ""),
        "threshold": said.operating_point.threshold,
        "generation": said.champion.generation,
        "weights": said.champion.weights,
    }
    return ("" if values[name] is None else values[name] for name in COLUMNS)


def _cell(text: str) -> str:
    text = printable(text)
    return f"./{text}" if text.startswith(_FORMULA) else text


def passed_over_in_words(scored: Scored) -> list[str]:
    """`3 files passed over (.heic .tiff): …`, each with the reason; nothing where none was."""
    names = scored.passed_over
    if not names:
        return []
    kinds = " ".join(sorted({PurePath(name).suffix.lower() or "no suffix" for name, _ in names}))
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    more = [f"  and {len(names) - NAMED} more"] if len(names) > NAMED else []
    shown = [f"  {printable(name)}: {why}" for name, why in names[:NAMED]]
    return [f"{files} passed over ({printable(kinds)}):", *shown, *more]
