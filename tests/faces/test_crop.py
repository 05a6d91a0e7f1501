"""Stage crop: every clip becomes faces, every frame that failed is written down, and a failure changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import orders
from components.archives import manifest as manifests
from components.errors import BadArchive, NoFaceFound
from components.faces import alignment, extraction, workers
from components.faces import crop as stage
from components.faces.crop import crop
from components.faces.detection import build
from components.faces.detection.annotated import Annotated
from components.faces.table import FaceTable
from components.params import CropOptions, ValidationOptions, Withdrawal

COLOURS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]]
PARAMS = CropOptions(frames=4, size_px=64)
LENGTH = 12


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    return 30 + alignment.template(96, 1.3)


class World:
    """A small archive with annotated clips and a still, and the folders of the stages before crop."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.archive = root / "archives" / "small"
        self.clips: list[tuple[Any, ...]] = []
        self.annotations: list[tuple[str, int, list[float]]] = []
        self.masks: dict[str, str] = {}

    def add(self, path: str, frames: int, label: int, landmarks: np.ndarray, seen: range | list[int]) -> None:
        kind = "clip" if path.endswith(".mp4") else "image"
        about = (label, "swap" if label else "genuine", "", f"source of {path}", "test")
        self.clips.append((path, path, *about, kind, frames, 160, 160))
        self.annotations += [(path, index, landmarks.ravel().tolist()) for index in seen]

    def mask(self, path: str, file: str) -> None:
        """The mask of a clip that was added."""
        self.masks[path] = file

    def crop(
        self,
        name: str = "small",
        *,
        detector: str = "annotated",
        params: CropOptions = PARAMS,
        withdrawn: Sequence[Withdrawal] = (),
        **rules: Any,
    ) -> FaceTable:
        table = pd.DataFrame(self.clips, columns=manifests.SCHEMA.names).sort_values("path", ignore_index=True)
        if self.masks:
            table["mask"] = [self.masks.get(path, "") for path in table["path"]]
        manifests.write(table, self.root / "manifests" / manifests.MANIFEST_FILE)
        pd.DataFrame(self.annotations, columns=["file", "frame", "landmarks"]).to_parquet(
            self.archive / "landmarks.parquet"
        )
        report = self.root / "validation" / "report.json"
        report.parent.mkdir(exist_ok=True)
        report.write_text(json.dumps({"passed": True}))
        orders.write(self.root / "withdrawn.yaml", withdrawn)
        return crop(
            self.archive,
            self.root / "manifests",
            report.parent,
            self.root / "withdrawn.yaml",
            self.root / "weights.txt",
            self.root / "faces" / name,
            name="small",
            detector=detector,
            faces_params=params,
            validation_params=ValidationOptions(min_per_class=1, **rules),
        )


@pytest.fixture
def world(tmp_path: Path, film: Callable[..., Path], grey: Callable[..., np.ndarray], landmarks: np.ndarray) -> World:
    world = World(tmp_path)
    for number, label in enumerate((0, 1, 0)):
        path = f"clips/{number}.mp4"
        film(world.archive / path, [grey(40 + 15 * i, landmarks) for i in range(LENGTH)])
        world.add(path, LENGTH, label, landmarks, range(LENGTH))
    still = world.archive / "stills" / "a.png"
    still.parent.mkdir()
    from PIL import Image

    Image.fromarray(grey(77, landmarks)).save(still)
    world.add("stills/a.png", 1, 1, landmarks, [0])
    return world


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_every_clip_gives_evenly_spaced_aligned_faces(world: World) -> None:
    table = world.crop()
    assert table.rows["clip"].tolist() == [f"clips/{i}.mp4" for i in (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)] + [
        "stills/a.png"
    ]
    assert table.rows["frame"].tolist() == [0, 4, 7, 11] * 3 + [0]
    images, places = table.images(range(13)), alignment.template(64, 1.3)
    assert images.shape == (13, 64, 64, 3)
    for image, frame, found in zip(images[:12], table.rows["frame"], table.rows["landmarks"], strict=False):
        np.testing.assert_allclose(np.reshape(found, (5, 2)), places, atol=1e-3)
        assert abs(int(image[2, 2, 0]) - (40 + 15 * frame)) < 8, "the grey of its frame"
        for (x, y), colour in zip(places, COLOURS, strict=True):
            np.testing.assert_allclose(image[round(y), round(x)], colour, atol=70)


