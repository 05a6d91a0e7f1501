"""The face table: lossless, the same bytes for the same rows, whole or not at all."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from components.errors import BadArchive, NoFaceFound
from components.faces import quality
from components.faces import table as face_table
from components.faces.table import COLUMNS, FaceTable, Writer, decode, decode_mask, encode, encode_mask

PROFILE = {"detector": "none", "size_px": 32}


def pictures(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def rows(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "archive": "faceswap",
            "clip": [f"clips/{i // 2}.mp4" for i in range(count)],
            "frame": range(count),
            "label": [i % 2 for i in range(count)],
            "method": "swap",
            "identity": "é",
            "source": [str(i // 2) for i in range(count)],
            "split": "train",
            "landmarks": [np.full(10, np.nan) if i == 0 else np.arange(10) + i / 3 for i in range(count)],
            "box": [[0.0, 1.0, 2.0, i] for i in range(count)],
            "score": [1 / (i + 1) for i in range(count)],
        }
    )


def written(path: Path, count: int = 5) -> FaceTable:
    return FaceTable.write(path, rows(count), map(encode, pictures(count)), PROFILE)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_webp_gives_back_every_bit() -> None:
    flat = np.zeros((32, 32, 3), np.uint8)
    for picture in [*pictures(4), flat, flat + 255]:
        np.testing.assert_array_equal(decode(encode(picture)), picture)


def test_a_table_gives_back_the_faces_in_the_order_asked_for(tmp_path: Path) -> None:
    table = written(tmp_path / "faces")
    np.testing.assert_array_equal(table.images([3, 0, 3]), pictures(5)[[3, 0, 3]])
    assert table.encoded([2]) == [encode(pictures(5)[2])]
    assert table.images([]).shape == (0, 32, 32, 3)
    assert len(table) == 5


def test_a_table_gives_back_the_rows(tmp_path: Path) -> None:
    table = written(tmp_path / "faces")
    assert tuple(table.rows.columns) == COLUMNS
    assert table.rows.index.equals(pd.RangeIndex(5))
    assert table.rows["score"].dtype == np.float32
    assert table.rows["label"].dtype == np.int8
    for column in ("clip", "frame", "label", "identity", "source"):
        assert table.rows[column].tolist() == rows(5)[column].tolist()
    np.testing.assert_allclose(table.rows["landmarks"][3], np.arange(10) + 1, rtol=1e-6)
    assert np.isnan(table.rows["landmarks"][0]).all()


def test_the_same_rows_give_the_same_bytes_of_every_file(tmp_path: Path) -> None:
    one, other = written(tmp_path / "one"), written(tmp_path / "elsewhere" / "other")
    assert files(one.path) == files(other.path)
    assert one.digest == other.digest


def test_a_table_rewritten_from_itself_keeps_its_bytes(tmp_path: Path) -> None:
    one = written(tmp_path / "one")
    again = FaceTable.write(tmp_path / "again", one.rows, one.encoded(range(5)), one.profile)
    assert files(one.path) == files(again.path)


def test_the_digest_sees_rows_and_pixels_but_not_the_profile(tmp_path: Path) -> None:
    digest = written(tmp_path / "faces").digest
    relabelled = rows(5).assign(label=0)
    retouched = pictures(5)
    retouched[4, 31, 31, 2] ^= 1
    assert FaceTable.write(tmp_path / "a", relabelled, map(encode, pictures(5)), PROFILE).digest != digest
    assert FaceTable.write(tmp_path / "b", rows(5), map(encode, retouched), PROFILE).digest != digest
    assert FaceTable.write(tmp_path / "c", rows(5), map(encode, pictures(5)), {}).digest == digest


def test_the_profile_has_a_name_of_its_own(tmp_path: Path) -> None:
    profile = written(tmp_path / "faces").profile
    other = FaceTable.write(tmp_path / "b", rows(5), map(encode, pictures(5)), PROFILE | {"margin": 1.5}).profile
    assert {key: profile[key] for key in PROFILE} == PROFILE
    assert profile["hash"] != other["hash"]


# masks

BLACK = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0e\x00\x00\x00/\x01@\x00\x00\x07\x10\x11\xfd\x0fDD\xff\x03"  # 2x2 px
OTHERS = [None, 1, 2, None, 4]


def shades(count: int = 5, size: int = 8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size), np.uint8)


def masked(path: Path, known: list[int | None] = OTHERS) -> FaceTable:
    masks = [None if i is None else encode_mask(shades()[i]) for i in known]
    return FaceTable.write(path, rows(len(known)), map(encode, pictures(len(known))), PROFILE, masks=masks)


def test_webp_gives_back_every_shade_of_a_mask() -> None:
    for mask in (np.arange(256, dtype=np.uint8).reshape(16, 16), np.zeros((7, 5), np.uint8), *shades(3)):
        np.testing.assert_array_equal(decode_mask(encode_mask(mask)), mask)


def test_masks_are_shares_and_nan_where_nobody_knows(tmp_path: Path) -> None:
    found = masked(tmp_path / "faces").masks([4, 0, 2, 4])
    assert found is not None and found.dtype == np.float32
    np.testing.assert_allclose(found[[0, 2, 3]], shades()[[4, 2, 4]] / 255, atol=1e-6)
    assert np.isnan(found[1]).all()


def test_where_nobody_knows_of_any_there_are_no_masks(tmp_path: Path) -> None:
    assert masked(tmp_path / "faces").masks([0, 3]) is None
    assert masked(tmp_path / "faces").masks([]) is None
    assert written(tmp_path / "plain").masks([0, 1]) is None
    assert written(tmp_path / "plain").encoded_masks([0, 1]) == [None, None]


def test_a_table_without_masks_is_what_it_was_before_there_were_any(tmp_path: Path) -> None:
    plain = FaceTable.write(tmp_path / "plain", rows(5), [BLACK] * 5, PROFILE)
    assert plain.digest == "7b85558db1c615f6c4e7092368902d6eed585c08fc121e9f9f906aa02075f29a"
    assert set(json.loads((plain.path / "dataset_info.json").read_text())["features"]) == {"image", *COLUMNS}
    unknown = FaceTable.write(tmp_path / "unknown", rows(5), [BLACK] * 5, PROFILE, masks=[None] * 5)
    assert files(plain.path) == files(unknown.path)


def test_the_digest_sees_every_mask(tmp_path: Path) -> None:
    known = [
        [None] * 5,
        OTHERS,
        [None, 1, 2, 4, None],
        [None, 2, 1, None, 4],
        [None, 1, 2, None, 3],
        [0, 1, 2, None, 4],
    ]
    digests = [masked(tmp_path / "faces", masks).digest for masks in known]
    assert len(set(digests)) == len(known)
    assert digests[0] == written(tmp_path / "plain").digest


def test_masks_are_kept_through_rewriting_and_taking(tmp_path: Path) -> None:
    table = masked(tmp_path / "faces")
    everything = range(5)
    masks = table.encoded_masks(everything)
    again = FaceTable.write(tmp_path / "again", table.rows, table.encoded(everything), table.profile, masks=masks)
    assert files(table.path) == files(again.path)
    taken = table.take([4, 0], tmp_path / "taken")
    assert taken.encoded_masks([0, 1]) == [masks[4], None]
    assert (
        "mask"
        not in json.loads((table.take([0, 3], tmp_path / "rest").path / "dataset_info.json").read_text())["features"]
    )


def test_masks_are_spread_over_shards_and_open_in_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    whole = masked(tmp_path / "whole")
    monkeypatch.setattr(face_table, "BATCH_ROWS", 1)
    monkeypatch.setattr(face_table, "SHARD_ROWS", 2)
    table = masked(tmp_path / "sharded")
    assert table.digest == whole.digest
    assert table.encoded_masks(range(5)) == whole.encoded_masks(range(5))
    opened = datasets.load_from_disk(str(table.path))
    assert set(opened.features) == {"image", "mask", *COLUMNS}
    assert opened[0]["mask"] is None and opened[3]["mask"] is None
    np.testing.assert_array_equal(np.asarray(opened[2]["mask"].convert("L")), shades()[2])


def test_masks_of_two_sizes_and_masks_in_a_table_begun_without_are_refused(tmp_path: Path) -> None:
    sizes = [encode_mask(shades(1, side)[0]) for side in (8, 16)]
    with pytest.raises(BadArchive, match="every mask of a table to be 8x8 px as the first, found 16x16 in 'faceswap"):
        FaceTable.write(tmp_path / "faces", rows(2), map(encode, pictures(2)), PROFILE, masks=sizes)
    row = {str(column): value for column, value in rows(1).to_dict("records")[0].items()}
    with pytest.raises(ValueError, match="masks=True"), Writer(tmp_path / "faces", PROFILE) as writer:
        writer.add(row, encode(pictures(1)[0]), sizes[0])
    assert not list(tmp_path.iterdir())


def test_many_faces_are_spread_over_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path / "whole", 9)
    monkeypatch.setattr(face_table, "BATCH_ROWS", 2)
    monkeypatch.setattr(face_table, "SHARD_ROWS", 4)
    sharded = written(tmp_path / "sharded", 9)
    assert sorted(file.name for file in sharded.path.glob("data-*")) == [
        f"data-0000{i}-of-00003.arrow" for i in range(3)
    ]
    np.testing.assert_array_equal(sharded.images(range(9)), pictures(9))
    pd.testing.assert_frame_equal(sharded.rows, whole.rows)
    assert sharded.digest == whole.digest


def test_hugging_face_datasets_opens_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(face_table, "BATCH_ROWS", 2)
    monkeypatch.setattr(face_table, "SHARD_ROWS", 4)
    table = written(tmp_path / "faces", 7)
    opened = datasets.load_from_disk(str(table.path))
    assert opened.num_rows == 7
    assert set(opened.features) == {"image", *COLUMNS}
    np.testing.assert_array_equal(np.asarray(opened[6]["image"]), pictures(7)[6])
    assert opened["clip"][:] == table.rows["clip"].tolist()
    assert opened[3]["landmarks"] == pytest.approx(table.rows["landmarks"][3])
    assert opened.select([1, 5])[1]["frame"] == 5


def test_faces_are_taken_into_a_table_of_their_own(tmp_path: Path) -> None:
    table = written(tmp_path / "faces")
    taken = table.take([4, 1], tmp_path / "taken")
    np.testing.assert_array_equal(taken.images([0, 1]), pictures(5)[[4, 1]])
    assert taken.rows["frame"].tolist() == [4, 1]
    assert taken.profile == table.profile


def test_outcomes_are_kept_beside_the_faces(tmp_path: Path) -> None:
    outcomes = pd.DataFrame({"archive": ["a"], "clip": ["c"], "frame": [3], "outcome": ["no_face"]})
    table = FaceTable.write(tmp_path / "faces", rows(2), map(encode, pictures(2)), PROFILE, outcomes)
    assert table.outcomes is not None
    assert table.outcomes.to_dict("records") == outcomes.to_dict("records")
    assert written(tmp_path / "other").outcomes is None


def test_decoded_faces_are_kept_up_to_the_memory_granted(tmp_path: Path) -> None:
    written(tmp_path / "faces")
    table = FaceTable.load(tmp_path / "faces", cache_bytes=2 * 32 * 32 * 3)
    for _ in range(2):
        np.testing.assert_array_equal(table.images(range(5)), pictures(5))
    assert len(table._decoded) == 2


def test_a_caller_who_paints_on_the_images_does_not_change_the_table(tmp_path: Path) -> None:
    table = written(tmp_path / "faces")
    table.images([0])[:] = 0
    np.testing.assert_array_equal(table.images([0]), pictures(5)[:1])


def test_a_worker_process_opens_the_same_table(tmp_path: Path) -> None:
    table = written(tmp_path / "faces")
    parcel = pickle.dumps(table)
    assert len(parcel) < 1000
    np.testing.assert_array_equal(pickle.loads(parcel).images([1]), table.images([1]))


def test_writing_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    before = files(written(tmp_path / "faces").path)
    with pytest.raises(BadArchive, match="32x32 px as the first, found 16x16 in 'faceswap"):
        FaceTable.write(tmp_path / "faces", rows(2), [encode(pictures(1)[0]), encode(pictures(1, 16)[0])], PROFILE)
    assert files(tmp_path / "faces") == before
    assert [folder.name for folder in tmp_path.iterdir()] == ["faces"]


def test_a_table_without_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoFaceFound, match="at least one face"), Writer(tmp_path / "faces", PROFILE) as writer:
        writer.finish()
    assert not list(tmp_path.iterdir())


def test_rows_that_lack_a_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="missing: label, split"):
        FaceTable.write(tmp_path / "faces", rows(1).drop(columns=["label", "split"]), [b""], PROFILE)


def test_a_folder_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="expected a face table"):
        FaceTable.load(tmp_path)


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    table = written(tmp_path / "faces")
    shard = next(table.path.glob("data-*"))
    shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(BadArchive, match="damaged"):
        FaceTable.load(table.path)


def test_a_table_that_lost_a_shard_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_table, "BATCH_ROWS", 2)
    monkeypatch.setattr(face_table, "SHARD_ROWS", 4)
    table = written(tmp_path / "faces", 9)
    next(table.path.glob("data-00001*")).unlink()
    with pytest.raises(BadArchive, match="should hold 9 faces, found 5"):
        FaceTable.load(table.path)


def test_a_table_that_was_written_before_quality_was_measured_has_it_unknown(tmp_path: Path) -> None:
    table = FaceTable.write(tmp_path / "old", rows(3), [BLACK] * 3, PROFILE)
    (shard,) = table.path.glob("data-*.arrow")
    with pa.ipc.open_stream(pa.memory_map(str(shard))) as stream:
        older = stream.read_all().drop_columns(list(quality.COLUMNS))
    with pa.ipc.new_stream(str(tmp_path / "older.arrow"), older.schema) as sink:
        sink.write_table(older)
    (tmp_path / "older.arrow").replace(shard)
    again = FaceTable.load(table.path)
    assert again.rows[list(quality.COLUMNS)].isna().all(axis=None)
    assert again.take([0, 1, 2], tmp_path / "copy").digest == table.digest
