"""The whole story: archives become generations, nothing is done twice, and the same data gives the same bytes."""

from __future__ import annotations

import pytest

from components.registry import ledger
from components.tracking import Tracking, connect

pytestmark = pytest.mark.slow

EARLY = ("ingest", "validate", "crop", "gauge")
LATE = ("evolve", "curate", "evaluate", "calibrate", "judge")


def versions(tracking: Tracking) -> list[str]:
    """Generations that are a version of the registered model, oldest first."""
    found = tracking.client.search_model_versions("name = 'perennial-cffd'")
    return [version.tags["perennial.generation"] for version in sorted(found, key=lambda v: int(v.version))]


def test_two_archives_raise_two_generations_of_one_line(raised):
    data = raised.root / "data"
    for archive in ("first", "second"):
        assert (data / "manifests" / archive / "manifest.parquet").is_file()
        assert (data / "validation" / archive / "report.json").is_file()
        assert (data / "faces" / archive / "faces.json").is_file()
        assert (data / "benches" / archive / "bench.json").is_file()
    for generation in ("cffd-M1", "cffd-M2"):
        assert (raised.root / "recipes" / f"{generation}.yaml").is_file()
        names = {path.name for path in (data / "generations" / generation).iterdir()}
        assert {"weights.safetensors", "carry_over.safetensors", "card.json", "curve.csv"} <= names
        assert (data / "memories" / generation / "exemplars.parquet").is_file()
        assert (data / "scores" / generation / "metrics.json").is_file()
        assert (data / "operating_points" / generation / "operating_point.json").is_file()
        assert (data / "verdicts" / generation / "verdict.json").is_file()
    assert "cffd-M2" in (raised.root / "reports" / "lines" / "cffd" / "index.html").read_text()


def test_the_books_hold_a_run_for_the_line_and_one_for_each_generation(raised):
    tracking = connect(raised.root)
    runs = tracking.client.search_runs([tracking.experiment])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len(children) == 2
    assert {run.info.status for run in children} == {"FINISHED"}


def test_the_gate_opened_for_both_so_the_second_is_champion_and_the_first_the_way_back(raised):
    tracking = connect(raised.root)
    assert versions(tracking) == ["cffd-M1", "cffd-M2"]
    aliased = {
        alias: tracking.client.get_model_version_by_alias("perennial-cffd", alias).tags["perennial.generation"]
        for alias in ("champion", "previous")
    }
    assert aliased == {"champion": "cffd-M2", "previous": "cffd-M1"}
    assert [entry.to.generation for entry in ledger.read(raised.root / "ledger.jsonl")] == ["cffd-M1", "cffd-M2"]


def test_a_second_run_has_nothing_to_do_and_says_so(raised):
    before = (raised.root / "dvc.lock").read_bytes(), (raised.root / "ledger.jsonl").read_bytes()
    assert "Everything is up to date" in raised.perennial("run")
    assert ((raised.root / "dvc.lock").read_bytes(), (raised.root / "ledger.jsonl").read_bytes()) == before


def test_a_plain_repro_of_the_whole_pipeline_has_nothing_to_do_either(raised):
    assert "Running stage" not in raised.dvc("repro")
    assert "up to date" in raised.dvc("status")


def test_a_third_archive_runs_its_own_stages_and_those_of_the_new_generation_and_no_others(grown):
    _, outcome = grown
    wanted = [f"{stage}@third" for stage in EARLY[1:]]  # `land` has ingested it
    wanted += ["add_benchmark@third", *(f"{stage}@cffd-M3" for stage in LATE), "publish@cffd"]
    assert sorted(outcome["ran"]) == sorted(wanted)
    assert (outcome["planned"], outcome["promoted"]) == (["cffd-M3"], ["cffd-M3"])
    assert (outcome["failed"], outcome["refused"]) == ({}, {})


def test_a_third_archive_leaves_everything_made_before_as_it_was(raised, grown):
    place, _ = grown
    earlier = {name: outs for name, outs in raised.outs.items() if not name.startswith("publish@")}
    assert {name: place.outs[name] for name in earlier} == earlier
    assert "Running stage" not in place.dvc("repro")


def test_a_new_clone_with_the_cache_gets_every_artifact_back_without_making_one(raised, recloned):
    clone = recloned(raised, cache=True)
    clone.perennial("status")  # tells DVC where the package lies
    clone.dvc("checkout", *(str(path.relative_to(clone.root)) for path in clone.root.glob("data/archives/*.dvc")))
    assert "> python -m" not in clone.dvc("repro")
    assert clone.outs == raised.outs
    weights = "data/generations/cffd-M2/weights.safetensors"
    assert (clone.root / weights).read_bytes() == (raised.root / weights).read_bytes()


def test_a_new_clone_that_got_its_artifacts_from_the_cache_has_nothing_to_raise(raised, recloned):
    clone = recloned(raised, cache=True)
    outcome = clone.lifecycle()
    assert [outcome[what] for what in ("ran", "planned", "promoted", "failed")] == [[], [], [], {}]
    assert versions(connect(clone.root)) == ["cffd-M1", "cffd-M2"]
    assert clone.outs == raised.outs


def test_raised_again_from_the_archives_alone_everything_has_the_same_bytes(raised, recloned):
    clone = recloned(raised, cache=False)
    clone.perennial("status")
    clone.dvc("repro")
    assert clone.outs == raised.outs


def test_a_tracking_server_that_is_down_is_caught_up_by_running_again(raised, copied, monkeypatch, tmp_path):
    place = copied(raised)
    outs = place.outs
    monkeypatch.setenv("PERENNIAL_TRACKING_URI", "http://127.0.0.1:9")
    said = place.perennial("run", fails=True)
    assert "champions failed" in said and "expected MLflow at PERENNIAL_TRACKING_URI='http://127.0.0.1:9'" in said
    assert "Traceback" not in said
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    monkeypatch.setenv("PERENNIAL_TRACKING_URI", elsewhere)
    place.perennial("run")
    assert "Everything is up to date" in place.perennial("run")
    assert place.outs == outs
    assert versions(connect(place.root, elsewhere)) == ["cffd-M1", "cffd-M2"]
