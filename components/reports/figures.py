"""Figures of a page as inline SVG that follows its light and dark theme; same story, same bytes.

Matplotlib draws with stand-in colours, which become the page's CSS variables afterwards; text stays text in the
page's own font. The family tree is written by hand: it is cards and arrows, not data.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import MaxNLocator

from components.reports.story import Birth, Story

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


def forgetting_curves(story: Story) -> str:
    """AUC of every learned task over generations, from the one that learned it; the band is its interval."""
    births = story.births
    with _drawing(9.2, 3.9) as (figure, axes):
        ends = []
        for number, task in enumerate(story.tasks):
            colour = SERIES[number % len(SERIES)]
            points = [(x, story.cell(birth.name, task)) for x, birth in enumerate(births, 1)]
            known = [(x, c.value, c.low, c.high) for x, c in points if c.value is not None]
            learned = next(x for x, birth in enumerate(births, 1) if birth.learns == task)
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
        axes.set_xticks(range(1, len(births) + 1), [birth.short for birth in births])
        axes.set_xlim(0.85, len(births) + 0.15)
        axes.set_ylabel("AUC")
        axes.set_ylim(min(0.5, axes.get_ylim()[0]), 1.02)  # the same scale for every line, unless something is worse
        _label_ends(axes, ends, len(births) + 0.15)
        return _svg(figure, "AUC of every learned task over generations")


def losses(births: tuple[Birth, ...]) -> str:
    """The named losses of every generation, one panel each, on one scale."""
    shown = [birth for birth in births if birth.curve]
    if not shown:
        return ""
    names = sorted({name for birth in shown for name in birth.curve})
    columns = min(max(len(shown), 2), 4)
    rows = -(-len(shown) // columns)
    with _drawing(9.2, 2.5 * rows, rows, columns) as (figure, grid):
        panels: list[Axes] = list(grid.flat) if hasattr(grid, "flat") else [grid]
        for panel, birth in zip(panels, shown, strict=False):
            for name, points in sorted(birth.curve.items()):
                colour = SERIES[names.index(name) % len(SERIES)]
                xs, ys = zip(*points, strict=True)
                panel.plot(xs, ys, color=colour, linewidth=1.8, marker="o" if len(xs) == 1 else None, markersize=4)
            panel.set_title(f"{birth.short} learns {birth.learns}", fontsize=10.5, loc="left")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            panel.set_xlabel("epoch")
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
        keys = [(name, SERIES[number % len(SERIES)]) for number, name in enumerate(names)]
        return _svg(figure, "Named losses while learning") + _legend(keys)


def family_tree(story: Story) -> str:
    """The generations in a row, founder first: what each learned, what the gate said, who answers."""
    width, height, gap = 172, 128, 58
    total = len(story.births) * width + (len(story.births) - 1) * gap
    parts = []
    for number, birth in enumerate(story.births):
        x = number * (width + gap)
        if number:
            parts.append(_arrow(x - gap, x, height / 2 + 14))
        parts.append(_card(birth, x, width, height, birth is story.champion))
    title = f"{story.line}: " + ", then ".join(f"{b.short} learned {b.learns}" for b in story.births)
    return (
        f'<svg class="tree" viewBox="-2 0 {total + 4} {height + 18}" style="width:{total + 4}px" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _card(birth: Birth, x: int, width: int, height: int, champion: bool) -> str:
    gate = ("open", "gate opened") if birth.opens else ("closed", "gate stayed closed")
    mark = "M4 8.5 7 11.5 12.5 5" if birth.opens else "M4.5 4.5 11.5 11.5M11.5 4.5 4.5 11.5"
    crown = f'<text class="crown" x="{width - 16}" y="32" text-anchor="end">★ champion</text>' if champion else ""
    return (
        f'<g class="generation {gate[0]}{" champion" if champion else ""}" transform="translate({x} 14)">'
        f'<rect width="{width}" height="{height}" rx="14"/>'
        f'<text class="name" x="16" y="33">{escape(birth.short)}</text>{crown}'
        f'<text class="label" x="16" y="60">learned</text>'
        f'<text class="learns" x="16" y="79">{escape(_fit(birth.learns, 19))}</text>'
        f'<g class="gate" transform="translate(15 {height - 31})"><circle cx="8" cy="8" r="8"/><path d="{mark}"/>'
        f'<text x="23" y="12.5">{gate[1]}</text></g></g>'
    )


def _arrow(start: int, end: int, y: float) -> str:
    return (
        f'<g class="descent"><path d="M{start + 6} {y}H{end - 13}"/><path class="head" d="m{end - 16} {y - 5} 9 5-9 5z"/>'
        f'<text x="{(start + end) / 2 - 2}" y="{y - 10}" text-anchor="middle">teaches</text></g>'
    )


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


def _legend(keys: list[tuple[str, str]]) -> str:
    items = (f'<li><i style="background:var({VARIABLES[colour]})"></i>{escape(name)}</li>' for name, colour in keys)
    return f'<ul class="legend">{"".join(items)}</ul>'


def _svg(figure: Figure, title: str) -> str:
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
    return re.sub(r"\n\s*", "\n", text).strip()


def _fit(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
