"""Every public layout reads a tree grown from what its publisher and its loaders say of it; nothing here asks the adapter."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from components.archives import layouts, manifest
from components.archives.held_out import position
from components.archives.listing import Clip
from components.errors import BadArchive

Plant = Callable[..., Path]


def sound(layout: str, root: Path) -> list[Clip]:
    """The clips of an archive, of which nothing is learned and examined."""
    assert layout in layouts.recognise(root)
    clips = layouts.read(layout, root)
    for names in ({(c.source, c.split) for c in clips}, {(c.identity, c.split) for c in clips if c.identity}):
        assert max(Counter(name for name, _ in names).values(), default=1) == 1
    assert all(clip.source for clip in clips)
    return clips


def counted(clips: Iterable[Clip]) -> dict[tuple[int, str, str], int]:
    return dict(Counter((clip.label, clip.method, clip.split) for clip in clips))


def by_path(clips: Iterable[Clip]) -> dict[str, Clip]:
    return {clip.path: clip for clip in clips}


def table(*rows: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


# --- FaceForensics++ and DeepFakeDetection


METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")


def ffpp(quality: str = "c23") -> list[str]:
    """Both videos and all ten forgeries of one official pair of each split."""
    names = []
    for a, b in (("071", "054"), ("720", "672"), ("953", "974")):
        names += [f"original_sequences/youtube/{quality}/videos/{one}.mp4" for one in (a, b)]
        for method in METHODS:
            names += [f"manipulated_sequences/{method}/{quality}/videos/{p}.mp4" for p in (f"{a}_{b}", f"{b}_{a}")]
    return names


def dfd() -> list[str]:
    """28 actors in one scene each, and everybody with the face of the next."""
    names = [f"original_sequences/actors/c23/videos/{n:02d}__walking.mp4" for n in range(1, 29)]
    pairs = ((n, n % 28 + 1) for n in range(1, 29))
    folder = "manipulated_sequences/DeepFakeDetection/c23/videos"
    return [*names, *(f"{folder}/{a:02d}_{b:02d}__walking__ABCD{a:04d}.mp4" for a, b in pairs)]


def test_the_whole_download_of_faceforensics_lands_as_two_archives(plant: Plant) -> None:
    root = plant([*ffpp(), *dfd()])
    first, second = sound("faceforensics", root), sound("dfd", root)
    assert counted(first) == {
        (label, method, split): 2
        for split in ("train", "val", "test")
        for label, method in ((0, "genuine"), *((1, method) for method in METHODS))
    }
    assert {clip.method for clip in second} == {"genuine", "DeepFakeDetection"}
    assert not by_path(first).keys() & by_path(second).keys()
    words = layouts.survey("faceforensics", root).words()
    assert any(words_.startswith("56 files left out: they are DeepFakeDetection") for words_ in words)


def test_every_compression_and_its_mask_is_read_and_a_pair_is_one_source(plant: Plant) -> None:
    masks = ["manipulated_sequences/Deepfakes/masks/videos/071_054.mp4"]
    clips = by_path(sound("faceforensics", plant([*ffpp(), *ffpp("c40"), *ffpp("raw"), *masks])))
    assert len(clips) == 3 * 36
    masked = {path for path, clip in clips.items() if clip.mask}
    assert masked == {f"manipulated_sequences/Deepfakes/{q}/videos/071_054.mp4" for q in ("c23", "c40", "raw")}
    assert {clip.source for path, clip in clips.items() if "071" in path} == {"054_071"}
    assert layouts.spanning("faceforensics", "054_071") == "ffpp:054_071"


def test_dfd_is_cut_by_actor_and_a_forgery_has_both_actors_on_one_side(plant: Plant) -> None:
    root = plant(dfd())
    clips = sound("dfd", root)
    side = {clip.identity: clip.split for clip in clips if clip.label == 0}
    assert len(side) == 28
    assert 2 <= sum(split == "test" for split in side.values()) <= 12
    forged = [clip for clip in clips if clip.label == 1]
    for clip in forged:
        target, lent = Path(clip.path).stem.split("__")[0].split("_")
        assert side[f"dfd:{target}"] == side[f"dfd:{lent}"] == clip.split
        assert clip.source == f"dfd:{target}__walking"
    left = layouts.survey("dfd", root).left_out["one of its people is examined and another learned"]
    assert len(left) == 28 - len(forged) > 0


def test_a_partial_copy_of_dfd_is_cut_as_the_whole_one(plant: Plant) -> None:
    whole = by_path(sound("dfd", plant(dfd())))
    part = by_path(sound("dfd", plant(dfd()[3:20], at="part")))
    assert part == {path: whole[path] for path in part}


# --- Celeb-DF


def celeb(level: str = "") -> tuple[list[str], str]:
    """Six videos of three people and what was made of them; the list names one video, one forgery of another and a stranger."""
    names = [f"Celeb-real/{level}id{n}_000{take}.mp4" for n in range(3) for take in range(2)]
    names += [f"YouTube-real/{level}0017{n}.mp4" for n in range(3)]
    swaps = [(a, b, take) for a in range(3) for b in range(3) for take in range(2) if a != b]
    names += [f"Celeb-synthesis/{level}id{a}_id{b}_000{take}.mp4" for a, b, take in swaps]
    listed = "1 YouTube-real/00170.mp4\n1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id1_id2_0001.mp4\n"
    return names, listed


@pytest.mark.parametrize("layout", ["celebdf_v1", "celebdf_v2"])
@pytest.mark.parametrize("level", ["", "videos/"])
def test_celeb_df_is_examined_on_its_list_and_learns_no_video_of_it(plant: Plant, layout: str, level: str) -> None:
    names, listed = celeb(level)
    root = plant(names, {"List_of_testing_videos.txt": listed})
    clips = by_path(sound(layout, root))
    assert {Path(path).stem for path, clip in clips.items() if clip.split == "test"} == {
        "00170",
        "id0_0000",
        "id1_id2_0001",
    }
    assert counted(clips.values()) == {
        (0, "genuine", "test"): 2,
        (0, "genuine", "train"): 6,  # of 7: id1_0001 is the video behind a test forgery
        (1, "Celeb-DF", "test"): 1,
        (1, "Celeb-DF", "train"): 8,  # of 11: two were made from id0_0000, one more from id1_0001
    }
    forged = clips[f"Celeb-synthesis/{level}id2_id0_0001.mp4"]
    assert (forged.source, forged.identity) == ("celebdf:id2_0001", "")
    assert layouts.spanning(layout, forged.source) == forged.source


def test_a_list_of_celeb_df_that_calls_a_forgery_real_is_a_label_mismatch(plant: Plant) -> None:
    names, listed = celeb()
    root = plant(names, {"List_of_testing_videos.txt": listed.replace("0 Celeb-syn", "1 Celeb-syn")})
    with pytest.raises(BadArchive, match=r"list says real, its place forged \(1\): 'Celeb-synthesis/id1_id2_0001"):
        layouts.read("celebdf_v2", root)


def test_celeb_df_without_its_list_is_refused_because_test_clips_would_be_learned(plant: Plant) -> None:
    with pytest.raises(BadArchive, match=r"expected the official list 'List_of_testing_videos.txt'"):
        layouts.read("celebdf_v2", plant(celeb()[0]))


def test_celeb_df_pp_reads_families_and_methods_and_shares_the_sources_of_v2(plant: Plant) -> None:
    reals = [name for name in celeb()[0] if "synthesis" not in name]
    names = [
        f"Celeb-synthesis/{family}/{method}/{stem}.mp4"
        for family, method, stem in (
            ("FaceSwap", "Celeb-DF", "id0_id1_0000"),
            ("FaceSwap", "GHOST", "id0_id1_0001"),
            ("FaceReenact", "LivePortrait", "id2_id1_0000"),
            ("TalkingFace", "SadTalker", "id2_0001_test_00012"),
        )
    ]
    listed = "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/TalkingFace/SadTalker/id2_0001_test_00012.mp4\n"
    clips = by_path(sound("celebdf_pp", plant(reals + names, {"List_of_testing_videos.txt": listed})))
    talking = clips["Celeb-synthesis/TalkingFace/SadTalker/id2_0001_test_00012.mp4"]
    assert (talking.source, talking.split, talking.method) == ("celebdf:id2_0001", "test", "SadTalker")
    assert "Celeb-real/id2_0001.mp4" not in clips  # the video behind a test clip
    assert "Celeb-synthesis/FaceSwap/Celeb-DF/id0_id1_0000.mp4" not in clips
    assert {clip.method for clip in clips.values()} == {"genuine", "GHOST", "LivePortrait", "SadTalker"}


# --- DFDC


def test_dfdc_preview_has_the_sets_and_people_of_its_list(plant: Plant) -> None:
    def row(label: str, of: str, target: int, swapped: int | None) -> dict[str, Any]:
        return {"label": label, "set": of, "target_id": target, "swapped_id": swapped, "augmentations": []}

    listed = {
        "original_videos/1/1_A_001.mp4": row("real", "train", 1, None),
        "original_videos/2/2_A_001.mp4": row("real", "test", 2, None),
        "method_A/1/1_A/3_1_A_001.mp4": row("fake", "train", 1, 3),
        "method_B/2/2_A/4_2_A_001.mp4": row("fake", "test", 2, 4),
        "method_B/2/2_A/3_2_A_001.mp4": row("fake", "test", 2, 3),
    }
    root = plant(listed, {"dataset.json": json.dumps(listed)})
    clips = by_path(sound("dfdc_preview", root))
    assert counted(clips.values()) == {
        (0, "genuine", "train"): 1,
        (0, "genuine", "test"): 1,
        (1, "method_B", "test"): 2,
    }  # actor 3 lends the face of a test clip: what was made with it is not learned
    assert clips["method_B/2/2_A/4_2_A_001.mp4"].source == clips["original_videos/2/2_A_001.mp4"].source == "dfdcp:2_A"
    assert clips["original_videos/1/1_A_001.mp4"].identity == "dfdcp:1"


def test_a_preview_clip_that_its_list_calls_forged_among_the_originals_is_a_label_mismatch(plant: Plant) -> None:
    listed = {"original_videos/1/1_A_001.mp4": {"label": "fake", "set": "train"}}
    with pytest.raises(BadArchive, match=r"list says forged, its place real \(1\): 'original_videos/1/1_A_001.mp4'"):
        layouts.read("dfdc_preview", plant(listed, {"dataset.json": json.dumps(listed)}))


def test_dfdc_joins_a_forgery_to_its_original_across_parts(plant: Plant) -> None:
    parts: dict[str, dict[str, Any]] = {"dfdc_train_part_0": {}, "dfdc_train_part_1": {}}
    for n in range(20):
        original, fake = f"real{chr(97 + n)}aaaaa.mp4", f"fake{chr(97 + n)}aaaaa.mp4"
        parts["dfdc_train_part_0"][original] = {"label": "REAL", "split": "train"}
        parts["dfdc_train_part_1"][fake] = {"label": "FAKE", "split": "train", "original": original}
    names = [f"{part}/{file}" for part, rows in parts.items() for file in rows]
    cards = {f"{part}/metadata.json": json.dumps(rows) for part, rows in parts.items()}
    clips = by_path(sound("dfdc", plant(names, cards)))
    assert len(clips) == 40
    assert {clip.split for clip in clips.values()} == {"train", "test"}
    for n in "abc":
        assert clips[f"dfdc_train_part_1/fake{n}aaaaa.mp4"].source == f"dfdc:real{n}aaaaa"
    with_test = plant(
        [*names, "test/xaaaaaaaaa.mp4", "test/yaaaaaaaaa.mp4"],
        cards | {"test/labels.csv": table(("filename", "label"), ("xaaaaaaaaa.mp4", "0"), ("yaaaaaaaaa.mp4", "1"))},
        at="whole",
    )
    assert counted(sound("dfdc", with_test)) == {
        (0, "genuine", "train"): 20,
        (1, "DFDC", "train"): 20,
        (0, "genuine", "test"): 1,
        (1, "DFDC", "test"): 1,
    }


def test_one_part_of_dfdc_lands_by_itself_and_a_file_its_list_does_not_know_is_extra(plant: Plant) -> None:
    listed = {"aaaaaaaaaa.mp4": {"label": "REAL", "split": "train"}}
    root = plant(["aaaaaaaaaa.mp4"], {"metadata.json": json.dumps(listed)})
    assert [clip.label for clip in sound("dfdc", root)] == [0]
    plant(["bbbbbbbbbb.mp4"])
    with pytest.raises(BadArchive, match=r"present but not listed \(1\): 'bbbbbbbbbb.mp4'"):
        layouts.read("dfdc", root)


def test_the_real_clips_of_dfdc_are_read(real_data: Path) -> None:
    clips = layouts.read("dfdc", real_data / "clips" / "dfdc_train_part_0")
    assert Counter(clip.label for clip in clips) == {0: 2, 1: 2}


# --- DeeperForensics, DF40, DFDM: forgeries of other archives' genuine clips


def test_deeperforensics_puts_all_variants_of_an_id_and_its_genuine_video_in_one_split(plant: Plant) -> None:
    variants = ("end_to_end", "end_to_end_level_3", "end_to_end_mix_2_distortions", "reenact_postprocess")
    pairs = {"train": "033_W010", "val": "097_M004", "test": "953_W101"}
    names = [f"manipulated_videos/{variant}/{pair}.mp4" for variant in variants for pair in pairs.values()]
    names += [f"original_sequences/youtube/c23/videos/{pair[:3]}.mp4" for pair in pairs.values()]
    names += ["source_videos/M004/light_up/happy/camera_front/M004_light_up_happy_camera_front.mp4"]
    lists = {f"lists/splits/{split}.txt": f"{pair}.mp4\n" for split, pair in pairs.items()}
    clips = sound("deeperforensics", plant(names, lists))
    assert counted(clips) == {(1, v, split): 1 for v in variants for split in pairs} | {
        (0, "genuine", split): 1 for split in pairs
    }
    assert {(clip.source, clip.identity, clip.split) for clip in clips} == {
        (f"ffpp:{pair[:3]}", f"ffpp:{pair[:3]}", split) for split, pair in pairs.items()
    }


def test_deeperforensics_in_part_names_what_its_lists_have_and_refuses_what_they_have_not(plant: Plant) -> None:
    lists = {f"lists/splits/{split}.txt": f"{n:03d}_M004.mp4\n" for n, split in enumerate(("train", "val", "test"))}
    root = plant(["manipulated_videos/end_to_end/000_M004.mp4"], lists)
    seen = layouts.survey("deeperforensics", root)
    assert seen.missing == ["manipulated_videos/*/001_M004.mp4", "manipulated_videos/*/002_M004.mp4"]
    assert any(words.startswith("No genuine clip is here") for words in seen.words())
    plant(["manipulated_videos/end_to_end/000_M005.mp4"])
    with pytest.raises(BadArchive, match=r"in no split list \(1\): 'manipulated_videos/end_to_end/000_M005.mp4'"):
        layouts.read("deeperforensics", root)


def test_df40_shares_the_sources_of_what_it_was_made_from(plant: Plant) -> None:
    names = [
        "DF40_train/simswap/ff/frames/071_054/000.png",
        "DF40_train/MRAA/ff/frames/054/000.png",
        "DF40/simswap/ff/frames/953_974/000.png",
        "DF40/simswap/cdf/frames/id0_id1_0002/000.png",
        "DF40/MidJourney/fake/0001.png",
        "DF40/MidJourney/real/0001.png",
        "DF40/heygen/fake/talk_1/000.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/071/000.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/953/000.png",
        "Celeb-DF-v2/Celeb-real/frames/id0_0002/000.png",
    ]
    clips = by_path(sound("df40", plant(names)))
    assert {path: (clip.source, clip.split) for path, clip in clips.items()} == {
        names[0]: ("ffpp:054_071", "train"),
        names[1]: ("ffpp:054_071", "train"),
        names[2]: ("ffpp:953_974", "test"),
        names[3]: ("celebdf:id0_0002", "test"),
        names[4]: ("df40:MidJourney/0001", "test"),
        names[5]: ("df40:MidJourney/0001", "test"),
        names[6]: ("df40:heygen/talk_1", "test"),
        names[7]: ("ffpp:054_071", "train"),
        names[8]: ("ffpp:953_974", "test"),
        names[9]: ("celebdf:id0_0002", "test"),
    }
    assert {clip.method for clip in clips.values()} == {"genuine", "simswap", "MRAA", "MidJourney", "heygen"}


def test_dfdm_is_one_source_in_all_compressions_and_cut_by_celebrity(plant: Plant) -> None:
    people = range(30)
    names = [f"Celeb-real/id{n}_0001.mp4" for n in people]
    for crf in ("crf0", "crf23"):
        names += [f"DFDM_{crf}/DFaker/id{n}_id{(n + 1) % 30}_0001_dfaker.mp4" for n in people]
    clips = sound("dfdm", plant(names))
    side = {clip.identity: clip.split for clip in clips if clip.label == 0}
    assert set(side.values()) == {"train", "test"}
    for clip in (clip for clip in clips if clip.label == 1):
        target, lent, take, _ = Path(clip.path).stem.split("_")
        assert side[f"celebdf:{target}"] == side[f"celebdf:{lent}"] == clip.split
        assert clip.source == f"celebdf:{target}_{take}"


def test_a_video_has_one_name_in_every_archive_that_shows_it(plant: Plant) -> None:
    card = {
        "FaceForensics++": {"FF-DF": {"train": {"071_054": {"label": "FF-DF", "frames": ["F/frames/071_054/0.png"]}}}}
    }
    grown = {
        "faceforensics": plant(["manipulated_sequences/Deepfakes/c23/videos/071_054.mp4"], at="one"),
        "df40": plant(["DF40_train/simswap/ff/frames/071_054/000.png"], at="two"),
        "deepfakebench": plant(["F/frames/071_054/0.png"], {"FF.json": json.dumps(card)}, at="three"),
        "gend": plant(
            ["datasets/FF/DF/071_054/0.png"],
            {"config/datasets/FF/train/DF.txt": "datasets/FF/DF/071_054/0.png"},
            at="four",
        ),
    }
    names = {layouts.spanning(layout, clip.source) for layout, root in grown.items() for clip in sound(layout, root)}
    assert names == {"ffpp:054_071"}
    assert layouts.spanning("crops", "ffpp:054_071") == "ffpp:054_071" and layouts.spanning("crops", "ann") == ""
    assert position("054_071") == position("ffpp:054_071")  # so that all hold out the same ones for validation


# --- found on the web, and several faces in a picture


def test_ffiw_pairs_by_name_and_carries_the_mask_that_tells_the_forged_face(plant: Plant) -> None:
    stems = [f"{split}/{split}_0000000{n}" for split in ("train", "val", "test") for n in range(2)]
    root = plant([f"{folder}/{stem}.mp4" for folder in ("source", "target", "target_mask") for stem in stems])
    clips = by_path(sound("ffiw", root))
    assert counted(clips.values()) == {
        (label, method, split): 2
        for label, method in ((0, "genuine"), (1, "FFIW"))
        for split in ("train", "val", "test")
    }
    forged = clips["target/val/val_00000001.mp4"]
    assert forged.mask == "target_mask/val/val_00000001.mp4"
    assert forged.source == clips["source/val/val_00000001.mp4"].source == "ffiw:val_00000001"
    rows = manifest.build(list(clips.values()), root, layout="ffiw", role="both")
    assert set(rows["frames"]) == {8}


def test_both_downloads_of_ffiw_may_lie_side_by_side(plant: Plant) -> None:
    homes = {"FFIW10K-v1-release": "train/train_00000000", "FFIW10K-v1-release-test": "test/test_00000000"}
    folders = ("source", "target", "target_mask")
    clips = sound("ffiw", plant([f"{home}/{folder}/{stem}.mp4" for home, stem in homes.items() for folder in folders]))
    assert Counter(clip.split for clip in clips) == {"train": 2, "test": 2}
    assert {clip.mask for clip in clips if clip.label} == {
        f"{home}/target_mask/{stem}.mp4" for home, stem in homes.items()
    }


def test_ffiw_without_its_later_test_part_cuts_one_off_and_keeps_val(plant: Plant) -> None:
    stems = [f"train/train_{n:08d}" for n in range(40)] + ["val/val_00000000"]
    clips = sound("ffiw", plant([f"{folder}/{stem}.mp4" for folder in ("source", "target") for stem in stems]))
    splits = Counter(clip.split for clip in clips)
    assert splits["val"] == 2 and splits["train"] + splits["test"] == 80 and splits["test"] >= 4


@pytest.mark.parametrize("gap", [" ", "_"])
def test_wilddeepfake_keeps_sequences_of_equal_numbers_apart(plant: Plant, gap: str) -> None:
    names = [
        f"{label}{gap}{split}/3/{label}/7/{frame}.png"
        for label in ("real", "fake")
        for split in ("train", "test")
        for frame in (1, 12)
    ]
    clips = sound("wilddeepfake", plant(names))
    assert counted(clips) == {
        (label, method, split): 2 for label, method in ((0, "genuine"), (1, "wild")) for split in ("train", "test")
    }
    assert len({clip.source for clip in clips}) == 4


def test_packed_shards_of_wilddeepfake_are_asked_to_be_unpacked(plant: Plant) -> None:
    root = plant([], {"real train/1.tar.gz": "", "fake train/1.tar.gz": ""})
    with pytest.raises(BadArchive, match=r"2 files are packed \('fake train/1.tar.gz'\): unpack them first"):
        layouts.read("wilddeepfake", root)


def coco(part: str, real: int, fake: int) -> str:
    """One picture of two people: real and fake are the numbers this file gives the categories."""
    return json.dumps(
        {
            "categories": [{"id": fake, "name": "Fake"}, {"id": real, "name": "Real"}],
            "images": [{"id": 5, "file_name": f"Images/{part}/a.jpg"}],
            "annotations": [
                {"image_id": 5, "category_id": real, "bbox": [0, 0, 30.2, 40]},
                {"image_id": 5, "category_id": fake, "bbox": [32, 8, 30, 40]},
            ],
        }
    )


def test_openforensics_labels_faces_and_reads_what_a_category_means(plant: Plant) -> None:
    root = plant(
        ["Train/a.jpg", "Test-Dev/a.jpg"],
        {"Train_poly.json": coco("Train", 0, 1), "Test-Dev_poly.json": coco("Test-Dev", 1, 0)},
    )
    clips = sound("openforensics", root)
    assert {(clip.path, clip.label, clip.split, clip.source) for clip in clips} == {
        ("Train/a.jpg#xywh=0,0,30,40", 0, "train", "openforensics:Train/a"),
        ("Train/a.jpg#xywh=32,8,30,40", 1, "train", "openforensics:Train/a"),
        ("Test-Dev/a.jpg#xywh=0,0,30,40", 0, "test", "openforensics:Test-Dev/a"),
        ("Test-Dev/a.jpg#xywh=32,8,30,40", 1, "test", "openforensics:Test-Dev/a"),
    }
    rows = manifest.build(clips, root, layout="openforensics", role="both").set_index("path")
    assert tuple(rows.loc["Train/a.jpg#xywh=32,8,30,40", ["kind", "frames", "width", "height"]]) == ("image", 1, 64, 64)
    assert rows.groupby("sha256")["label"].nunique().max() == 1


# --- people recorded for it


def test_deepspeak_v1_is_split_by_the_identities_of_its_list(plant: Plant) -> None:
    names = [f"real/{who}-{take}.mp4" for who in (1, 2, 3) for take in ("a", "b")]
    names += [f"fake/facefusion--{lent}-{who}--a-b--0.mp4" for lent, who in ((1, 2), (2, 1), (3, 3), (1, 3))]
    listed = table(("identity", "split"), ("1", "train"), ("2", "train"), ("3", "test"))
    clips = sound("deepspeak_v1", plant(names, {"annotations-split-def.csv": listed}))
    assert counted(clips) == {
        (0, "genuine", "train"): 4,
        (0, "genuine", "test"): 2,
        (1, "facefusion", "train"): 2,
        (1, "facefusion", "test"): 1,  # 1 in 3 has people of both splits
    }
    assert by_path(clips)["fake/facefusion--1-2--a-b--0.mp4"].source == "deepspeak_v1:2-b"


def test_somebody_who_is_in_no_split_of_deepspeak_is_named(plant: Plant) -> None:
    listed = table(("identity", "split"), ("1", "train"))
    root = plant(["real/1-a.mp4", "real/4-a.mp4"], {"annotations-split-def.csv": listed})
    with pytest.raises(BadArchive, match=r"identity that is not in annotations-split-def.csv \(1\): 'real/4-a.mp4'"):
        layouts.read("deepspeak_v1", root)


def test_deepspeak_v2_reads_who_is_seen_from_its_annotations(plant: Plant) -> None:
    names = ["real/1-a.mp4", "real/2-a.mp4", "fake/memo-x1-x2-elevenlabs.mp4", "fake/latentsync-y1-y2-real.mp4"]
    fakes = table(
        ("video-file", "kind", "engine", "identity-source", "identity-target", "recording-source", "recording-target"),
        ("memo-x1-x2-elevenlabs.mp4", "avatar", "memo", "1", "1", "x1", "a"),
        ("latentsync-y1-y2-real.mp4", "lip-sync", "latentsync", "2", "2", "y1", "a"),
    )
    lists = {
        "annotations-fake.csv": fakes,
        "annotations-split-def.csv": table(("identity", "split"), ("1", "train"), ("2", "test")),
    }
    root = plant(names, lists)
    clips = by_path(sound("deepspeak_v2", root))
    assert {(Path(p).name, c.label, c.method, c.identity, c.split) for p, c in clips.items()} == {
        ("1-a.mp4", 0, "genuine", "deepspeak_v2:1", "train"),
        ("2-a.mp4", 0, "genuine", "deepspeak_v2:2", "test"),
        ("memo-x1-x2-elevenlabs.mp4", 1, "memo", "deepspeak_v2:1", "train"),
        ("latentsync-y1-y2-real.mp4", 1, "latentsync", "deepspeak_v2:2", "test"),
    }
    plant(["fake/memo-z1-z2-real.mp4"])
    with pytest.raises(BadArchive, match=r"present but not listed \(1\): 'fake/memo-z1-z2-real.mp4'"):
        layouts.read("deepspeak_v2", root)


def test_kodf_is_cut_by_actor(plant: Plant) -> None:
    actors = [f"{n:06d}" for n in range(30)] + [f"{n:020x}" for n in range(5)]
    names = [f"original/{actor}/{actor}_001.mp4" for actor in actors]
    names += [
        f"{method}/20210101/{one}/{one}_{other}_{code}_0001.mp4"
        for one, other in pairwise(actors)
        for method, code in (("dfl", 1), ("audio-driven", 5))
    ]
    clips = sound("kodf", plant(names))
    side = {clip.identity: clip.split for clip in clips if clip.label == 0}
    assert len(side) == 35
    assert set(side.values()) == {"train", "test"}
    forged = [clip for clip in clips if clip.label == 1]
    assert {clip.method for clip in forged} == {"dfl", "audio-driven"}
    for clip in forged:
        target, lent, *_ = Path(clip.path).stem.split("_")
        assert side[f"kodf:{target}"] == side[f"kodf:{lent}"] == clip.split


def test_uadfv_keeps_a_forgery_with_its_video(plant: Plant) -> None:
    root = plant([f"{name}.mp4" for n in range(49) for name in (f"real/{n:04d}", f"fake/{n:04d}_fake")])
    clips = sound("uadfv", root)
    assert Counter(clip.label for clip in clips) == {0: 49, 1: 49}
    test = {clip.source for clip in clips if clip.split == "test"}
    assert 4 <= len(test) <= 16
    assert any(
        words.startswith("No test split is here: we cut one by source")
        for words in layouts.survey("uadfv", root).words()
    )


# --- pictures and sound


AV_COLUMNS = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "path", "")


def test_fakeavceleb_never_calls_a_picture_forged_that_is_forged_in_sound_alone(plant: Plant) -> None:
    rows, names = [AV_COLUMNS], []
    for n in range(30):
        who = f"id{n:05d}"
        for kind, method, stem in (
            ("RealVideo-RealAudio", "real", "00001"),
            ("RealVideo-FakeAudio", "rtvc", "00001_fake"),
            ("FakeVideo-RealAudio", "faceswap", "00001_swap"),
            ("FakeVideo-FakeAudio", "faceswap-wav2lip", "00001_both"),
        ):
            folder = f"{kind}/Caucasian (European)/men/{who}"
            names.append(f"{folder}/{stem}.mp4")
            rows.append((who, "-", "-", method, "", kind, "Caucasian (European)", "men", f"{stem}.mp4", folder))
    rows.append((*rows[-1][:3], "wav2lip", *rows[-1][4:]))
    root = plant(names, {"meta_data.csv": table(*rows)})
    clips = sound("fakeavceleb", root)
    assert Counter((clip.label, clip.method) for clip in clips) == {
        (0, "genuine"): 30,
        (1, "faceswap"): 30,
        (1, "faceswap-wav2lip"): 30,
    }
    assert {clip.split for clip in clips} == {"train", "test"}
    seen = layouts.survey("fakeavceleb", root)
    assert len(seen.left_out["they are forged in sound alone, and their picture is genuine"]) == 30
    assert "1 files have two rows in meta_data.csv: the method of the first is taken." in seen.notes


def test_idforge_tells_longer_types_from_shorter_ones_and_leaves_out_sound(plant: Plant) -> None:
    def clip(kind: str, scene: str, method: str) -> str:
        return f"main/{kind}/id07/id07_01/id07_{scene}_1_{method}.mp4"

    split = {
        clip("pristine", "talk_0001", "real"): "train",
        clip("face_tts_textgen", "talk_0001", "roop"): "train",
        clip("face_tts", "news_0002", "simswap"): "test",
        clip("lip_tts_textgen", "news_0003", "wav2lip"): "val",
        clip("tts_textgen", "news_0002", "tts"): "test",
        clip("rvc_textmismatch", "talk_0001", "rvc").replace(".mp4", ".mp3.mp4"): "train",
        clip("pristine", "news_0002", "real"): "test",
    }
    lists = {
        f"IDForge_v1/{s}.csv": "".join(f"{p}\n" for p, of in split.items() if of == s) for s in ("train", "val", "test")
    }
    clips = by_path(sound("idforge", plant(split, lists)))
    assert {(c.label, c.method, c.split) for c in clips.values()} == {
        (0, "genuine", "train"),
        (1, "roop", "train"),
        (1, "simswap", "test"),
        (1, "lip_tts_textgen", "val"),
        (0, "genuine", "test"),
    }
    assert clips[clip("face_tts", "news_0002", "simswap")].source == "idforge:id07_news_0002"


def test_av_deepfake1m_shows_forged_segments_as_forged_and_nothing_else(plant: Plant) -> None:
    def row(file: str, kind: str, segments: list[list[float]]) -> dict[str, Any]:
        return {
            "file": file,
            "modify_type": kind,
            "visual_fake_segments": segments,
            "video_frames": 8,
            "original": None,
        }

    kinds = {
        "real": [],
        "visual_modified": [[0.04, 0.16]],
        "audio_modified": [],
        "both_modified": [[0.0, 0.08], [0.2, 0.32]],
    }
    names, lists = ["test/000001.mp4"], {}
    for split in ("train", "val"):
        rows = [row(f"{split}_{n}/yt/{kind}.mp4", kind, cut) for n, (kind, cut) in enumerate(kinds.items())]
        lists[f"{split}_metadata.json"] = json.dumps(rows)
        names += [f"{split}/{one['file']}" for one in rows]
    root = plant(names, lists)
    clips = sound("av_deepfake1m", root)
    assert {clip.path: clip.label for clip in clips if clip.split == "train"} == {
        "train/train_0/yt/real.mp4": 0,
        "train/train_1/yt/visual_modified.mp4#frames=1-3": 1,
        "train/train_3/yt/both_modified.mp4#frames=0-1": 1,
        "train/train_3/yt/both_modified.mp4#frames=5-7": 1,
    }
    assert Counter(clip.split for clip in clips) == {"train": 4, "test": 4}
    rows = manifest.build(clips, root, layout="av_deepfake1m", role="both").set_index("path")
    assert rows.loc["train/train_1/yt/visual_modified.mp4#frames=1-3", "frames"] == 3


@pytest.mark.parametrize("part", ["#frames=3-8", "#frames=5-4", "#xywh=64,0,9,9"])
def test_a_part_outside_of_its_file_is_refused_by_name(plant: Plant, part: str) -> None:
    root = plant(["a.mp4"])
    clip = Clip(f"a.mp4{part}", 0, "genuine", identity="", source="a", split="train")
    with pytest.raises(BadArchive, match=rf"'a.mp4{part}' \(a part outside of its 8 frames of 64x64 px\)"):
        manifest.build([clip], root, layout="crops", role="both")


# --- generated pictures


def test_cddb_reads_all_tasks_or_one_and_examines_what_it_calls_val(plant: Plant) -> None:
    one = [f"{split}/{label}/{n}.png" for split in ("train", "val") for label in ("0_real", "1_fake") for n in range(2)]
    many = [f"gaugan/{name}" for name in one] + [
        f"stylegan/{name}".replace("0_real", "cat/0_real").replace("1_fake", "cat/1_fake") for name in one
    ]
    clips = sound("cddb", plant(many, at="CDDB"))
    assert counted(clips) == {
        (0, "genuine", "train"): 4,
        (0, "genuine", "test"): 4,
        **{(1, task, split): 2 for task in ("gaugan", "stylegan") for split in ("train", "test")},
    }
    assert Counter(clip.split for clip in sound("cddb", plant(one, at="gaugan"))) == {"train": 4, "test": 4}


def test_diffusionface_keeps_a_face_with_what_was_made_of_it(plant: Plant) -> None:
    names = [f"{folder}/{n:05d}.png" for n in range(40) for folder in ("SDv2.1/text2img", "ffhq")]
    root = plant(names)
    clips = by_path(sound("diffusionface", root))
    assert {clips[f"ffhq/{n:05d}.png"].split for n in range(40)} == {"train", "test"}
    for n in range(40):
        assert clips[f"ffhq/{n:05d}.png"].source == clips[f"SDv2.1/text2img/{n:05d}.png"].source == f"ffhq:{n}"
    assert any("whole tree" in words for words in layouts.survey("diffusionface", root).words())


def test_forgerynet_reads_its_lists_and_the_forged_segments_of_videos(plant: Plant) -> None:
    names = [
        f"{folder}/{name}"
        for folder in ("Training", "Validation")
        for name in ("image/fake/7/a.jpg", "image/real/1/b.jpg", "video/fake/2/c.mp4", "spatial_localize/fake/7/a.jpg")
    ]
    lists = {}
    for folder, split in (("Training", "train"), ("Validation", "val")):
        lists[f"{folder}/{split}_list/image_list.txt"] = "fake/7/a.jpg 1 2 7\nreal/1/b.jpg 0 0 0\n"
        lists[f"{folder}/{split}_list/video_list.txt"] = "2 fake/2/c.mp4 0 3 0 3 5 1 1 1 2\n"
    clips = sound("forgerynet", plant(names, lists))
    assert {(clip.path, clip.label, clip.method, clip.split) for clip in clips if "Training" in clip.path} == {
        ("Training/image/fake/7/a.jpg", 1, "Talking Head", "train"),
        ("Training/image/real/1/b.jpg", 0, "genuine", "train"),
        ("Training/video/fake/2/c.mp4#frames=3-7", 1, "FS-GAN", "train"),
    }
    assert Counter(clip.split for clip in clips) == {"train": 3, "val": 3}


def test_a_number_of_forgerynet_that_contradicts_its_class_is_refused(plant: Plant) -> None:
    root = plant(["image/a.jpg"], {"train_list/image_list.txt": "image/a.jpg 0 2 7\n"})
    with pytest.raises(BadArchive, match=r"binary label 0 with sixteen-way label 7"):
        layouts.read("forgerynet", root)


# --- what other tools wrote


def test_deepfakebench_frames_in_val_and_test_are_examined_and_never_learned(plant: Plant) -> None:
    def frames(folder: str, video: str) -> list[str]:
        return [f"{folder}/frames/{video}/{n:03d}.png" for n in range(2)]

    home = "FaceForensics++/original_sequences/youtube/c23"
    fake = "FaceForensics++/manipulated_sequences/Deepfakes/c23"
    celeb_home = "Celeb-DF-v2/Celeb-real"
    videos = {video: {"label": "FF-real", "frames": frames(home, video)} for video in ("071", "953")}
    fakes = {video: {"label": "FF-DF", "frames": frames(fake, video)} for video in ("071_054", "953_974")}
    windows = [path.replace("/", "\\") for path in frames(celeb_home, "id0_0001")]
    card = {
        "FaceForensics++": {
            "FF-real": {
                "train": {"c23": {"071": videos["071"]}},
                "val": {"c23": {"953": videos["953"]}},
                "test": {"c23": {"953": videos["953"]}},
            },
            "FF-DF": {"train": {"c23": {"071_054": fakes["071_054"]}}, "test": {"c23": {"953_974": fakes["953_974"]}}},
        },
        "Celeb-DF-v2": {
            "CelebDFv2_real": {
                "train": {"id0_0001": {"label": "CelebDFv2_real", "frames": windows}},
                "test": {"id0_0001": {"label": "CelebDFv2_real", "frames": windows}},
            }
        },
    }
    names = [path for video in (*videos.values(), *fakes.values()) for path in video["frames"]] + frames(
        celeb_home, "id0_0001"
    )
    root = plant([f"rgb/{name}" for name in names], {"dataset_json/all.json": json.dumps(card)})
    clips = by_path(sound("deepfakebench", root))
    assert counted(clips.values()) == {
        (0, "genuine", "train"): 2,
        (0, "genuine", "test"): 4,
        (1, "FF-DF", "train"): 2,
        (1, "FF-DF", "test"): 2,
    }
    assert clips[f"rgb/{frames(fake, '071_054')[0]}"].source == "ffpp:054_071"
    assert clips[f"rgb/{frames(celeb_home, 'id0_0001')[0]}"].source == "celebdf:id0_0001"


def test_frames_a_deepfakebench_json_lists_and_nobody_has_are_missing_not_refused(plant: Plant) -> None:
    video = {"label": "FF-real", "frames": [f"FaceForensics++/youtube/frames/071/{n:03d}.png" for n in range(3)]}
    root = plant(
        [f"rgb/{name}" for name in video["frames"][:2]],
        {"dataset_json/FaceForensics++.json": json.dumps({"FaceForensics++": {"FF-real": {"train": {"071": video}}}})},
    )
    assert len(sound("deepfakebench", root)) == 2
    assert layouts.survey("deepfakebench", root).missing == [video["frames"][2]]


def test_gend_lists_say_split_and_class(plant: Plant) -> None:
    listed = {
        "config/datasets/FF/train/DF.txt": "datasets/FF/DF/071_054/000.png\n",
        "config/datasets/FF/train/real.txt": "datasets/FF/real/071/000.png\n",
        "config/datasets/CDFv2/test/Celeb-real.txt": "datasets/CDFv2/Celeb-real/id0_0001/000.png\n",
        "config/datasets/CDFv2/test/Celeb-synthesis.txt": "datasets/CDFv2/Celeb-synthesis/id0_id2_0001/000.png\n",
    }
    root = plant([text.strip() for text in listed.values()], listed)
    clips = sound("gend", root)
    assert {(clip.label, clip.method, clip.split, clip.source) for clip in clips} == {
        (1, "DF", "train", "ffpp:054_071"),
        (0, "genuine", "train", "ffpp:054_071"),
        (0, "genuine", "test", "celebdf:id0_0001"),
        (1, "Celeb-synthesis", "test", "celebdf:id0_0001"),
    }


# --- all of them


@pytest.mark.parametrize("name", layouts.names())
def test_every_layout_shows_its_tree_and_where_its_list_comes_from(name: str) -> None:
    declared = layouts.declared_by(name)
    assert "    " in layouts.tree(name)
    assert declared is None or (declared.title and declared.lists and declared.rules)


def test_a_tree_one_folder_deeper_than_it_should_be_is_read_from_there(plant: Plant) -> None:
    names, listed = celeb()
    root = plant([f"Celeb-DF-v2/{name}" for name in names], {"Celeb-DF-v2/List_of_testing_videos.txt": listed})
    assert {clip.path.partition("/")[0] for clip in sound("celebdf_v2", root)} == {"Celeb-DF-v2"}


# --- DFFD, TalkingHeadBench


def test_dffd_learns_faceapp_and_never_examines_it(plant: Plant) -> None:
    classes = ("youtube", "ffhq", "celeba_2w", "stargan", "pggan_v1", "stylegan_ffhq", "Face2Face")
    names = [f"{name}/{split}/{name}_{n}.png" for n, split in enumerate(SPLIT_FOLDERS) for name in classes]
    names += ["ffhq/train/R_FFHQ_00007.png", "faceapp/train/F_FAP1_00007.png", "faceapp/test/F_FAP1_00009.png"]
    root = plant(names)
    clips = by_path(sound("dffd", root))
    assert {path: clips[path].split for path in names[:21:7]} == {
        "youtube/train/youtube_0.png": "train",
        "youtube/validation/youtube_1.png": "val",
        "youtube/test/youtube_2.png": "test",
    }
    assert counted(clips.values())[1, "stargan", "val"] == counted(clips.values())[1, "Face2Face", "test"] == 1
    assert clips["celeba_2w/test/celeba_2w_2.png"].label == 0
    assert "faceapp/test/F_FAP1_00009.png" not in clips
    assert clips["faceapp/train/F_FAP1_00007.png"].source == clips["ffhq/train/R_FFHQ_00007.png"].source == "ffhq:7"
    assert any(words.startswith("Not verified: That the number") for words in layouts.survey("dffd", root).words())


SPLIT_FOLDERS = ("train", "validation", "test")


def test_talkingheadbench_takes_genuine_videos_by_its_list_and_misses_those_nobody_fetched(plant: Plant) -> None:
    names = [f"fake/{g}/{split}/{n}--{d}--{g}.mp4" for g in ("EMO", "LivePortrait") for n, d, split in HEADS]
    names += ["fake/additional_dataset/MAGI-1/9--x--MAGI-1.mp4", "real/FF++/071.mp4", "real/celebv/a_b_0.mp4"]
    listed = {
        "Train": {"FaceForensics++": ["071.mp4", "054.mp4"], "CelebV-HQ": []},
        "Val": {},
        "Test": {"CelebV-HQ": ["a_b_0"]},
    }
    root = plant(names, {"real/real_dataset_split_official_ff++.json": json.dumps(listed), "audio/notes.txt": "said"})
    clips = by_path(sound("talkingheadbench", root))
    assert len(clips) == len(names)
    assert counted(clips.values())[1, "EMO", "val"] == counted(clips.values())[1, "MAGI-1", "test"] == 1
    assert (clips["real/FF++/071.mp4"].source, clips["real/FF++/071.mp4"].split) == ("ffpp:054_071", "train")
    assert (clips["real/celebv/a_b_0.mp4"].label, clips["real/celebv/a_b_0.mp4"].split) == (0, "test")
    seen = layouts.survey("talkingheadbench", root)
    assert seen.missing == ["real/054.mp4"]
    plant(["real/stranger.mp4"])
    with pytest.raises(BadArchive, match=r"present but not listed \(1\): 'real/stranger.mp4'"):
        layouts.read("talkingheadbench", root)


HEADS = (("1", "a", "train"), ("2", "b", "val"), ("3", "c", "test"))


@pytest.mark.parametrize(
    "text", ["[]", '{"Train": 3}', '{"Summer": {"CelebV-HQ": []}}', '{"Train": {"CelebV-HQ": [3]}}']
)
def test_a_list_of_talkingheadbench_that_is_none_is_refused(plant: Plant, text: str) -> None:
    root = plant(["fake/EMO/train/1--a--EMO.mp4"], {"real/real_dataset_split_official_ff++.json": text})
    with pytest.raises(BadArchive, match="Copy the official file again"):
        layouts.read("talkingheadbench", root)
