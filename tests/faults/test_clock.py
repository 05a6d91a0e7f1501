"""A clock that jumps back changes nothing of what was decided, made or left behind: order is the order of the lines."""

from __future__ import annotations

import os
import time

from components.registry import ledger
from components.registry.ledger import Decision, Holder
from components.writing import OWNER, room, sweep
from flows import pipeline
from flows.verify import verify

DAY_S = 86400


def decided(when: str, to: str, came_from: str | None) -> Decision:
    before = Holder(came_from, came_from * 2) if came_from else None
    return Decision(when, "ada", ledger.PROMOTE, "rsia", before, Holder(to, to * 2), why="because")


def test_the_champion_is_who_was_decided_on_last_whatever_the_clock_said(tmp_path):
    books = tmp_path / "ledger.jsonl"
    ledger.append(books, decided("2026-11-27T10:00:00+00:00", "M1", None))
    ledger.append(books, decided("2024-01-01T00:00:00+00:00", "M2", "M1"))
    now = ledger.standing(books, "rsia")
    assert now.champion is not None and now.previous is not None
    assert (now.champion.generation, now.previous.generation) == ("M2", "M1")
    ledger.expect_unbroken(books)


def test_what_a_killed_process_left_is_swept_though_it_seems_to_come_from_tomorrow(tmp_path):
    left = tmp_path / ".faces.x.partial"
    left.mkdir()
    os.utime(left, (time.time() + DAY_S,) * 2)
    with room(tmp_path, "mine") as mine:
        os.utime(mine / OWNER, (time.time() + DAY_S,) * 2)
        sweep(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [mine.name]


def test_files_that_seem_to_come_from_tomorrow_are_as_good_as_others(workspace):
    before = pipeline.stale(workspace.root)
    for path in workspace.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (time.time() + DAY_S,) * 2)
    assert pipeline.stale(workspace.root) == before
    assert verify(workspace).faults == ()
