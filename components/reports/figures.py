"""Figures of a page as inline SVG that follows its light and dark theme; same story, same bytes.

Matplotlib draws with stand-in colours, which become the page's CSS variables afterwards; text stays text in the
page's own font. The family tree is no figure but a template: it is cards and arrows, not data.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
from markupsafe import Markup, escape
from matplotlib import pyplot
from matplotlib.ticker import MaxNLocator

from components.gates.files import GenerationFiles
from components.reports import story
from components.reports.story import Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#010101", "#020202", "#030303"
# Stand-ins for --series-1 …: the page chooses them for its theme (after Okabe and Ito's palette for all eyes).
SERIES = tuple(f"#0404{number:02x}" for number in range(1, 9))
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    **{colour: f"--series-{n}" for n, colour in enumerate(SERIES, 1)},
}

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "perennial",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
}


def forgetting_curves(told: Story) -> Markup:
    """AUC of every learned task over generations, from the one that learned it; the band is its interval."""
    generations = told.generations
    with _drawing(9.2, 3.9) as (figure, axes):
        ends = []
        for number, task in enumerate(told.tasks):
            colour = SERIES[number % len(SERIES)]
            points = [(x, told.cell(one.name, task)) for x, one in enumerate(generations, 1)]
            known = [(x, c.value, c.low, c.high) for x, c in points if c.value is not None]
            learned = next(x for x, one in enumerate(generations, 1) if one.learns == task)
            before = [(x, y) for x, y, _, _ in known if x <= learned]
            since = [(x, y, lo, hi) for x, y, lo, hi in known if x >= learned]
            if len(before) > 1:
                axes.plot(*zip(*before, strict=True), color=colour, linewidth=1.1, linestyle=(0, (1, 2.5)), alpha=0.8)
            if since:
                xs = [x for x, *_ in since]
                if all(lo is not None and hi is not None for _, _, lo, hi in since):
                    lows, highs = [lo for _, _, lo, _ in since], [hi for *_, hi in since]
                    axes.fill_between(xs, lows, highs, color=colour, alpha=0.12, linewidth=0)
                axes.plot(xs, [y for _, y, _, _ in since], color=colour, marker="o", markersize=5)
                axes.plot(xs[0], since[0][1], "o", markersize=10, markerfacecolor="none", markeredgecolor=colour)
                ends.append((since[-1][1], task, colour))
        axes.set_xticks(range(1, len(generations) + 1), [one.short for one in generations])
        axes.set_xlim(0.85, len(generations) + 0.15)
        axes.set_ylabel("AUC")
        axes.set_ylim(min(0.5, axes.get_ylim()[0]), 1.02)  # the same scale for every line, unless something is worse
        _label_ends(axes, ends, len(generations) + 0.15)
        return _svg(figure, "AUC of every learned task over generations")


def losses(generations: Sequence[GenerationFiles]) -> Markup | None:
    """The named losses of every generation, one panel each, on one scale; None where nobody wrote a curve."""
    shown = [generation for generation in generations if generation.curve]
    if not shown:
        return None
    colours = dict(zip(_loss_names(generations), itertools.cycle(SERIES), strict=False))
    columns = min(max(len(shown), 2), 4)
    rows = -(-len(shown) // columns)
    with _drawing(9.2, 2.5 * rows, rows, columns) as (figure, grid):
        panels: list[Axes] = list(grid.flat) if hasattr(grid, "flat") else [grid]
        for panel, generation in zip(panels, shown, strict=False):
            for name, points in sorted(story.losses(generation).items()):
                xs, ys = zip(*points, strict=True)
                panel.plot(
                    xs, ys, color=colours[name], linewidth=1.8, marker="o" if len(xs) == 1 else None, markersize=4
                )
            panel.set_title(f"{generation.short} learns {generation.learns}", fontsize=10.5, loc="left")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            panel.set_xlabel("epoch")
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
        return _svg(figure, "Named losses while learning")


def reliability(generation: GenerationFiles) -> Markup | None:
    """Share of forged clips over the probability that was said, of validation clips; None without an operating point."""
    point = generation.calibrated["point"]
    if not point:
        return None
    rows = point["found"]["reliability"]
    most = max(row["clips"] for row in rows)
    with _drawing(4.6, 3.6) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.1, linestyle=(0, (1, 2.5)))
        xs, ys = [row["mean"] for row in rows], [row["forged"] for row in rows]
        axes.plot(xs, ys, color=SERIES[0], linewidth=1.4, alpha=0.6)
        axes.scatter(xs, ys, s=[20 + 160 * row["clips"] / most for row in rows], color=SERIES[0], zorder=3)
        axes.set_xlabel("probability that was said")
        axes.set_ylabel("share that was forged")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        return _svg(figure, "Reliability on validation clips")


def loss_colours(generations: Sequence[GenerationFiles]) -> list[tuple[str, str]]:
    """Every loss of `losses` with its colour on the page."""
    colours = (f"var({VARIABLES[colour]})" for colour in itertools.cycle(SERIES))
    return list(zip(_loss_names(generations), colours, strict=False))


def _loss_names(generations: Sequence[GenerationFiles]) -> list[str]:
    return sorted({name for generation in generations for name in story.losses(generation)})


@contextmanager
def _drawing(width: float, height: float, rows: int = 1, columns: int = 1) -> Iterator[tuple[Figure, Any]]:
    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(rows, columns, figsize=(width, height), sharey=True, layout="constrained")
        for panel in figure.axes:
            panel.grid(axis="y", alpha=0.7)
            panel.set_axisbelow(True)
            panel.tick_params(length=0)
            panel.spines["left"].set_visible(False)
        try:
            yield figure, axes
        finally:
            pyplot.close(figure)


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]], x: float) -> None:
    """Name every line at its end, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    step = (high - low) * 0.075
    placed = -float("inf")
    for value, name, colour in sorted(ends):
        placed = max(value, placed + step)
        axes.annotate(
            f"{name}  {value:.2f}", (x, placed), xytext=(8, 0), textcoords="offset points", va="center", color=colour,
            annotation_clip=False,
        )  # fmt: skip


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as an SVG element without prolog, date or fixed size, its stand-in colours as CSS variables."""
    sink = io.StringIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # two figures on one page would share them
    opening = f'<svg viewBox="\\1" class="chart" role="img"><title>{escape(title)}</title>'
    text = re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', opening, text)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, f"var({variable})")
    text = re.sub(r"font-family: [^;]*; ", "", text)  # the page's own
    return Markup(re.sub(r"\n\s*", "\n", text).strip())  # noqa: S704 - matplotlib escaped the words
