"""The ledger keeps every decision, whatever happens to the process that writes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from components.registry import ledger
from components.registry.ledger import Decision, Holder

ROOT = Path(__file__).parents[2]


def entry(to: str, came_from: str | None = None, line: str = "rsia", action: str = ledger.PROMOTE) -> Decision:
    before = Holder(came_from, came_from * 2) if came_from else None
    return Decision(ledger.now(), "ada", action, line, before, Holder(to, to * 2), why="because")


def test_a_decision_is_read_as_it_was_written(tmp_path):
    books = tmp_path / "ledger.jsonl"
    wanted = entry("M2", "M1")
    assert ledger.append(books, wanted)
    assert ledger.read(books) == [wanted]


def test_a_decision_that_changes_nothing_is_not_written_twice(tmp_path):
    books = tmp_path / "ledger.jsonl"
    assert ledger.append(books, entry("M1"))
    assert not ledger.append(books, entry("M1"))
    assert ledger.append(books, entry("M1", line="masm"))
    assert len(ledger.read(books, "rsia")) == 1


def test_a_line_torn_by_a_crash_is_skipped_and_does_not_spoil_the_next(tmp_path):
    books = tmp_path / "ledger.jsonl"
    ledger.append(books, entry("M1"))
    ledger.append(books, entry("M2", "M1"))
    whole = books.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole) - 1):
        books.write_bytes(whole[:cut])
        assert [e.to.generation for e in ledger.read(books)] == ["M1"]
        assert ledger.append(books, entry("M2", "M1"))
        assert [e.to.generation for e in ledger.read(books)] == ["M1", "M2"]


def test_the_standing_of_a_line_follows_promotions_and_rollbacks(tmp_path):
    books = tmp_path / "ledger.jsonl"
    assert ledger.standing(books, "rsia") == ledger.Standing()
    for one in (entry("M1"), entry("M2", "M1"), entry("M1", "M2", action=ledger.ROLLBACK)):
        ledger.append(books, one)
    now = ledger.standing(books, "rsia")
    assert now.champion is not None and now.previous is not None
    assert (now.champion.generation, now.previous.generation) == ("M1", "M2")


def test_many_writers_at_once_leave_whole_lines(tmp_path):
    books = tmp_path / "ledger.jsonl"
    script = (
        "import sys; from pathlib import Path; from components.registry import ledger\n"
        "from components.registry.ledger import Decision, Holder\n"
        "for i in range(50):\n"
        "    line, to = sys.argv[2], Holder(f'{sys.argv[2]}-{i}', 'w')\n"
        "    ledger.append(Path(sys.argv[1]), Decision(ledger.now(), 'ada', 'promote', line, None, to, 'x' * 200))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(books), f"line{n}"], cwd=ROOT) for n in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(ledger.read(books)) == 150 == len(books.read_text().splitlines())