def test_a_clip_has_the_frames_that_its_manifest_says_and_is_not_counted_again(world: World) -> None:
    first, *others = world.clips
    world.clips = [(*first[:8], 6, *first[9:]), *others]
    rows = world.crop().rows
    assert rows.loc[rows["clip"] == "clips/0.mp4", "frame"].tolist() == [0, 2, 3, 5]


def test_a_face_carries_what_the_manifest_says_of_its_clip(world: World) -> None:
    rows = world.crop().rows
    assert set(rows["archive"]) == {"small"}
    assert rows.drop_duplicates("clip")["label"].tolist() == [0, 1, 0, 1]
    assert rows.drop_duplicates("clip")["method"].tolist() == ["genuine", "swap", "genuine", "swap"]
    assert (rows["source"] == "source of " + rows["clip"]).all()
    assert set(rows["split"]) == {"test"}


def test_cropping_twice_gives_the_same_bytes_however_many_threads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.crop("one")
    monkeypatch.setattr(workers, "THREADS", 5)
    monkeypatch.setattr(Annotated, "batch", 3)
    again = world.crop("again")
    assert files(one.path) == files(again.path)


def test_the_profile_tells_how_the_faces_were_made(world: World) -> None:
    table = world.crop()
    about = json.loads((table.path / "faces.json").read_text())
    assert about["profile"].items() >= {"detector": "annotated", "weights": None, "size_px": 64, "frames": 4}.items()
    assert about["digest"] == table.digest
    assert about["faces"] == 13


def test_a_frame_without_a_face_is_written_down_and_replaced_by_the_nearest_with_one(
    world: World, landmarks: np.ndarray
) -> None:
    world.annotations = [row for row in world.annotations if row[:2] not in {("clips/1.mp4", i) for i in (4, 5, 3)}]
    table = world.crop()
    assert table.outcomes is not None
    seen = table.outcomes[table.outcomes["clip"] == "clips/1.mp4"]
    assert dict(zip(seen["frame"], seen["outcome"], strict=True)) == {
        0: "ok",
        3: "no_face",
        4: "no_face",
        5: "no_face",
        6: "ok",
        7: "ok",
        11: "ok",
    }
    assert table.rows[table.rows["clip"] == "clips/1.mp4"]["frame"].tolist() == [0, 6, 7, 11]


def test_landmarks_on_one_point_are_an_outcome_not_a_crash(world: World) -> None:
    world.annotations = [
        (clip, frame, [50.0] * 10 if (clip, frame) == ("clips/0.mp4", 0) else points)
        for clip, frame, points in world.annotations
    ]
    outcomes = world.crop().outcomes
    assert outcomes is not None
    assert outcomes.set_index(["clip", "frame"])["outcome"]["clips/0.mp4", 0] == "no_alignment"


def test_a_clip_without_a_face_leaves_its_outcomes(world: World) -> None:
    world.annotations = [row for row in world.annotations if row[0] != "clips/2.mp4"]
    table = world.crop(min_yield=0.5)
    assert table.outcomes is not None
    seen = table.outcomes[table.outcomes["clip"] == "clips/2.mp4"]
    assert set(seen["outcome"]) == {"no_face"}
    assert {0, 4, 7, 11} < set(seen["frame"]) <= set(range(LENGTH))
    assert "clips/2.mp4" not in set(table.rows["clip"])


def test_too_few_clips_with_a_face_are_refused_by_name_and_nothing_changes(world: World) -> None:
    before = files(world.crop().path)
    world.annotations = [row for row in world.annotations if row[0] != "clips/2.mp4"]
    with pytest.raises(NoFaceFound, match=r"1 of 4 clips in 'small' gave no face .*\(allowed: 10%\): 'clips/2\.mp4'"):
        world.crop()
    assert files(world.root / "faces" / "small") == before
    assert [folder.name for folder in (world.root / "faces").iterdir()] == ["small"]


def test_an_archive_without_any_face_is_refused_whatever_the_yield_asked_for(world: World) -> None:
    world.annotations = world.annotations[:0]
    with pytest.raises(NoFaceFound, match="4 of 4 clips"):
        world.crop(min_yield=0.0)
    assert not (world.root / "faces" / "small").exists()


