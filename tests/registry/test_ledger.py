"""The ledger keeps every decision, whatever happens to the process that writes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import BrokenLineage, Refused
from components.registry import ledger
from components.registry.ledger import Decision, Holder

ROOT = Path(__file__).parents[2]


def entry(to: str, came_from: str | None = None, line: str = "rsia", action: str = ledger.PROMOTE) -> Decision:
    before = Holder(came_from, came_from * 2) if came_from else None
    return Decision(ledger.now(), "ada", action, line, before, Holder(to, to * 2), why="because")


def test_a_decision_is_read_as_it_was_written(tmp_path):
    books = tmp_path / "ledger.jsonl"
    wanted = [entry("M1"), entry("M2", "M1")]
    assert [ledger.append(books, one) for one in wanted] == [True, True]
    assert ledger.read(books) == wanted


def test_a_decision_that_changes_nothing_is_not_written_twice(tmp_path):
    books = tmp_path / "ledger.jsonl"
    assert ledger.append(books, entry("M1"))
    assert not ledger.append(books, entry("M1"))
    assert ledger.append(books, entry("M1", line="masm"))
    assert len(ledger.read(books, "rsia")) == 1


def test_a_line_torn_by_a_crash_is_skipped_and_does_not_spoil_the_next(tmp_path):
    books = tmp_path / "ledger.jsonl"
    ledger.append(books, entry("M1"))
    known = ledger.head(books).read_bytes()
    ledger.append(books, entry("M2", "M1"))
    whole = books.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole) - 1, 9):
        books.write_bytes(whole[:cut])
        ledger.head(books).write_bytes(known)
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
        "    before = Holder(f'{line}-{i - 1}', 'w') if i else None\n"
        "    ledger.append(Path(sys.argv[1]), Decision(ledger.now(), 'ada', 'promote', line, before, to, 'x' * 200))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(books), f"line{n}"], cwd=ROOT) for n in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(ledger.read(books)) == 150 == len(books.read_text().splitlines())
    assert ledger.broken_at(books) == 0


def test_a_decision_against_another_champion_than_todays_is_not_written(tmp_path):
    books = tmp_path / "ledger.jsonl"
    for one in (entry("M1"), entry("M2", "M1")):
        ledger.append(books, one)
    with pytest.raises(Refused, match="expected 'M1' as the champion of 'rsia', found 'M2'"):
        ledger.append(books, entry("M3", "M1"))
    assert [e.to.generation for e in ledger.read(books)] == ["M1", "M2"]


@pytest.mark.parametrize("spoil", ["changed", "taken out", "put in", "changed before there was a chain"])
def test_what_is_changed_in_the_ledger_is_found_by_the_line_after_it(tmp_path, spoil):
    books = tmp_path / "ledger.jsonl"
    for one in (entry("M1"), entry("M2", "M1")):
        ledger.append(books, one)
    old = [
        {key: value for key, value in json.loads(t).items() if key != "before"} for t in books.read_text().splitlines()
    ]
    books.write_text("".join(json.dumps(one) + "\n" for one in old))  # as an older version wrote it
    ledger.head(books).unlink()
    for one in (entry("M3", "M2"), entry("M4", "M3")):
        ledger.append(books, one)
    assert ledger.broken_at(books) == 0
    lines = books.read_text().splitlines(keepends=True)
    books.write_text(
        {
            "changed": "".join([*lines[:2], lines[2].replace("because", "no reason"), lines[3]]),
            "taken out": "".join([*lines[:2], lines[3]]),
            "put in": "".join([*lines, json.dumps(old[0]) + "\n"]),
            "changed before there was a chain": "".join([lines[0].replace("ada", "eve"), *lines[1:]]),
        }[spoil]
    )
    assert ledger.broken_at(books) == {"changed": 4, "taken out": 3, "put in": 5}.get(spoil, 3)


@pytest.mark.parametrize("spoil", ["cut off", "cut in a line", "changed", "gone"])
def test_an_end_that_is_lost_or_changed_is_found_by_what_is_known_beside_it(tmp_path, spoil):
    books = tmp_path / "ledger.jsonl"
    for one in (entry("M1"), entry("M2", "M1")):
        ledger.append(books, one)
    ledger.expect_unbroken(books)
    lines = books.read_text().splitlines(keepends=True)
    left = {"cut off": lines[:1], "cut in a line": [lines[0], lines[1][:-9]], "gone": []}
    books.write_text("".join(left.get(spoil, [lines[0], lines[1].replace("because", "no reason")])))
    assert ledger.broken_at(books) == 0
    with pytest.raises(
        BrokenLineage, match=r"'ledger\.head' knows, found that something at its end was cut off.*Restore"
    ):
        ledger.expect_unbroken(books)
    if spoil != "gone":
        with pytest.raises(BrokenLineage):
            ledger.append(books, entry("M3", "M2"))


def test_a_crash_before_the_end_was_written_down_beside_the_ledger_is_no_fault(tmp_path):
    books = tmp_path / "ledger.jsonl"
    ledger.append(books, entry("M1"))
    known = ledger.head(books).read_bytes()
    ledger.append(books, entry("M2", "M1"))
    ledger.head(books).write_bytes(known)
    ledger.expect_unbroken(books)
    ledger.head(books).unlink()  # as an older version left it
    ledger.expect_unbroken(books)
