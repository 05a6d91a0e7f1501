"""In service for years: whoever is killed whenever, in the end all is as if nobody had been."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.years import ROOT, Life

SEED = 14


@pytest.mark.slow
def test_a_life_with_services_of_which_three_processes_are_killed_ends_as_in_peace(tmp_path):
    life = Life(tmp_path / "years", kills=3, seed=SEED)
    life.live()
    assert life.findings() == []


@pytest.mark.long
def test_a_life_with_services_of_which_thirty_processes_are_killed_ends_as_in_peace():
    """Goes on where it was stopped: `PERENNIAL_YEARS`, or .perennial/years, keeps what was done."""
    place = Path(os.environ.get("PERENNIAL_YEARS", ROOT / ".perennial" / "years"))
    life = Life(place, kills=30, seed=SEED)
    if not life.has_ended:
        life.live()
    assert life.findings() == []
    shutil.rmtree(place)
