"""Faces that move to an object store are the same faces: nothing is made anew, and who looks at them fetches them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from components.errors import BadParams
from components.faces.elsewhere import FETCHED
from components.faces.table import FaceTable
from flows import pipeline
from flows.cli import app
from flows.land import land


@pytest.mark.slow
def test_what_was_made_of_faces_stands_when_they_move_to_a_store(workspace, archive, bucket, monkeypatch):
    land(workspace, "swaps", str(archive), layout="crops")
    stages = ["validate@swaps", "crop@swaps", "add_benchmark@swaps"]
    document = workspace.lineage_file.read_text()
    workspace.lineage_file.write_text(document.replace("benches: {}", "benches:\n  swaps: {after: nobody}"))
    for stage in stages:
        pipeline.reproduce(workspace.root, stage, timeout_s=300)
    folder = workspace.data("faces", "swaps")
    before = FaceTable.load(folder).images(range(8))
    words = ["offload", "swaps", f"s3://{bucket.name}/faces", "-C", str(workspace.root)]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert f"s3://{bucket.name}/faces/" in said.output
    assert not list(folder.glob("*.arrow"))
    assert pipeline.stale(workspace.root, stages) == set()
    shutil.rmtree(folder)
    pipeline.checkout(workspace.root)
    monkeypatch.chdir(workspace.root)
    np.testing.assert_array_equal(FaceTable.load(folder).images(range(8)), before)
    assert list(FETCHED.glob("*/shard-0"))
    with pytest.raises(BadParams, match="in a store already"):
        from flows.offload import offload

        offload(workspace, "swaps", f"s3://{bucket.name}/faces")
