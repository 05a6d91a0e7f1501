"""What a person sees in the terminal: running stages with their latest word, answers, and who was champion when."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from components.printing import Console
from components.progress import NOTE
from components.registry.ledger import Decision
from components.texts import printable
from components.withdrawal import notes
from flows.durations import Ahead, clocked

if TYPE_CHECKING:
    from components.evaluation.cost import Cost
    from components.serving.verdicts import Answer

console = Console(width=None if sys.stdout.isatty() else 110)  # a log file is no narrow window
ENDED = {"done": ("✓", "green"), "failed": ("✗", "red")}


@contextmanager
def watching(root: Path | None = None, *, aside: bool = False) -> Iterator[None]:
    """Show running stages live on a terminal, and how far the run is; elsewhere print a line when one ends.

    `root` is where stages ran before, and took their time. `aside`: on standard error, because the other is for a machine.
    """
    from flows import lifecycle

    logging.getLogger("prefect").setLevel(logging.ERROR)
    shown = Console(stderr=True, width=None if sys.stderr.isatty() else 110) if aside else console
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", style="bold", markup=False),
        TextColumn("{task.fields[word]}", style="dim", markup=False),
        TimeElapsedColumn(),
        console=shown,
        disable=not shown.is_terminal,
    )
    rows: dict[str, TaskID] = {}
    ahead = Ahead(clocked(root) if root else {})
    whole = bar.add_task("", total=1, word="", visible=False)

    def tell(name: str, line: str) -> None:
        if line == lifecycle.WAITING:
            ahead.expect(name)
        else:
            row(name, line)
        bar.update(whole, description=ahead.words(), visible=bool(rows))

    def row(name: str, line: str) -> None:
        ahead.begin(name)
        if name not in rows:
            rows[name] = bar.add_task(name, total=1, word="")
        if line in (*ENDED, "stopped"):
            bar.remove_task(rows.pop(name))
            ahead.end(name)
            if line in ENDED:
                shown.print(Text.assemble("  ", ENDED[line], f" {name}"))
        elif line.startswith(NOTE):
            shown.print(f"  {name}: {line.removeprefix(NOTE)}", soft_wrap=True)
        elif line and not line.startswith(("Running stage", "> ", "Updating lock", "Generating lock", "Use `dvc")):
            bar.update(rows[name], word=line[: max(shown.width - 48, 20)])

    lifecycle.on_output.append(tell)
    try:
        with bar:
            yield
    finally:
        lifecycle.on_output.remove(tell)


def show_answer(answer: Answer) -> None:
    """One file: verdict, probability, and a block per frame."""
    from components.serving.verdicts import strip

    if answer.error:
        line = Text.assemble(("?", "yellow"), f" {printable(answer.file)}: {answer.error}")
        console.print(line, soft_wrap=True)
        _show_overlay(answer)
        return
    colour = "red" if answer.verdict == "forged" else "green"
    line = Text.assemble(
        (f"{answer.verdict:8}", f"bold {colour}"),
        f" {answer.probability:.3f}  ",
        strip(answer.frames),
        f"  {printable(answer.file)}",
    )
    console.print(line, soft_wrap=True)
    _show_overlay(answer)


def _show_overlay(answer: Answer) -> None:
    if answer.overlay:
        console.print(f"         where it looked: {printable(answer.overlay)}", soft_wrap=True, style="dim")


def history_table(told: Sequence[Decision | notes.Note]) -> Table:
    """The ledger, oldest first: promotions, and what was withdrawn."""
    table = Table("when", "line", "what", "from", "to", "why", "by", box=None, header_style="bold")
    for one in told:
        if isinstance(one, notes.Note):
            table.add_row(one.when, "", notes.WITHDRAW, one.words, "", one.why, one.who)
            continue
        came_from = one.came_from.generation if one.came_from else "nobody"
        why = f"{one.why} (override)" if one.override else one.why
        table.add_row(one.when, one.line, one.action, came_from, one.to.generation, why, one.who)
    return table


def detectors_table(costs: Sequence[Cost]) -> Table:
    """The catalogue side by side."""
    table = Table("detector", "paper", box=None, header_style="bold")
    for column in ("input", "parameters", "trained", "answering", "GFLOP\na face"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("pretrained", no_wrap=True)
    for cost in costs:
        counts = (_count(number) for number in (cost.parameters, cost.trained, cost.answering))
        flops = _figures(cost.face_flops / 1e9)
        table.add_row(cost.detector, cost.paper, f"{cost.input_px} px", *counts, flops, cost.pretrained or "–")
    return table


def costs_table(costs: Sequence[Cost]) -> Table:
    """What a batch took, of those costs that were measured."""
    table = Table("detector", "where", box=None, header_style="bold")
    for column in ("batch", "GFLOP\na step", "MB\nscoring it", "MB\nlearning from it"):
        table.add_column(column, justify="right", no_wrap=True)
    for cost in costs:
        if took := cost.measured:
            numbers = took.step_flops / 1e9, took.scoring_bytes / 1e6, took.step_bytes / 1e6
            table.add_row(cost.detector, took.device, str(took.batch), *(_figures(number) for number in numbers))
    return table


def _count(number: int) -> str:
    """About how many, in three figures: 104 k, 36.8 M."""
    return f"{_figures(number / 1e6)} M" if number >= 1e6 else f"{_figures(number / 1e3)} k"


def _figures(number: float) -> str:
    """Three figures, and all of those before the point."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
