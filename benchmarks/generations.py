"""Does a generation cost more the later it is born? Eight generations of one line, raised by the lifecycle itself.

    python -m benchmarks.generations [--generations 8] [--strategy cffd] [--people 12] [--out FILE]

Every task is an archive of the lab, the families taking turns, with as many faces as the last; the memory's budget is the
same for all. Prints, by generation, the seconds of each stage and the faces it learned from, and the ratio of the last
generation to the second (the first has no teacher). Raising a generation is evolve and curate. An examination asks about
every archive that has landed, so its cost follows the benchmarks a line is given, and is told apart.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import stages
from benchmarks.line import PARAMS
from components.generations.card import read_card
from components.settings import hush
from flows.durations import clocked
from flows.lifecycle import lifecycle
from flows.workspace import Workspace


def raised(root: Path, generations: int, strategy: str, people: int) -> Workspace:
    """A workspace in which one line has so many generations."""
    workspace = stages.landed(root, tasks=generations, people=people, params=PARAMS, strategy=strategy)
    outcome = lifecycle(workspace.root)
    if outcome.failed:
        raise SystemExit("\n".join(f"{name}: {why}" for name, why in outcome.failed.items()))
    return workspace


def table_of(workspace: Workspace) -> str:
    """Markdown: a row a generation, and under it the ratios."""
    seconds = clocked(workspace.root)
    lines = [
        f"| generation | {' | '.join(f'{stage}, s' for stage in stages.OF_A_GENERATION)} | faces learned from |",
        "|---|" + "--:|" * 5,
    ]
    names = workspace.lineage().of("line")
    for name in names:
        images = read_card(workspace.data("generations", name))["images_seen"]
        cells = [f"{seconds[f'{stage}@{name}']:.1f}" for stage in stages.OF_A_GENERATION]
        lines.append(f"| {name.removeprefix('line-')} | {' | '.join(cells)} | {images} |")
    second, last = (
        sum(seconds[f"{stage}@{name}"] for stage in stages.OF_A_GENERATION[:2]) for name in (names[1], names[-1])
    )
    lines += ["", f"Raising the last generation took {last / second:.2f} times as long as raising the second."]
    return "\n".join(lines)


def main() -> None:
    chosen = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    chosen.add_argument("--generations", type=int, default=8)
    chosen.add_argument("--strategy", default="cffd")
    chosen.add_argument("--people", type=int, default=12)
    chosen.add_argument("--out", type=Path, help="where the table is written, too")
    asked = chosen.parse_args()
    hush()
    with tempfile.TemporaryDirectory() as folder:
        text = table_of(raised(Path(folder) / "workspace", asked.generations, asked.strategy, asked.people))
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
