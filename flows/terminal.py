"""What a person sees in the terminal: running stages with their latest word, answers, and who was champion when."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from components.registry.ledger import Entry

if TYPE_CHECKING:
    from components.serving.verdicts import Answer

console = Console(width=None if sys.stdout.isatty() else 110)  # a log file is no narrow window


@contextmanager
def watching() -> Iterator[None]:
    """Show running stages live on a terminal; elsewhere print a line when one ends."""
    logging.getLogger("prefect").setLevel(logging.ERROR)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        TextColumn("{task.fields[word]}", style="dim"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    rows: dict[str, TaskID] = {}

    def tell(name: str, line: str) -> None:
        if name not in rows:
            rows[name] = bar.add_task(name, total=1, word="")
        if line in ("done", "failed"):
            bar.remove_task(rows[name])
            console.print(f"  {'[green]✓[/]' if line == 'done' else '[red]✗[/]'} {name}")
            rows.pop(name)
        elif line and not line.startswith(("Running stage", "> ", "Updating lock", "Generating lock", "Use `dvc")):
            bar.update(rows[name], word=line[: max(console.width - 48, 20)])

    from flows import lifecycle

    lifecycle.watchers.append(tell)
    try:
        with bar:
            yield
    finally:
        lifecycle.watchers.remove(tell)


def show_answer(answer: Answer) -> None:
    """One file: verdict, probability, and a block per frame."""
    from components.serving.verdicts import strip

    if answer.error:
        console.print(f"[yellow]?[/] {answer.file}: {answer.error}", soft_wrap=True, highlight=False)
        return
    colour = "red" if answer.verdict == "forged" else "green"
    line = Text.assemble(
        (f"{answer.verdict:8}", f"bold {colour}"),
        f" {answer.probability:.3f}  ",
        strip(answer.frames),
        f"  {answer.file}",
    )
    console.print(line, soft_wrap=True)
    if answer.overlay:
        console.print(f"         where it looked: {answer.overlay}", soft_wrap=True, style="dim")


def history_table(entries: Sequence[Entry]) -> Table:
    """The ledger, oldest first."""
    table = Table("when", "line", "what", "from", "to", "why", "by", box=None, header_style="bold")
    for e in entries:
        came_from = e.came_from.generation if e.came_from else "nobody"
        why = f"{e.why} (override)" if e.override else e.why
        table.add_row(e.when, e.line, e.action, came_from, e.to.generation, why, e.who)
    return table
