"""What is measured by the row is what the stages do, and runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import millions


@pytest.mark.slow
@pytest.mark.parametrize("part", millions.PARTS)
def test_every_part_is_measured(part: str, tmp_path: Path, torch_as_it_was: None) -> None:
    """Each reads the table that `write` wrote."""
    if part != "write":
        millions.write(tmp_path, 320)
    cost = millions.PARTS[part](tmp_path, 320)
    assert cost.cpu_s > 0