def test_clips_that_were_withdrawn_are_not_even_looked_at(world: World) -> None:
    gone = [
        Withdrawal(archive="small", source="source of clips/2.mp4"),
        Withdrawal(archive="other", clip="clips/1.mp4"),
    ]
    (world.archive / "clips" / "2.mp4").unlink()
    table = world.crop(withdrawn=gone)
    assert set(table.rows["clip"]) == {"clips/0.mp4", "clips/1.mp4", "stills/a.png"}
    everything = [Withdrawal(archive="small", clip=clip[0]) for clip in world.clips]
    with pytest.raises(BadArchive, match="found none that is not withdrawn"):
        world.crop(withdrawn=everything)


def test_a_single_face_that_was_withdrawn_is_left_out_and_its_clip_stays(world: World) -> None:
    before = world.crop("before").rows
    frames = before.query("clip == 'clips/0.mp4'")["frame"].tolist()
    table = world.crop(withdrawn=[Withdrawal(archive="small", clip="clips/0.mp4", frame=frames[1])])
    assert table.rows.query("clip == 'clips/0.mp4'")["frame"].tolist() == [frames[0], *frames[2:]]
    assert len(table) == len(before) - 1
    assert table.outcomes.query("clip == 'clips/0.mp4' and frame == @frames[1]").empty


def test_a_truncated_clip_is_refused_by_name_and_nothing_is_written(world: World) -> None:
    path = world.archive / "clips" / "1.mp4"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadArchive, match=r"clips/1\.mp4"):
        world.crop()
    assert not list((world.root / "faces").iterdir())


