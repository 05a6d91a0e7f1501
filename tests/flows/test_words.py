"""Names and reasons that came from outside are words, wherever they are printed: no markup, no control characters."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from components.printing import Console
from components.registry.ledger import Decision, Holder
from components.reports.pages import render
from components.serving.verdicts import Answer, FrameAnswer
from components.texts import harmless, printable, say
from flows import terminal

ROOT = Path(__file__).parents[2]
NASTY = [
    "talk [dqw4w9wgxcq].mp4",
    "shots [/old]/a.png",
    "[link=http://elsewhere]a[/link].png",
    ":smile:.png",
    "red\x1b[31m\x1b]0;title\x07.png",
    "two\nlines\r.png",
    "gpj\u202e.exe\u2066",
    "\x9b31m.png",
    "caf\udce9.png",
]
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\udc80-\udcff]")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the terminal of the commands gets."""
    sink = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=sink, width=200))
    return sink


@pytest.mark.parametrize("name", NASTY)
def test_a_name_stands_in_an_answer_as_it_is_in_one_line(name: str, screen: io.StringIO) -> None:
    for answer in (
        Answer(name, None, None, 0, (), 0.0, error="no face"),
        Answer(name, "forged", 0.9, 1, (FrameAnswer(0, 0.9),), 0.0, overlay=name),
    ):
        terminal.show_answer(answer)
    lines = screen.getvalue().splitlines()
    assert len(lines) == 3 and all(printable(name) in line for line in lines)
    assert not OBEYED.search("".join(lines))


def test_what_is_no_control_character_is_shown_as_it_is() -> None:
    for name in ("talk [dqw4w9wgxcq].mp4", "été.png", "顔.png", "وجه.png", ":smile:"):
        assert printable(name) == harmless(name) == name


@pytest.mark.parametrize("name", NASTY)
def test_history_shows_a_reason_as_it_is(name: str, screen: io.StringIO) -> None:
    entry = Decision("2026-11-27", name, "promote", name, None, Holder("a-M1", "0"), name)
    terminal.console.print(terminal.history_table([entry]))
    assert not OBEYED.search(screen.getvalue().replace("\n", ""))
    assert harmless(name).splitlines()[0] in screen.getvalue()


@pytest.mark.parametrize("name", NASTY)
def test_a_running_stage_and_its_latest_word_are_no_markup(name: str) -> None:
    sink = io.StringIO()
    console = Console(file=sink, width=200, force_terminal=True, color_system=None)
    bar = Progress(
        TextColumn("{task.description}", markup=False), TextColumn("{task.fields[word]}", markup=False), console=console
    )
    with bar:
        bar.add_task(name, word=name)
    shown = re.sub(r"\x1b\[[0-9?]*[A-Za-z]|\r", "", sink.getvalue())  # how the bar moves the cursor
    assert not OBEYED.search(shown.replace("\n", ""))


def test_colours_are_the_programs_own() -> None:
    sink = io.StringIO()
    table = Table("[bold]a[/]")
    table.add_row("\x1b[31mred")
    Console(file=sink, width=80, force_terminal=True, color_system="standard").print(table, style="green")
    assert "[bold]a[/]" in sink.getvalue() and "\\x1b[31mred" in sink.getvalue() and "\x1b[32m" in sink.getvalue()


def test_pages_show_names_as_words() -> None:
    page = render("answers.html", rows=[], counts={}, passed_over=[(name, "<b>why</b>") for name in NASTY])
    assert not OBEYED.search(page.replace("\n", "").replace("\r", "")) and "<b>" not in page


def test_commands_print_by_say(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2Jb\u202ec\nd")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\u202ec\nd\n"


def test_no_command_prints_otherwise() -> None:
    for path in sorted((ROOT / "flows").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path.name}:{node.lineno} prints past components.texts.say"
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "") != "rich.console", (
                    f"{path.name}:{node.lineno}: use components.printing.Console"
                )
