"""One archive is not fit to be learned from: it stops, it says why, and the others go on."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def torn(archives, tmp_path_factory) -> tuple[Path, str]:
    """A copy of the first archive in which one source lies in two splits, and the clip that does it."""
    root = shutil.copytree(archives["first"], tmp_path_factory.mktemp("torn") / "torn")
    with (root / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    leak = next(row for row in rows if row["split"] == "train")
    leak["split"] = "test"
    with (root / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root, leak["file"]


@pytest.fixture(scope="module")
def ended(found, torn, archives) -> tuple:
    """A workspace in which the torn archive landed before a sound one, and what one run of it printed."""
    place = found()
    place.land("torn", torn[0])
    place.land("second", archives["second"])
    return place, place.perennial("run", fails=True)


def test_the_rows_that_leak_are_named_and_the_exit_code_is_1(ended, torn):
    _, printed = ended
    assert "validate@torn failed" in printed
    assert "expected that no source is in two splits" in printed
    assert f"'{torn[1]}' (source " in printed
    assert "Mend the archive and land it under a new name; the others are not affected." in printed


def test_the_failing_archive_has_a_report_and_neither_faces_nor_a_place_among_the_benchmarks(ended):
    place, _ = ended
    report = json.loads((place.root / "data" / "validation" / "torn" / "report.json").read_text())
    assert report["passed"] is False
    docs = (place.root / "reports" / "data_docs" / "index.html").read_text()
    assert "3 expectations were broken" in docs and 'href="#torn"' in docs and 'href="#second"' in docs
    assert not (place.root / "data" / "faces" / "torn").exists()
    assert not (place.root / "data" / "benches" / "torn").exists()


def test_the_other_archive_is_learned_all_the_same(ended):
    place, _ = ended
    card = json.loads((place.root / "data" / "generations" / "cffd-M1" / "card.json").read_text())
    assert card["learns"] == "second"
    assert "judge@cffd-M1" in place.outs
    assert "second" in place.perennial("status")
