"""An archive lands from an object store: DVC remembers where it came from, and no secret is written anywhere."""

from __future__ import annotations

import pytest

from components.errors import BadArchive, NameTaken, StageFailed
from flows.land import land


@pytest.mark.slow
def test_a_prefix_lands_once_and_its_name_is_kept_for_its_content(
    workspace, archive, upload, bucket, crops_at, tmp_path
):
    address = upload(archive, "sets/swaps")
    found = land(workspace, "swaps", address, layout="crops")
    assert (found.clips, found.already) == (8, False)
    assert address in workspace.data("archives", "swaps.dvc").read_text()
    for path in workspace.root.rglob("*"):
        assert not path.is_file() or b"-of-the-test" not in path.read_bytes(), path

    before = workspace.params_file.read_bytes()
    assert land(workspace, "swaps", address + "/", layout="crops").already  # told by the listing alone
    assert land(workspace, "swaps", str(archive), layout="crops").already
    assert land(workspace, "swaps", upload(archive, "moved"), layout="crops").already  # told by the bytes

    bucket.put_object(Key="sets/swaps/real/train_0.png", Body=(archive / "real/train_1.png").read_bytes())
    with pytest.raises(NameTaken, match="under another name"):
        land(workspace, "swaps", address, layout="crops")
    assert workspace.params_file.read_bytes() == before


def test_what_cannot_land_from_a_store_leaves_nothing_behind(workspace, archive, upload, bucket):
    before = workspace.params_file.read_bytes()
    with pytest.raises(BadArchive, match=r"lab\.json"):
        land(workspace, "swaps", upload(archive, "swaps"), layout="lab")
    with pytest.raises(StageFailed, match="nowhere"):
        land(workspace, "others", f"s3://{bucket.name}/nowhere", layout="crops")
    assert workspace.params_file.read_bytes() == before
    assert not list(workspace.data("archives").iterdir())


def test_an_archive_in_a_store_that_is_a_repository_is_refused_and_leaves_nothing(workspace, archive, upload):
    before = workspace.params_file.read_bytes()
    (archive / "real/.dvc").mkdir()
    (archive / "real/.dvc/config").write_text("[core]\n")
    with pytest.raises(BadArchive, match=r"found 4 that DVC leaves out: 'real/test_0\.png'"):
        land(workspace, "swaps", upload(archive, "swaps"), layout="crops")
    assert workspace.params_file.read_bytes() == before
    assert not list(workspace.data("archives").iterdir())
