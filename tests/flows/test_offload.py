"""Faces that move to an object store are the same faces: nothing is made anew, and who looks at them fetches them."""

from __future__ import annotations

import shutil

import pytest
import yaml
from typer.testing import CliRunner

from components.errors import BadParams
from components.faces.elsewhere import FETCHED
from flows import pipeline
from flows.cli import app
from flows.land import land
from flows.lifecycle import plan_only
from flows.offload import offload

TINY = {
    "detectors": {"rsia_net": {"size": "tiny", "trunk": "small", "width": 8, "input_px": 96}},
    "memory": {"budget": 4},
    "training": {"founder_epochs": 2, "batch": 4},
    "validation": {"min_per_class": 2},
    "evaluation": {"bootstrap": 20},
}
GENERATION = ["evolve@small-M1", "curate@small-M1", "evaluate@small-M1"]


def outs(root, stages):
    """The digests of what these stages made."""
    locked = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages for out in locked[stage]["outs"]}


@pytest.mark.slow
def test_what_was_made_of_faces_stands_when_they_move_to_a_store_and_stages_learn_and_examine_from_there(
    workspace, archive, bucket, tmp_path
):
    workspace.rewrite(lambda document: document.update(TINY))
    land(workspace, "swaps", str(archive), layout="crops")
    made = ["validate@swaps", "crop@swaps", "gauge@swaps"]
    for stage in made:
        pipeline.reproduce(workspace.root, stage, timeout_s=300)
    assert list(plan_only(workspace)[0]) == ["small-M1"]
    made.append("add_benchmark@swaps")
    pipeline.reproduce(workspace.root, made[-1], timeout_s=300)
    peace = shutil.copytree(workspace.root, tmp_path / "peace", symlinks=True)
    folder = workspace.data("faces", "swaps")

    words = ["offload", "swaps", f"s3://{bucket.name}/faces", "-C", str(workspace.root)]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert f"s3://{bucket.name}/faces/" in said.output
    assert not list(folder.glob("*.arrow"))
    assert pipeline.stale(workspace.root, made) == set()
    shutil.rmtree(folder)
    pipeline.checkout(workspace.root)

    for root in (workspace.root, peace):
        for stage in GENERATION:
            pipeline.reproduce(root, stage, timeout_s=300)
    assert outs(workspace.root, GENERATION) == outs(peace, GENERATION)
    assert list((workspace.root / FETCHED).glob("*/shard-0"))
    assert not (peace / FETCHED).exists()
    assert not list(folder.glob("*.arrow"))
    with pytest.raises(BadParams, match="in a store already"):
        offload(workspace, "swaps", f"s3://{bucket.name}/faces")
