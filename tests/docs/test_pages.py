"""README and docs/: their links lead somewhere, and the commands they print exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "infra").glob("*.md")),
]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PERENNIAL = re.compile(r"(?<![\w/.-])perennial(?: +[^|;&#`\n]+)?")
INLINE = re.compile(r"`(perennial [^`]+)`")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def links(page: Path) -> list[str]:
    """Where the page's links and pictures lead, apart from the web."""
    found = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text()))
    return [link for link in found if not link.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may name."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> Iterator[tuple[str, bool]]:
    """Every command line that begins with `perennial`, and whether it is whole: one of a block, not of a sentence."""
    for page in PAGES:
        text = page.read_text()
        for block in FENCED.findall(text):
            yield from ((found[0].strip(), True) for found in PERENNIAL.finditer(block) if " " in found[0].strip())
        yield from ((words.replace("\n", " "), False) for words in INLINE.findall(FENCED.sub("", text)))


def parsed(words: str, *, whole: bool) -> None:
    """Raises where there is no such command or option, or where a whole command lacks an argument."""
    tokens = [word for word in shlex.split(words)[1:] if word != "…"]
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and tokens and not tokens[0].startswith("-"):
        name, *tokens = tokens
        if name not in command.commands:
            raise LookupError(f"no command '{name}'; known: {', '.join(command.commands)}")
        command = command.commands[name]
    if hasattr(command, "commands"):  # nothing but options, such as --version
        known = {"--help"} | {option for parameter in command.params for option in parameter.opts}
        if not set(tokens) <= known:
            raise LookupError(f"no option among {tokens}; known: {', '.join(sorted(known))}")
    else:
        command.make_context(str(command.name), tokens, resilient_parsing=not whole)


def printed() -> list[Any]:
    """Every command line once."""
    return [pytest.param(*one, id=one[0]) for one in sorted(set(commands()))]


@every_page
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


@every_page
def test_every_page_has_one_title(page: Path) -> None:
    text = FENCED.sub("", page.read_text())
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1


def test_the_readme_leads_to_every_page() -> None:
    named = {(ROOT / link).resolve() for link in links(ROOT / "README.md")}
    assert {page for page in PAGES if page.parent == ROOT / "docs"} - named == {ROOT / "docs" / "index.md"}


@pytest.mark.parametrize(("words", "whole"), printed())
def test_every_command_that_is_printed_can_be_typed(words: str, whole: bool) -> None:
    parsed(words, whole=whole)


@pytest.mark.parametrize("words", ["perennial lande", "perennial land --lay crops", "perennial init"])
def test_a_command_that_cannot_be_typed_is_noticed(words: str) -> None:
    with pytest.raises(Exception, match=r"No such option|no command 'lande'|Missing parameter"):
        parsed(words, whole=True)
