"""Ratios are kept, held against what was stored, and reported where they fell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import __main__ as runner
from benchmarks import ratios
from benchmarks.ratios import Kept, Row


def row(name: str, ratio: float | None, better: ratios.Better = "lower") -> Row:
    return Row(name, "by hand", ratio, better, "3 s against 2")


def kept(*rows: Row) -> dict[str, Kept]:
    found: dict[str, Kept] = {}
    for one in rows:
        found = ratios.taken_up(found, one, where="here", commit="abc", date="2026-01-01", store=False)
    return found


@pytest.mark.parametrize(
    ("stored", "now", "better", "fell"),
    [
        (1.0, 1.09, "lower", False),
        (1.0, 1.11, "lower", True),
        (1.0, 0.5, "lower", False),
        (0.9, 0.82, "higher", False),
        (0.9, 0.80, "higher", True),
        (0.9, 2.0, "higher", False),
    ],
)
def test_more_than_a_tenth_worse_in_the_bad_direction_is_a_regression(
    stored: float, now: float, better: ratios.Better, fell: bool
) -> None:
    assert ratios.worse(row("loop", now, better), stored) is fell


def test_a_report_names_what_fell_with_both_ratios_and_nothing_else() -> None:
    said = ratios.regressions(
        [row("loop", 1.3), row("data", 1.0), row("new", 9.0)], kept(row("loop", 1.02), row("data", 1.0))
    )
    assert len(said) == 1
    assert "loop" in said[0]
    assert "1.300" in said[0]
    assert "1.020" in said[0]


def test_a_ratio_that_creeps_is_held_against_the_first_one_until_another_is_stored() -> None:
    found = kept(row("loop", 1.0), row("loop", 1.08), row("loop", 1.15))
    assert (found["loop"].stored, found["loop"].row.ratio) == (1.0, 1.15)
    assert ratios.regressions([row("loop", 1.15)], found)
    found = ratios.taken_up(found, row("loop", 1.2), where="here", commit="abc", date="2026-01-01", store=True)
    assert found["loop"].stored == 1.2


def test_what_cannot_be_measured_now_leaves_what_was_measured_before() -> None:
    assert kept(row("peer", 1.1), row("peer", None))["peer"].row.ratio == 1.1


def test_the_store_reads_back_as_it_was_written(tmp_path: Path) -> None:
    found = kept(row("loop", 1.0), row("peer", None))
    ratios.save(found, tmp_path / "ratios.json")
    assert ratios.load(tmp_path / "ratios.json") == found


def test_the_median_of_the_pairs_is_the_ratio() -> None:
    found = ratios.compared("loop", "by hand", [(2.0, 1.0), (3.0, 1.0), (50.0, 10.0)], unit="ms", scale=1e3)
    assert found.ratio == 3.0
    assert found.numbers.startswith("3000 ms against 1000")


def test_the_page_keeps_its_words_and_has_the_table_once() -> None:
    page = "# Measured\n\nBefore.\n"
    once = ratios.written_into(page, ratios.table_of(kept(row("loop", 1.0))))
    twice = ratios.written_into(once + "\n## Beside it\n", ratios.table_of(kept(row("loop", 2.0))))
    assert twice.startswith("# Measured\n\nBefore.")
    assert "## Beside it" in twice
    assert "1.000" not in twice
    assert twice.count(ratios.BEGIN) == twice.count(ratios.END) == 1


def test_the_table_names_machine_commit_and_date_of_every_run() -> None:
    table = ratios.table_of(kept(row("loop", 1.0)))
    assert "1. 2026-01-01, commit abc: here." in table


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> str:
    """A benchmark that tells a row and then fails."""
    import sys

    module = ModuleType("benchmarks.breaking")

    def rows() -> Iterator[Row]:
        yield row("first half", 1.0)
        raise RuntimeError("the second half broke")

    module.rows = rows  # type: ignore[attr-defined]
    from importlib.machinery import ModuleSpec

    module.__spec__ = ModuleSpec("benchmarks.breaking", None)
    monkeypatch.setitem(sys.modules, "benchmarks.breaking", module)
    return "breaking"


def test_a_run_that_breaks_keeps_the_rows_it_has(
    breaking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, file = tmp_path / "RESULTS.md", tmp_path / "ratios.json"
    runner.run([breaking], minutes=1, store=False, page=page, file=file)
    assert list(ratios.load(file)) == ["first half"]
    assert "first half" in page.read_text()
    assert "the second half broke" in capsys.readouterr().out


def test_a_regression_is_found_against_what_was_stored_before_the_run(breaking: str, tmp_path: Path) -> None:
    file = tmp_path / "ratios.json"
    ratios.save(kept(row("first half", 0.5)), file)
    assert runner.run([breaking], minutes=1, store=True, page=tmp_path / "page.md", file=file)
    assert not runner.run([breaking], minutes=1, store=False, page=tmp_path / "page.md", file=file)


def test_what_is_left_out_when_the_minutes_are_over_is_named(breaking: str) -> None:
    (said,) = runner.measured([breaking], until=0)
    assert (said.name, said.ratio) == ("breaking", None)
    assert "over" in said.numbers


def test_a_benchmark_that_is_not_there_is_named(tmp_path: Path) -> None:
    (said,) = runner.measured(["nowhere"], until=float("inf"))
    assert "nowhere.py" in said.numbers
