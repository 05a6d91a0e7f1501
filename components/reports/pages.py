"""Pages by template: every word from data is escaped and harmless, what a template asks for and is not told is an error."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from components.evaluation.estimate import Estimate
from components.reports import PAGE_FILE
from components.texts import harmless
from components.writing import replace_text

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **said: Any) -> str:
    """The template of that name in ``templates/``, filled with what is said."""
    return _ENVIRONMENT.get_template(template).render(said)


def write_page(folder: Path, template: str, **said: Any) -> None:
    """Write the filled template as the page in that folder."""
    replace_text(folder / PAGE_FILE, render(template, **said))


def fixed(value: float | None, digits: int) -> str:
    """``0.123``, never ``-0.000``; a dash for None."""
    return "–" if value is None else f"{value:z.{digits}f}"


def interval(estimate: Estimate) -> str:
    """``0.81–0.93``; empty where there is none."""
    return "" if estimate.low is None or estimate.high is None else f"{estimate.low:.2f}–{estimate.high:.2f}"


def data_url(image: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _words(value: Any) -> Any:
    """A text without control characters and marks of direction; what is no text, or was escaped before, as it is."""
    return harmless(value) if type(value) is str else value


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_words,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters |= {"fixed": fixed, "interval": interval, "data_url": data_url}
