"""What one archive has in one split is in no other split of an archive that lands later; names are one text."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from components.archives import expectations, layouts, leaks, manifest, validate
from components.archives.held_out import position
from components.archives.ingest import ingest
from components.archives.set_aside import words_of, write_reasons
from components.errors import BadArchive, Invalid
from components.params import Archive, Params, ValidationOptions
from components.texts import one_text
from components.vocabulary import SPLITS

Plant = Callable[..., Path]


def rows_of(layout: str, root: Path, *, role: str = "both") -> pd.DataFrame:
    """A manifest as if it had been measured: no two files alike."""
    rows = [
        (c.path, f"{root.name}/{c.path}", c.label, c.method, c.identity, c.source, c.split, "clip", 8, 64, 64)
        for c in layouts.read(layout, root)
    ]
    found = pd.DataFrame(rows, columns=manifest.SCHEMA.names)
    return found.assign(split="test") if role == "benchmark" else found


def landed(*archives: tuple[str, pd.DataFrame]) -> pd.DataFrame:
    """What is known of these (layout, rows), called first, second, …"""
    names = ("first", "second")
    said = [leaks.of(rows, layout).assign(archive=name) for name, (layout, rows) in zip(names, archives, strict=False)]
    return pd.concat(said, ignore_index=True)


def landing(
    layout: str, rows: pd.DataFrame, earlier: pd.DataFrame, **entry: str
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """(kept, set aside, why of each of these) of an archive that lands after others; nothing of it leaks."""
    said = Archive.model_validate({"layout": layout, "leaks": "set_aside", **entry})
    kept, aside = leaks.prepared(rows, said, Params(), earlier)
    both = pd.concat([earlier, leaks.of(kept, layout)])
    torn = both.groupby("name")["split"].nunique()
    assert not set(torn.index[torn > 1]) & set(leaks.of(kept, layout)["name"])
    return kept, aside, dict(zip(aside["path"], aside["why"] + ": " + aside["shared"], strict=True))


def stems(paths: Iterable[str]) -> set[str]:
    return {Path(path).stem for path in paths}


FFPP = [f"original_sequences/youtube/c23/videos/{v}.mp4" for v in ("071", "054", "720", "672", "953", "974")]
FFPP += [
    f"manipulated_sequences/Deepfakes/c23/videos/{a}_{b}.mp4"
    for a, b in (("071", "054"), ("720", "672"), ("953", "974"))
]
"""A pair of each official split: train, val, test."""


@pytest.fixture
def ffpp(plant: Plant) -> pd.DataFrame:
    return rows_of("faceforensics", plant(FFPP, at="ffpp"))


@pytest.fixture
def celeb(plant: Plant) -> pd.DataFrame:
    names = [f"Celeb-real/id{n}_0000.mp4" for n in range(6)]
    names += [f"Celeb-synthesis/id{n}_id{(n + 1) % 6}_0000.mp4" for n in range(6)]
    listed = "1 Celeb-real/id0_0000.mp4\n1 Celeb-real/id1_0000.mp4\n"
    return rows_of("celebdf_v2", plant(names, {"List_of_testing_videos.txt": listed}, at="celeb"))


# --- what other tools leak


def test_deeperforensics_of_ffpp_reals_gives_way_where_its_own_list_splits_them_otherwise(
    plant: Plant, ffpp: pd.DataFrame
) -> None:
    lists = {"train": "953_M001.mp4\n071_M002.mp4\n", "val": "720_M003.mp4\n", "test": "974_M004.mp4\n054_M005.mp4\n"}
    names = [f"manipulated_videos/end_to_end/{stem}" for text in lists.values() for stem in text.split()]
    names += [f"original_sequences/youtube/c23/videos/{v}.mp4" for v in ("953", "054")]
    root = plant(names, {f"lists/splits/{split}.txt": text for split, text in lists.items()}, at="deeper")
    kept, aside, why = landing("deeperforensics", rows_of("deeperforensics", root), landed(("faceforensics", ffpp)))
    assert stems(aside["path"]) == {"953_M001", "953", "054_M005", "054"}
    assert why["manipulated_videos/end_to_end/953_M001.mp4"] == ("source or person in split test of 'first': ffpp:953")
    assert dict(zip((Path(p).stem for p in kept["path"]), kept["split"], strict=True)) == {
        "071_M002": "train",
        "720_M003": "val",
        "974_M004": "test",
    }
    write_reasons(root, aside["why"])
    assert words_of(root) == [
        "2 clips set aside: source or person in split test of 'first'.",
        "2 clips set aside: source or person in split train of 'first'.",
    ]


def test_df40_of_reals_of_two_archives_is_held_against_both(
    plant: Plant, ffpp: pd.DataFrame, celeb: pd.DataFrame
) -> None:
    names = [
        "DF40_train/simswap/ff/frames/071_054/000.png",
        "DF40_train/simswap/ff/frames/953_974/000.png",  # a test pair of FaceForensics++
        "DF40/simswap/ff/frames/974_953/000.png",
        "DF40/simswap/ff/frames/054_071/000.png",  # a training pair
        "DF40/simswap/cdf/frames/id0_id1_0000/000.png",
        "DF40/simswap/cdf/frames/id3_id4_0000/000.png",  # made from a training video
    ]
    _, aside, _ = landing(
        "df40", rows_of("df40", plant(names, at="df40")), landed(("faceforensics", ffpp), ("celebdf_v2", celeb))
    )
    # by its own guard 953_974 is no training clip: DF40 examines the pair too
    assert stems(str(Path(p).parent) for p in aside["path"]) == {"054_071", "id3_id4_0000"}


def test_the_test_videos_of_celeb_df_that_deepfakebench_trains_on_are_set_aside(
    plant: Plant, celeb: pd.DataFrame
) -> None:
    videos = [f"id{n}_0000" for n in range(6)]
    paths = {v: f"Celeb-DF-v2/Celeb-real/frames/{v}/000.png" for v in videos}
    card = {"Celeb-DF-v2": {"CelebDFv2_real": {"train": {
        v: {"label": "CelebDFv2_real", "frames": [path]} for v, path in paths.items()}}}}  # fmt: skip
    root = plant(paths.values(), {"Celeb-DF-v2.json": json.dumps(card)}, at="bench")
    _, aside, _ = landing("deepfakebench", rows_of("deepfakebench", root), landed(("celebdf_v2", celeb)))
    assert set(aside["path"]) == {paths["id0_0000"], paths["id1_0000"]}


def test_the_reals_of_celeb_df_in_its_successor_keep_the_split_they_had(plant: Plant, celeb: pd.DataFrame) -> None:
    names = [f"Celeb-real/id{n}_0000.mp4" for n in range(6)]
    names += [f"Celeb-synthesis/FaceSwap/GHOST/id{n}_id5_0000.mp4" for n in range(6)]
    listed = "1 Celeb-real/id0_0000.mp4\n1 Celeb-real/id4_0000.mp4\n"  # one that v2 learned
    root = plant(names, {"List_of_testing_videos.txt": listed}, at="pp")
    _, aside, _ = landing("celebdf_pp", rows_of("celebdf_pp", root), landed(("celebdf_v2", celeb)))
    assert {name.split("_")[0] for name in stems(aside["path"])} == {"id1", "id4"}


def test_dfdm_of_celeb_df_reals_is_held_against_the_videos_of_celeb_df(plant: Plant, celeb: pd.DataFrame) -> None:
    names = [f"DFDM_{crf}/IAE/id{n}_id{n}_0000_x.mp4" for n in range(6) for crf in ("crf0", "crf23")]
    rows = rows_of("dfdm", plant(names, at="dfdm"))
    _, aside, _ = landing("dfdm", rows, landed(("celebdf_v2", celeb)))
    tested = {f"id{n}" for n in range(6) if position(f"celebdf:id{n}") < 0.2}
    wrong = {f"id{n}" for n in range(6)} - ({"id0", "id1"} & tested) - ({"id2", "id3", "id4", "id5"} - tested)
    assert {name.split("_")[0] for name in stems(aside["path"])} == wrong


def test_a_number_of_ffhq_that_diffusion_learned_is_not_examined_by_faceapp(plant: Plant) -> None:
    def crops(at: str, split: dict[int, str]) -> pd.DataFrame:
        lines = [f"real/{n}.png,0,real,ffhq:{n},{s}" for n, s in split.items()]
        root = plant(
            [f"real/{n}.png" for n in split], {"labels.csv": "\n".join(["file,label,method,source,split", *lines])}, at
        )
        return rows_of("crops", root)

    diffusion = crops("diffusion", {12: "train", 13: "test"})
    _, aside, why = landing(
        "crops", crops("faceapp", {12: "test", 13: "test", 14: "test"}), landed(("crops", diffusion))
    )
    assert why == {"real/12.png": "source or person in split train of 'first': ffhq:12"}
    assert list(aside["shared"]) == ["ffhq:12"]


# --- what counts


def row(
    path: str, source: str, split: str, *, identity: str = "", sha256: str = "", label: int = 0
) -> dict[str, object]:
    about = {"path": path, "sha256": sha256 or path, "label": label, "method": "x", "identity": identity}
    return about | {"source": source, "split": split, "kind": "clip", "frames": 8, "width": 64, "height": 64}


def test_names_without_a_namespace_mean_something_in_their_own_archive_alone() -> None:
    earlier = landed(("crops", pd.DataFrame([row("a", "7", "train", identity="ann")])))
    _, aside, _ = landing("crops", pd.DataFrame([row("b", "7", "test", identity="ann")]), earlier)
    assert aside.empty


def test_a_person_of_one_archive_is_a_source_of_another() -> None:
    earlier = landed(("crops", pd.DataFrame([row("a", "x", "train", identity="dfdc:ann")])))
    _, aside, _ = landing("crops", pd.DataFrame([row("b", "dfdc:ann", "test"), row("c", "dfdc:bob", "test")]), earlier)
    assert list(aside["path"]) == ["b"]


@pytest.mark.parametrize("earlier_split", SPLITS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_apart_from_every_other(earlier_split: str, split: str) -> None:
    earlier = landed(("crops", pd.DataFrame([row("a", "ffpp:071", earlier_split)])))
    _, aside, _ = landing("crops", pd.DataFrame([row("b", "ffpp:054_071", split)]), earlier)
    assert len(aside) == (split != earlier_split)


def test_a_benchmark_is_held_against_what_was_learned(ffpp: pd.DataFrame) -> None:
    later = ffpp.assign(sha256="c40/" + ffpp["sha256"], split="test")
    kept, _, _ = landing("faceforensics", later, landed(("faceforensics", ffpp)), role="benchmark")
    assert set(kept["source"]) == {"953_974"}


def test_the_same_file_is_apart_from_itself_and_may_be_shared_by_splits_of_one_name() -> None:
    earlier = landed(("crops", pd.DataFrame([row("a", "1", "train", sha256="s"), row("b", "2", "test", sha256="t")])))
    later = pd.DataFrame([row("a", "8", "test", sha256="s"), row("b", "9", "test", sha256="t")])
    _, _, why = landing("crops", later, earlier)
    assert why == {"a": "file in split train of 'first': s"}


def test_what_leaked_before_there_was_a_choice_stays() -> None:
    earlier = landed(("crops", pd.DataFrame([row("a", "ffpp:071", "train")])))
    entry = Archive(layout="crops")
    kept, aside = leaks.prepared(pd.DataFrame([row("b", "ffpp:071", "test")]), entry, Params(), earlier)
    assert (len(kept), len(aside)) == (1, 0)


def test_sources_that_an_earlier_archive_learned_are_not_held_out_and_those_that_validated_are() -> None:
    sources = [f"ffpp:{n:03d}" for n in range(200)]
    rows = pd.DataFrame([row(f"{s}{label}", s, "train", label=label) for s in sources for label in (0, 1)])
    alone, _, _ = landing("crops", rows, manifest.empty(manifest.EARLIER), validation="hash")
    by_hash = set(alone.loc[alone["split"] == "val", "source"])
    learned, validated = sorted(by_hash)[0], next(s for s in sources if s not in by_hash)
    said = pd.DataFrame([row("a", learned, "train"), row("b", validated, "val")])
    kept, aside, _ = landing("crops", rows, landed(("crops", said)), validation="hash")
    assert aside.empty
    assert set(kept.loc[kept["split"] == "val", "source"]) == by_hash - {learned} | {validated}


# --- down the chain of stages


def crops_with(root: Path, crops_at: Callable[..., object], rename: dict[str, str], *, seed: int) -> Path:
    crops_at(root, per_class=4, seed=seed)
    text = (root / "labels.csv").read_text()
    for old, new in rename.items():
        text = text.replace(f",{old},", f",{new},")
    (root / "labels.csv").write_text(text)
    return root


def test_a_later_archive_is_held_against_everything_before_it_and_says_so(
    tmp_path: Path, crops_at: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    one = crops_with(tmp_path / "one", crops_at, {"train_0": "ffpp:071_054"}, seed=0)
    two = crops_with(tmp_path / "two", crops_at, {}, seed=1000)
    three = crops_with(tmp_path / "three", crops_at, {"test_1": "ffpp:054"}, seed=2000)
    entry = {"layout": "crops", "leaks": "set_aside"}
    archives = {"one": entry, "two": entry | {"after": "one"}, "three": entry | {"after": "two"}}
    params = Params.model_validate({"archives": archives})
    folders = {}
    for root, before in ((one, "nobody"), (two, "one"), (three, "two")):
        folders[root.name] = out = tmp_path / "m" / root.name
        ingest(root, tmp_path / "m" / before, out, name=root.name, layout="crops", role="both", params=params)
    aside = manifest.read_set_aside(folders["three"] / "set_aside.parquet")
    assert list(aside["path"]) == ["fake/test_1.jpg", "real/test_1.jpg"]
    assert set(aside["shared"]) == {"ffpp:054"}
    assert "three: 2 clips set aside: source or person in split train of 'one'." in capsys.readouterr().out
    known = leaks.known(folders["three"], params)
    assert set(known.loc[known["name"] == "ffpp:054", "archive"]) == {"one"}
    validate.validate(folders["three"], tmp_path / "v", name="three", role="both", validation_params=params.validation)
    report = json.loads((tmp_path / "v/report.json").read_text())
    assert report["set_aside"] == ["fake/test_1.jpg", "real/test_1.jpg"]
    (rule,) = [result for result in report["results"] if result["rule"] == "leaks"]
    assert (rule["passed"], rule["broken"]) == (True, 2)


def test_what_landed_before_names_were_handed_down_is_read_beside(
    tmp_path: Path, crops_at: Callable[..., object]
) -> None:
    entry = {"layout": "crops"}
    params = Params.model_validate({"archives": {"one": entry, "two": entry | {"after": "one"}}})
    for name, before, seed in (("one", "nobody", 0), ("two", "one", 1000)):
        root = crops_with(tmp_path / name, crops_at, {"train_0": f"ffhq:{seed}"}, seed=seed)
        out = tmp_path / "m" / name
        ingest(root, tmp_path / "m" / before, out, name=name, layout="crops", role="both", params=params)
        handed = manifest.read_earlier(out / "earlier.parquet")
        old = handed[["name", "archive"]].rename(columns={"name": "sha256"})
        files = old[old["sha256"].str.len() == 64]
        manifest.write(files, out / "earlier.parquet", pa.schema([("sha256", pa.string()), ("archive", pa.string())]))
    known = leaks.known(tmp_path / "m/two", params)
    assert set(known.loc[known["name"].str.startswith("ffhq"), "name"]) == {"ffhq:0", "ffhq:1000"}


def test_an_archive_of_which_more_leaks_than_may_is_refused_with_what_to_do() -> None:
    earlier = landed(("crops", pd.DataFrame([row(f"a{n}", f"ffpp:{n:03d}", "train") for n in range(6)])))
    rows = [row(f"{split}{n}{label}", f"x{split}{n}", split, label=label)
            for split in ("train", "test") for n in range(2) for label in (0, 1)]  # fmt: skip
    rows += [row(f"b{n}", f"ffpp:{n:03d}", "test") for n in range(6)]
    kept, aside, _ = landing("crops", pd.DataFrame(rows), earlier)

    def check(share: float) -> expectations.Report:
        params = ValidationOptions(max_leaking=share)
        return expectations.check_manifest(kept, earlier, role="both", params=params, set_aside=aside)

    assert not check(0.5).broken
    with pytest.raises(
        Invalid, match=r"(?s)60% or more of the clips share nothing.*raise validation\.max_leaking"
    ) as refusal:
        check(0.4).enforce("later")
    assert "'b0' (because source or person in split train of 'first')" in str(refusal.value)


# --- one text

JOSE = "jos\u00e9"


@pytest.mark.parametrize(
    "spelled",
    [
        f" {JOSE} ",
        f"{JOSE}\r\n",
        f"\ufeff{JOSE}\u200b",
        f"{JOSE}\0\0",
        unicodedata.normalize("NFD", JOSE),
        f"\u00a0{JOSE}\t",
    ],
)
def test_forms_of_a_name_are_one_text(spelled: str) -> None:
    assert one_text(spelled) == JOSE


@pytest.mark.parametrize("other", ["jose", "Jos\u00e9", "jos\u00e92", "jos\u00e9\u00b2", "jo s\u00e9"])
def test_other_names_stay_other_texts(other: str) -> None:
    assert one_text(other) == other != JOSE


def test_a_line_break_within_a_name_is_a_blank() -> None:
    assert one_text("ann\r\n  smith") == one_text("ann\u2028smith") == "ann smith"


def test_forms_of_a_source_a_method_and_a_file_never_make_two_of_one(
    tmp_path: Path, crops_at: Callable[..., object]
) -> None:
    root = tmp_path / "swaps"
    crops_at(root)
    names = {
        "fake/train_0.jpg": "fake/e\u0301te\u0301 1.jpg",
        "real/train_0.jpg": "real/\u00e9t\u00e9 1.jpg",
    }  # as the disk has them
    for old, new in names.items():
        (root / old).rename(root / new)
    with (root / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    for line in rows[1:]:
        forged = line[1] == "1"
        line[0] = f" {unicodedata.normalize('NFC' if forged else 'NFD', names.get(line[0], line[0]))}\n"
        line[2] = f"caf\u00e9 {line[2]}\0" if forged else line[2]
        line[2] = unicodedata.normalize("NFD", line[2]) if "train" in line[4] else line[2]
        line[3] = f"\ufeff{line[3]}\r\n" if forged else f"{line[3]} "
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    clips = layouts.read("crops", root)
    assert {clip.path for clip in clips} >= set(names.values())
    assert all((root / clip.path).is_file() for clip in clips)
    assert {clip.source for clip in clips} == {"train_0", "train_1", "test_0", "test_1"}
    assert {clip.method for clip in clips} == {"genuine", "caf\u00e9 swap, of faces"}


def test_a_file_listed_in_two_forms_is_listed_twice(archive: Path) -> None:
    with (archive / "labels.csv").open("a") as file:
        file.write(" real/train_0.jpg,0,real,train_0,train\n")
    with pytest.raises(BadArchive, match=r"listed twice \(1\)"):
        layouts.read("crops", archive)


def test_two_files_whose_names_are_one_text_are_named(archive: Path) -> None:
    for form in ("NFC", "NFD"):
        (archive / unicodedata.normalize(form, "real/\u00e9.txt")).write_text("note")
    with pytest.raises(BadArchive, match=r"two names that are one text: rename or delete one \(1\)"):
        layouts.read("crops", archive)


def test_a_person_in_a_list_of_a_public_archive_is_the_same_in_a_folders_name(plant: Plant) -> None:
    nfc, nfd = JOSE, unicodedata.normalize("NFD", JOSE)
    names = [f"datasets/My/real/{nfd}/0.png", "datasets/My/swap/b/0.png"]
    lists = {
        "config/datasets/My/train/real.txt": f" datasets/My/real/{nfc}/0.png\t\n",
        "config/datasets/My/test/swap.txt": "datasets/My/swap/b/0.png\n",
    }
    clips = layouts.read("gend", plant(names, lists))
    assert [clip.source for clip in clips] == [f"my:{JOSE}", "my:b"]
    assert clips[0].path == names[0]
