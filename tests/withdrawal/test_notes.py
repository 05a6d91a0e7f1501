"""Withdrawals stand in the ledger beside the promotions, and neither stumbles over the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from components.registry import ledger
from components.registry.ledger import Holder
from components.withdrawal import notes
from components.withdrawal.notes import Note


def entry(source: str, why: str = "asked by letter") -> Note:
    saw = {"rsia-M1": {"learned": 4, "replayed": 0, "kept": 1}}
    return Note(ledger.now(), "ada", {"archive": "swap", "source": source}, why, saw)


def test_a_withdrawal_is_read_as_it_was_written_and_written_once(tmp_path: Path) -> None:
    books = tmp_path / "ledger.jsonl"
    assert notes.read(books) == []
    first, second = entry("s1"), entry("s2")
    assert notes.append(books, first)
    assert notes.append(books, second)
    assert not notes.append(books, entry("s1", why="asked again"))
    assert notes.read(books) == [first, second]


def test_promotions_and_withdrawals_read_past_one_another(tmp_path: Path) -> None:
    books = tmp_path / "ledger.jsonl"
    promoted = ledger.Decision(ledger.now(), "ada", ledger.PROMOTE, "rsia", None, Holder("rsia-M1", "w"), "open")
    ledger.append(books, promoted)
    notes.append(books, entry("s1"))
    assert ledger.read(books) == [promoted]
    assert ledger.standing(books, "rsia").champion == promoted.to
    assert not ledger.append(books, promoted)
    assert [found.what["source"] for found in notes.read(books)] == ["s1"]


def test_the_whole_ledger_is_told_in_the_order_of_its_lines_whatever_the_clock_said(tmp_path: Path) -> None:
    books = tmp_path / "ledger.jsonl"
    promoted = ledger.Decision("2026", "ada", ledger.PROMOTE, "rsia", None, Holder("rsia-M1", "w"), "open")
    withdrawn = replace(entry("s1"), when="2024")  # the clock jumped back
    ledger.append(books, promoted)
    notes.append(books, withdrawn)
    assert notes.told(books) == [promoted, withdrawn]
    assert notes.told(books, "rsia") == [promoted]
    assert notes.told(books, "masm") == []


def test_a_line_torn_by_a_crash_spoils_nothing(tmp_path: Path) -> None:
    books = tmp_path / "ledger.jsonl"
    notes.append(books, entry("s1"))
    known = ledger.head(books).read_bytes()
    notes.append(books, entry("s2"))
    whole = books.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole) - 1, 9):
        books.write_bytes(whole[:cut])
        ledger.head(books).write_bytes(known)
        assert [found.what["source"] for found in notes.read(books)] == ["s1"]
        assert notes.append(books, entry("s3"))
        assert [found.what["source"] for found in notes.read(books)] == ["s1", "s3"]
