"""What a person watching the terminal sees while stages run: one line each, with the stage's latest word."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from flows import lifecycle

console = Console()


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

    lifecycle.watchers.append(tell)
    try:
        with bar:
            yield
    finally:
        lifecycle.watchers.remove(tell)