def test_a_broken_clip_is_told_and_passed_over_up_to_a_stated_share(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    path = world.archive / "clips" / "1.mp4"
    path.write_bytes(path.read_bytes()[:-500])
    table = world.crop(max_unreadable=0.25, min_yield=0.5)
    assert table.outcomes is not None
    of_clip = table.outcomes[table.outcomes["clip"] == "clips/1.mp4"]
    assert of_clip[["frame", "outcome"]].to_numpy().tolist() == [[-1, "unreadable"]]
    assert set(table.rows["clip"]) == {"clips/0.mp4", "clips/2.mp4", "stills/a.png"}
    assert (
        "1 of 4 clips in 'small' cannot be read (passed over: 25% at most):\n  'clips/1.mp4': "
        in capsys.readouterr().err
    )


def test_a_broken_still_takes_none_of_its_neighbours_along(world: World, landmarks: np.ndarray) -> None:
    for name in ("b", "c"):
        (world.archive / "stills" / f"{name}.png").write_bytes((world.archive / "stills" / "a.png").read_bytes())
        world.add(f"stills/{name}.png", 1, 1, landmarks, [0])
    broken = world.archive / "stills" / "b.png"
    broken.write_bytes(broken.read_bytes()[:-40])
    table = world.crop(max_unreadable=0.2, min_yield=0.5)
    assert {"stills/a.png", "stills/c.png"} < set(table.rows["clip"])
    assert "stills/b.png" not in set(table.rows["clip"])


def test_a_clip_that_is_gone_is_no_broken_clip(world: World) -> None:
    (world.archive / "clips" / "1.mp4").unlink()
    with pytest.raises(BadArchive, match=r"clips/1\.mp4.*nothing is there"):
        world.crop(max_unreadable=1.0, min_yield=0.0)


def test_every_face_tells_how_good_it_is(world: World) -> None:
    rows = world.crop().rows
    assert (rows["face_px"] > 20).all() and (rows["sharpness"] > 0).all()
    assert rows["brightness"].between(0, 255).all()
    assert rows[["yaw_deg", "pitch_deg", "roll_deg"]].abs().to_numpy().max() < 20
    assert rows.dtypes[["sharpness", "roll_deg"]].eq(np.float32).all()


# masks


def white(columns: int, size: int = 160) -> np.ndarray:
    """A frame of a mask: the first columns are manipulated."""
    mask = np.zeros((size, size, 3), np.uint8)
    mask[:, :columns] = 255
    return mask


def test_the_mask_of_a_frame_goes_where_its_face_goes(
    world: World, film: Callable[..., Path], landmarks: np.ndarray
) -> None:
    edges = [60 + 3 * i for i in range(LENGTH)]
    film(world.archive / "masks" / "1.mkv", [white(edge) for edge in edges])
    world.mask("clips/1.mp4", "masks/1.mkv")
    table = world.crop()
    forged = table.rows.index[table.rows["clip"] == "clips/1.mp4"]
    masks = table.masks(forged)
    assert masks is not None and masks.shape == (4, 16, 16)
    matrix = alignment.similarity(landmarks, alignment.template(64, 1.3))
    for mask, frame in zip(masks, table.rows["frame"][forged], strict=True):
        expected = alignment.move(matrix, np.array([[edges[frame] - 0.5, 80.0]]))[0, 0] + 0.5  # px of the crop
        np.testing.assert_allclose(mask.sum(axis=1) * alignment.MASK_CELL, expected, atol=0.3)
    others = table.rows.index.difference(forged)
    assert table.masks(others) is None


def test_masks_change_nothing_but_the_column_of_masks(world: World, film: Callable[..., Path]) -> None:
    plain = world.crop("plain")
    film(world.archive / "masks" / "1.mkv", [white(80)] * LENGTH)
    world.mask("clips/1.mp4", "masks/1.mkv")
    table = world.crop("masked")
    pd.testing.assert_frame_equal(table.rows, plain.rows)
    assert table.encoded(range(len(table))) == plain.encoded(range(len(plain)))
    assert table.profile == plain.profile
    assert table.digest != plain.digest


def test_after_the_last_frame_of_a_mask_nobody_knows(world: World, film: Callable[..., Path]) -> None:
    film(world.archive / "masks" / "1.mkv", [white(80)] * 6)
    world.mask("clips/1.mp4", "masks/1.mkv")
    table = world.crop()
    masks = table.masks(table.rows.index[table.rows["clip"] == "clips/1.mp4"])
    assert masks is not None
    assert np.isnan(masks).any(axis=(1, 2)).tolist() == [False, False, True, True]  # frames 0, 4, 7, 11


@pytest.mark.parametrize("detector", ["annotated", "none"])
def test_a_still_has_a_still_for_a_mask(world: World, detector: str) -> None:
    from PIL import Image

    (world.archive / "masks").mkdir()
    Image.fromarray(white(80)[..., 0]).convert("1").save(world.archive / "masks" / "a.png")
    world.mask("stills/a.png", "masks/a.png")
    table = world.crop(detector=detector)
    masks = table.masks(table.rows.index[table.rows["clip"] == "stills/a.png"])
    assert masks is not None and masks.shape == (1, 16, 16)
    assert (masks[0, :, :7] == 1).all() and (masks[0, :, 9:] == 0).all()


def test_a_coloured_mask_with_the_noise_of_its_codec_tells_the_same(world: World, film: Callable[..., Path]) -> None:
    """As in FaceForensics++."""
    coloured = [np.where(white(80) > 0, np.array([40, 90, 200], np.uint8), np.uint8(0)) for _ in range(LENGTH)]
    film(world.archive / "masks" / "1.mp4", coloured)
    world.mask("clips/1.mp4", "masks/1.mp4")
    table = world.crop()
    masks = table.masks(table.rows.index[table.rows["clip"] == "clips/1.mp4"])
    assert masks is not None
    assert (masks[:, :, :7] == 1).all() and (masks[:, :, 9:] == 0).all()


def test_a_mask_that_cannot_be_read_is_refused_by_name_and_nothing_is_written(world: World) -> None:
    (world.archive / "masks").mkdir()
    (world.archive / "masks" / "1.mkv").write_bytes(b"no mask")
    world.mask("clips/1.mp4", "masks/1.mkv")
    with pytest.raises(BadArchive, match=r"masks/1\.mkv"):
        world.crop()
    assert not list((world.root / "faces").iterdir())


def test_a_mask_outside_the_archive_is_refused(world: World) -> None:
    world.mask("clips/1.mp4", "../1.mkv")
    with pytest.raises(BadArchive, match=r"found '\.\./1\.mkv', which leads out of it"):
        world.crop()


@pytest.mark.parametrize("path", ["../secret.png", "/etc/secret.png", "clips/../../secret.png", "C:\\secret.png"])
def test_a_path_that_leads_out_of_the_archive_is_refused(world: World, path: str) -> None:
    world.clips[0] = (path, *world.clips[0][1:])
    with pytest.raises(BadArchive, match="leads out of it"):
        world.crop()


def test_faces_that_are_crops_already_keep_their_content_and_claim_no_landmarks(world: World) -> None:
    table = world.crop(detector="none", params=CropOptions(frames=1, size_px=160))
    still = int(table.rows.index[table.rows["clip"] == "stills/a.png"][0])
    from components.faces import frames

    np.testing.assert_array_equal(table.images([still])[0], next(frames.read(world.archive / "stills" / "a.png", 1))[1])
    assert np.isnan(table.rows["landmarks"][still]).all()
    assert table.rows["box"][still] == [0, 0, 160, 160]
    assert table.rows["score"][still] == 1


def test_an_archive_that_was_not_validated_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="Run validate@small"):
        crop(
            world.archive,
            tmp_path,
            tmp_path,
            tmp_path / "withdrawn.yaml",
            tmp_path / "weights.txt",
            tmp_path / "faces",
            name="small",
            detector="none",
            faces_params=PARAMS,
            validation_params=ValidationOptions(),
        )


