"""The sections of a line's page, each a function of the story that returns HTML; every word from data is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from components.reports import figures
from components.reports.story import Birth, Measured, Story
from components.vocabulary import REAL

if TYPE_CHECKING:
    from components.reports.mistakes import Mistake

PASSED = {True: ("true", "✓"), False: ("false", "✕"), None: ("null", "–")}


def header(story: Story, beside: Sequence[str]) -> str:
    """Who answers, what it knows, and the four numbers to remember."""
    opened = sum(birth.opens for birth in story.births)
    last = story.last.name
    tiles = [
        ("Champion", escape(story.champion.short) if story.champion else "none", _learned(story.champion)),
        ("Average AUC", *_tile(story.summed(last, "average_auc"), f"of what {story.last.short} was taught")),
        ("Forgetting", *_tile(story.summed(last, "forgetting"), "AUC lost on older tasks")),
        ("Generations", str(len(story.births)), f"the gate opened for {opened}"),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in tiles)
    return (
        '<header class="top"><div><div class="eyebrow">Perennial · line</div>'
        f'<h1>{escape(story.line)}</h1><p class="lead">{_sentence(story)}</p>{_beside(story, beside)}'
        f'<dl class="tiles">{cells}</dl></div></header>'
    )


def family(story: Story) -> str:
    return _section(
        "Family tree",
        "Every generation is raised from the one before it, on a new task and a memory of the older ones.",
        f'<div class="scroll">{figures.family_tree(story)}</div>',
    )


def matrix(story: Story) -> str:
    """R[generation, benchmark] as a heat map of AUC."""
    others = [name for name in story.benchmarks if name not in story.tasks]
    head = "".join(
        f'<th scope="col"{_class("first-other" if others and name == others[0] else "")}>{escape(name)}</th>'
        for name in story.benchmarks
    )
    rows = "".join(_row(story, birth, others[0] if others else "") for birth in story.births)
    table = (
        f'<div class="scroll"><table class="matrix"><thead><tr><th scope="col">after</th>{head}'
        f'<th scope="col" class="first-sum">average</th><th scope="col">forgotten</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    key = (
        '<ul class="key"><li><i class="ramp"></i>AUC 0 · 0.5 · 1</li><li><i class="learned"></i>learned in that generation</li>'
        '<li><i class="future"></i>not learned yet</li></ul>'
    )
    others_say = f" Examined only, not learned so far: {', '.join(map(escape, others))}." if others else ""
    return _section(
        "What each generation knows",
        f"AUC on clips of every benchmark, with its confidence interval.{others_say}",
        table + key,
    )


def curves(story: Story) -> str:
    """The forgetting curves; a founder alone has nothing to forget and no such section."""
    if len(story.births) < 2:
        return ""
    return _section(
        "What was forgotten",
        "AUC of every task from the generation that learned it (ringed) onwards; dotted before, the band is the interval.",
        f'<div class="scroll chart-wide">{figures.forgetting_curves(story)}</div>',
    )


def gate(story: Story) -> str:
    """What the rules said, the youngest generation first and unfolded."""
    return _section(
        "What the gate said",
        "A generation becomes champion only if no rule refuses.",
        "".join(_verdict(birth, unfolded=birth is story.last) for birth in reversed(story.births)),
    )


def faces(story: Story, alarms: Sequence[Mistake], misses: Sequence[Mistake]) -> str:
    """Faces most wrong, each beside what the detector looked at."""
    body = (
        f"<h3>Genuine, called forged</h3>{_faces(alarms, 'No genuine face was called forged.')}"
        f"<h3>Forged, called genuine</h3>{_faces(misses, 'No forged face was called genuine.')}"
    )
    text = (
        f"The test faces that {story.last.short} got most wrong, one of a clip; beside each, where it looked "
        "(Grad-CAM of the forged answer: warm regions spoke for it)."
    )
    return f"<section><h2>Most wrong</h2><p>{escape(text)}</p>{body}</section>"


def learning(story: Story) -> str:
    drawn = figures.losses(story.births)
    text = "The terms of the loss under their own names, one panel a generation."
    return _section("How it learned", text, f'<div class="scroll chart-wide">{drawn}</div>') if drawn else ""


def footer(story: Story) -> str:
    """How to read the numbers, and exactly which weights they speak of."""
    weights = "".join(
        f"<dt>{escape(birth.short)}</dt><dd>weights <code>{escape(str(birth.card['weights']))}</code></dd>"
        for birth in story.births
    )
    return (
        "<footer><dl><dt>AUC</dt><dd>the chance that a forged clip is scored above a genuine one; 0.5 is guessing</dd>"
        "<dt>Average</dt><dd>mean AUC of the tasks learned so far</dd>"
        "<dt>Forgotten</dt><dd>mean over older tasks of the best AUC since it was learned less the AUC of today; "
        f"negative where later tasks helped</dd>{weights}</dl></footer>"
    )


# -- parts ------------------------------------------------------------------------------------------------------------


def _sentence(story: Story) -> str:
    champion, count = story.champion, len(story.births)
    raised = f"After {count} generation{'s' if count > 1 else ''}"
    if champion is None:
        return f"{raised} nobody answers for this line yet: the gate has not opened."
    known = [
        (task, cell.value)
        for task in story.tasks
        if not story.is_future(champion.name, task) and (cell := story.cell(champion.name, task)).value is not None
    ]
    words = ", ".join(f"{escape(task)} ({value:.2f})" for task, value in known)
    end = f", and knows {words}." if words else "."
    stayed = f" {escape(story.last.short)} was raised after it and refused." if champion is not story.last else ""
    return f"{raised}, <b>{escape(champion.name)}</b> answers{end}{stayed}"


def _learned(champion: Birth | None) -> str:
    return f"learned {escape(champion.learns)} last" if champion else "the gate has not opened"


def _tile(measured: Measured, note: str) -> tuple[str, str]:
    if measured.value is None:
        return "–", escape(measured.reason or "not measured")
    return f"{measured.value:z.3f}", escape(note)


def _beside(story: Story, beside: Sequence[str]) -> str:
    lines = sorted({story.line, *beside})
    if len(lines) < 2:
        return ""
    links = (
        f"<b>{escape(name)}</b>" if name == story.line else f'<a href="../{escape(name)}/index.html">{escape(name)}</a>'
        for name in lines
    )
    return f'<nav aria-label="lines">{"".join(links)}</nav>'


def _row(story: Story, birth: Birth, first_other: str) -> str:
    cells = "".join(_cell(story, birth, name, first=name == first_other) for name in story.benchmarks)
    star = ' <span title="champion">★</span>' if birth is story.champion else ""
    average, forgotten = story.summed(birth.name, "average_auc"), story.summed(birth.name, "forgetting")
    return (
        f'<tr><th scope="row">{escape(birth.short)}{star}</th>{cells}'
        f'<td class="sum first-sum"{_reason(average)}>{_number(average, 2)}</td>'
        f'<td class="sum"{_reason(forgotten)}>{_number(forgotten, 3)}</td></tr>'
    )


def _cell(story: Story, birth: Birth, benchmark: str, *, first: bool) -> str:
    auc = story.cell(birth.name, benchmark)
    kind = "learned" if birth.learns == benchmark else "future" if story.is_future(birth.name, benchmark) else ""
    kinds = " ".join(filter(None, (kind, "first-other" if first else "", "none" if auc.value is None else "")))
    if auc.value is None:
        return f"<td{_class(kinds)}{_reason(auc)}>–</td>"
    style = "" if kind == "future" else f' style="{_heat(auc.value)}"'
    interval = f"{auc.low:.2f}–{auc.high:.2f}" if auc.low is not None and auc.high is not None else ""
    said = f"{birth.short} on {benchmark}: AUC {auc.value:.4f}" + (f", interval {interval}" if interval else "")
    small = f"<small>{interval}</small>" if interval else ""
    return f'<td{_class(kinds)}{style} title="{escape(said)}">{auc.value:.2f}{small}</td>'


def _heat(auc: float) -> str:
    """Teal above guessing, orange below, fainter the nearer to it."""
    distance = min(abs(auc - 0.5) * 2, 1)
    tone, reach = ("var(--good)", 0.74) if auc >= 0.5 else ("var(--bad)", 0.5)
    return f"--tone:{tone};--heat:{0.04 + reach * distance**1.5:.3f}"


def _verdict(birth: Birth, *, unfolded: bool) -> str:
    rules = birth.verdict["rules"]
    counts = {kind: sum(rule["passed"] is kind for rule in rules) for kind in PASSED}
    words = {True: "passed", False: "refused", None: "skipped"}
    tally = ", ".join(f"{count} {words[kind]}" for kind, count in counts.items() if count)
    kind, said = ("open", "opens") if birth.opens else ("closed", "stays closed")
    items = "".join(
        f'<li class="{PASSED[rule["passed"]][0]}"><span class="mark">{PASSED[rule["passed"]][1]}</span>'
        f'<span class="rule">{escape(rule["rule"])}</span><span class="words">{escape(rule["words"])}</span></li>'
        for rule in rules
    )
    return (
        f'<details class="verdict"{" open" if unfolded else ""}><summary><b>{escape(birth.short)}</b>'
        f'<span class="pill {kind}">{said}</span><span>learned {escape(birth.learns)} · {tally}</span></summary>'
        f'<ul class="rules">{items}</ul></details>'
    )


def _faces(mistakes: Sequence[Mistake], none: str) -> str:
    if not mistakes:
        return f'<p class="empty">{none}</p>'
    return f'<div class="faces">{"".join(map(_face, mistakes))}</div>'


def _face(mistake: Mistake) -> str:
    face, heat = _data("jpeg", mistake.face), _data("png", mistake.heat)
    benchmark, clip = escape(mistake.benchmark), escape(mistake.clip)
    truth = escape("genuine" if mistake.label == REAL else f"forged, {mistake.method}")
    return (
        f'<figure><div class="pair"><div><img src="{face}" alt="{truth}, from {benchmark}"></div>'
        f'<div><img src="{face}" alt=""><img src="{heat}" alt="where the detector looked"></div></div>'
        f'<figcaption><div class="meter"><i style="left:{mistake.p_forged * 100:.1f}%"></i></div>'
        f"<b>{mistake.p_forged:.1%}</b> sure it is forged<small>truth: {truth}</small>"
        f"<small>{benchmark} · {clip}{f' · frame {mistake.frame}' if mistake.frame else ''}</small></figcaption></figure>"
    )


def _section(title: str, text: str, body: str) -> str:
    return f'<section><h2>{title}</h2><p>{text}</p><div class="panel">{body}</div></section>'


def _number(measured: Measured, digits: int) -> str:
    return "–" if measured.value is None else f"{measured.value:z.{digits}f}"


def _reason(measured: Measured) -> str:
    return f' title="{escape(measured.reason)}"' if measured.value is None and measured.reason else ""


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


def _data(kind: str, image: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
