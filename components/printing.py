"""What Rich prints: colours are the program's own, and names and reasons that came from outside are mere words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console as _Console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from components.texts import harmless


class Console(_Console):
    """Square brackets are square brackets; control characters and marks of direction show as escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "highlight": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Before it is measured, so that a table has room for the escapes."""
        return super().render_str(harmless(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Every text that any renderable is made of comes by here."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else harmless(text), style, control)
