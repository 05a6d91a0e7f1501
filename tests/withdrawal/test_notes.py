"""Withdrawals stand in the ledger beside the promotions, and neither stumbles over the other."""

from __future__ import annotations

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


def test_a_line_torn_by_a_crash_spoils_nothing(tmp_path: Path) -> None:
    books = tmp_path / "ledger.jsonl"
    notes.append(books, entry("s1"))
    notes.append(books, entry("s2"))
    whole = books.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole) - 1):
        books.write_bytes(whole[:cut])
        assert [found.what["source"] for found in notes.read(books)] == ["s1"]
        assert notes.append(books, entry("s3"))
        assert [found.what["source"] for found in notes.read(books)] == ["s1", "s3"]
