"""What was deleted in MLflow goes for good, and never anything that a version rests on."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import Refused
from components.registry import catalogue, deleted
from components.registry.record import record
from components.tracking import Tracking


def cut_off(tracking: Tracking, page: Path) -> str:
    """A run whose recording was killed, cleared away as `record` does."""
    run = tracking.client.create_run(tracking.experiment, run_name="cut off")
    tracking.client.log_artifact(run.info.run_id, str(page))
    tracking.client.delete_run(run.info.run_id)
    return str(run.info.run_id)


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_with_its_artifacts_and_versions_stay(bear, tracking, tmp_path):
    first = bear(1)
    recorded = record(first.generation, tracking=tracking, **first.recording)
    assert deleted.folders(tracking) == {}
    (page := tmp_path / "page.html").write_text("<p>page</p>")
    gone = cut_off(tracking, page)
    found = deleted.folders(tracking)
    assert set(found) == {gone} and (found[gone] / "artifacts" / "page.html").is_file()
    deleted.take_away(list(found), tracking)
    assert deleted.folders(tracking) == {} and not (found[gone] / "artifacts").exists()
    (version,) = catalogue.versions("rsia", tracking)
    assert catalogue.fetch(version, tracking).is_dir() and tracking.client.get_run(recorded.run_id)


def test_nothing_goes_while_a_version_rests_on_a_deleted_run(bear, tracking):
    first = bear(1)
    recorded = record(first.generation, tracking=tracking, **first.recording)
    tracking.client.delete_run(recorded.run_id)
    with pytest.raises(Refused, match=r"version 1 of 'perennial-rsia' to be active.*Restore run"):
        deleted.folders(tracking)