def test_stills_share_a_job_and_videos_do_not(tmp_path: Path) -> None:
    paths = ["a.mp4", "b.png", "c.jpg", "d.mp4", "e.mp4", *(f"{i:03d}.png" for i in range(40))]
    kinds = ["clip" if path.endswith("mp4") else "image" for path in paths]
    clips = pd.DataFrame({"path": paths, "kind": kinds})
    assert [len(job) for job in stage._jobs(tmp_path, clips)] == [1, 2, 1, 1, 32, 8]


@pytest.mark.slow
def test_the_stage_runs_from_the_command_line(world: World) -> None:
    world.crop("by_hand")
    (world.root / "params.yaml").write_text("faces: {frames: 4, size_px: 64}\nvalidation: {min_per_class: 1}\n")
    arguments = [
        "archives/small",
        "manifests",
        "validation",
        "withdrawn.yaml",
        "weights.txt",
        "faces/small",
        "--name",
        "small",
        "--detector",
        "annotated",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "components.faces.crop", *arguments],
        cwd=world.root,
        env={"PYTHONPATH": str(Path(stage.__file__).parents[2]), "PATH": "", "HOME": str(world.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert files(world.root / "faces" / "small") == files(world.root / "faces" / "by_hand")


# one file, as serving scores it


@pytest.mark.usefixtures("yunet")
def test_one_file_gives_its_faces(real_data: Path) -> None:
    clip = next((real_data / "clips").rglob("519.mp4"))
    faces, indices, outcomes = extraction.faces_of(clip, build("yunet", PARAMS), PARAMS)
    assert faces.shape == (4, 64, 64, 3)
    assert faces.dtype == np.uint8
    assert indices.tolist() == [0, 250, 500, 750]
    assert outcomes == [(0, "ok"), (250, "ok"), (500, "ok"), (750, "ok")]


@pytest.mark.usefixtures("yunet")
def test_one_file_without_a_face_says_so(tmp_path: Path, film: Callable[..., Path], grey: Callable[..., Any]) -> None:
    wall = film(tmp_path / "wall.mp4", [grey(100)] * 5)
    with pytest.raises(NoFaceFound, match=r"expected a face in '.*wall\.mp4', found none in the 5 frames"):
        extraction.faces_of(wall, build("yunet", PARAMS), PARAMS)


@pytest.mark.slow
@pytest.mark.usefixtures("yunet")
def test_every_real_clip_gives_a_face_in_nearly_every_frame(real_data: Path) -> None:
    params = CropOptions(frames=8)
    detector = build("yunet", params)
    clips = sorted((real_data / "clips").rglob("*.mp4"))
    for clip in clips:
        faces, _, _ = extraction.faces_of(clip, detector, params)
        assert len(faces) >= 7, clip


def test_replacements_are_never_used_twice() -> None:
    spares = extraction._spares([4, 7], {0, 4, 7, 11}, 12)
    assert spares == {4: [5, 3, 6, 2], 7: [8, 9, 10]}
