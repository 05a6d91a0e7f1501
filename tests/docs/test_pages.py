"""README and docs/: their links lead somewhere, and the commands they print exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from flows.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "infra").glob("*.md"))]
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
    """Raises a UsageError where the command does not exist, has no such option or, if it is whole, lacks an argument."""
    tokens = [word for word in shlex.split(words)[1:] if word != "…"]
    command, context = typer.main.get_command(app), None
    while tokens and hasattr(command, "commands") and not tokens[0].startswith("-"):
        name, *tokens = tokens
        if name not in command.commands:
            raise click.UsageError(f"no command '{name}'; known: {', '.join(command.commands)}")
        command = command.commands[name]
    if hasattr(command, "commands"):  # nothing but options, such as --version
        known = {option for parameter in command.params for option in parameter.opts}
        if not set(tokens) <= known:
            raise click.UsageError(f"no option among {tokens}; known: {', '.join(sorted(known))}")
        return
    del context
    command.make_context(str(command.name), tokens, resilient_parsing=not whole)


@every_page
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


@every_page
def test_every_page_has_one_title_and_names_no_page_by_its_address(page: Path) -> None:
    text = FENCED.sub("", page.read_text())
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1


def test_the_readme_leads_to_every_page() -> None:
    named = {(ROOT / link).resolve() for link in links(ROOT / "README.md")}
    assert {page for page in PAGES if page.parent.name == "docs"} <= named | {ROOT / "docs" / "index.md"}


@pytest.mark.parametrize(("words", "whole"), sorted(set(commands())))
def test_every_command_that_is_printed_can_be_typed(words: str, whole: bool) -> None:
    parsed(words, whole=whole)


@pytest.mark.parametrize(
    "words", ["perennial lande", "perennial land --lay crops", "perennial land celeb --layout crops"]
)
def test_a_command_that_cannot_be_typed_is_noticed(words: str) -> None:
    with pytest.raises(Exception, match=r"No such option|no command 'lande'|Missing argument"):
        parsed(words, whole=True)
