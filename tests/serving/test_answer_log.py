"""The log of answers: append-only, chained, kept for as long as was said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.serving import answer_log
from components.serving.answer_log import AnswerLog, faults, read, recalled, spelled


@pytest.fixture
def log(tmp_path) -> AnswerLog:
    made = AnswerLog(tmp_path / "answers", keep_days=30)
    for number in range(4):
        made.append({"kind": "answer", "number": number})
    return made


def day(log: AnswerLog, ago: int = 0) -> Path:
    return log.folder / f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}.jsonl"


def test_every_line_follows_from_the_one_before(log):
    assert [kept.said["number"] for kept in read(log.folder)] == [0, 1, 2, 3]
    assert faults(log.folder) == []


@pytest.mark.parametrize("change", ["edit", "take out", "swap"])
def test_a_line_that_was_changed_taken_out_or_moved_is_noticed(log, change):
    lines = day(log).read_bytes().splitlines(keepends=True)
    if change == "edit":
        lines[1] = lines[1].replace(b'"number": 1', b'"number": 7')
    elif change == "take out":
        del lines[1]
    else:
        lines[1], lines[2] = lines[2], lines[1]
    day(log).write_bytes(b"".join(lines))
    assert any("does not follow from the line before" in words for words in faults(log.folder))


def test_a_line_torn_by_a_crash_is_passed_over_and_the_chain_goes_on(log):
    with day(log).open("ab") as file:
        file.write(b'{"kind": "answer", "numb')
    log.append({"kind": "answer", "number": 4})
    assert [kept.said["number"] for kept in read(log.folder)] == [0, 1, 2, 3, 4]
    assert faults(log.folder) == []


def test_days_that_are_past_being_kept_leave_and_the_log_says_so(tmp_path):
    log = AnswerLog(tmp_path, keep_days=30)
    log.append({"kind": "answer", "number": 0})
    day(log).rename(day(log, ago=40))
    log.append({"kind": "answer", "number": 1})
    assert log.sweep() == [day(log, ago=40).name]
    assert [kept.said["kind"] for kept in read(tmp_path)] == ["answer", "retention"]
    assert faults(tmp_path) == []
    assert log.sweep() == []


def test_a_beginning_that_nobody_explains_is_noticed(tmp_path):
    log = AnswerLog(tmp_path)
    log.append({"kind": "answer", "number": 0})
    day(log).rename(day(log, ago=40))
    log.append({"kind": "answer", "number": 1})
    day(log, ago=40).unlink()
    assert faults(tmp_path) == ["the log begins in the middle, and no line says that older days were deleted"]


def test_a_clock_that_was_set_back_does_not_break_the_chain(tmp_path):
    log = AnswerLog(tmp_path)
    log.append({"kind": "answer", "number": 0})
    day(log).rename(tmp_path / "2999-01-01.jsonl")
    log.append({"kind": "answer", "number": 1})
    assert [kept.file for kept in read(tmp_path)] == ["2999-01-01.jsonl"] * 2 and faults(tmp_path) == []


def test_names_are_told_without_control_characters_and_without_folders():
    assert spelled("../../etc/pass\x1b[31mwd\n.png") == "pass\\x1b[31mwd\\n.png"
    assert spelled("C:\\clips\\a.mp4") == "a.mp4" and spelled("") == "unnamed" and len(spelled("x" * 999)) == 255


def test_a_recalled_answer_is_a_line_with_what_was_asked(log):
    file = {"name": "a\x07.png", "sha256": "ab" * 32}
    answer = {"file": file, "verdict": "forged", "probability": None, "score": 0.75}
    log.append({"kind": "answer", "id": "1" * 32, "caller": "lab", "answer": answer})
    shadow = {"verdict": "cannot tell", "probability": None, "score": None, "agrees": False}
    log.append({"kind": answer_log.SHADOW, "id": "1" * 32, **shadow})
    said = [kept.said for kept in read(log.folder)][-2:]
    told, shadow = recalled(said)
    assert told.endswith("forged       0.750  abababababab  a\\x07.png  (lab)")
    assert shadow.endswith("cannot tell      –  in the shadow of 11111111")
