"""Stage calibrate: what a generation's answers are worth, measured on clips it was neither taught nor is judged by.

    python -m components.evaluation.calibrate RECIPE GENERATION TEACHER_VERDICT BENCH FACES WITHDRAWN OPERATING_POINT

On validation clips of everything its line was taught it fits a calibration, one threshold for a stated rate of false
alarms, and what a familiar face looks like (that from training faces, its limit from validation clips). Where there are
too few such clips there is no operating point, and the file says why; nobody falls back on a threshold of one half.

Where the gate has the rule `robustness`, or `operating_point.ladder` asks for it, test faces of what was taught are made
worse and asked about again (`components.evaluation.ladder`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components import orders, stage
from components.evaluation import calibration, familiarity, point_files
from components.evaluation.add_benchmark import read_bench
from components.evaluation.benches import benchmarks
from components.evaluation.familiarity import Kin, spread
from components.evaluation.matrix import Matrix
from components.evaluation.metrics import clip_scores
from components.evaluation.operating_point import OperatingPoint
from components.evaluation.population import Population
from components.faces import quality as face_quality
from components.faces.table import FaceTable
from components.generations.card import read_card
from components.generations.recipe import Recipe
from components.params import OperatingPointOptions, Withdrawal
from components.settings import settings
from components.vocabulary import FORGED, LABELS, REAL, TRAIN, VAL

if TYPE_CHECKING:
    from components.evaluation.asking import Asking

FEWEST_FORGED = 5
FEWEST_SOURCES = 2  # of each class: one to fit on, one to foretell
OF_A_CLIP = 8  # validation faces of a clip that are looked at for what is familiar
OF_AN_ARCHIVE = 1000  # and of an archive, training or validation
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)


def calibrate(
    recipe_file: Path,
    generation: Path,
    teacher_verdict: Path,
    bench: Path,
    faces: Path,
    withdrawn_file: Path,
    operating_point_folder: Path,
) -> None:
    """Fit and measure a generation's operating point.

    recipe_file             recipes/<generation>.yaml
    generation              its folder
    teacher_verdict         its teacher's verdict folder, which says what the line was taught; nobody's is empty
    bench                   the bench that lists its benchmarks
    faces                   the folder with every archive's face table, by name
    withdrawn_file          what is neither learned nor measured
    operating_point_folder  output: operating_point.json and, where there is a point, familiarity.safetensors and
                            population.parquet
    """
    recipe = Recipe.read(recipe_file)
    card, withdrawn = read_card(generation), orders.read(withdrawn_file)
    taught = taught_until(recipe, teacher_verdict)
    tables = _tables([*taught, *(name for name in recipe.benchmarks if name not in taught)], recipe, bench, faces)
    lessons = {name: tables[name] for name in taught}
    validating = _validating(lessons.values(), withdrawn)
    why = lacking(validating, recipe.operating_point)
    asked = {name: table for name, table in lessons.items() if name in recipe.benchmarks and asks_for_ladder(recipe)}
    about = {"generation": card["generation"], "weights": card["weights"], "taught": list(taught), "ladder": None}
    if not why or asked:
        from components.evaluation.asking import Asking  # torch, for which nobody waits who has too few clips

        asking = Asking.of(recipe, generation)
        about["ladder"] = {name: asking.ladder(name, table) for name, table in asked.items()} or None
    if why:
        point_files.write(operating_point_folder, {**about, "point": None, "reason": why})
        print(f"{card['generation']}: no operating point, because there are {why}.", flush=True)
        return
    answers = {name: without(asking.answers(name, table), withdrawn) for name, table in lessons.items()}
    others = {name: table for name, table in tables.items() if name not in taught}
    groups = ((lessons, TRAIN), (lessons, VAL), (others, VAL))
    learned, apart, untaught = (_kin(asking, group, split, withdrawn) for group, split in groups)
    familiar = familiarity.fitted(learned, apart, untaught, recipe.operating_point.unfamiliar)
    told = {
        "validation": {name: _counted(found, lessons[name].digest) for name, found in answers.items()},
        "quality": quality(validating),
    }
    clips = clip_scores(pd.concat(answers.values()))
    point = fit(clips, recipe.operating_point, recipe.evaluation.confidence, familiar, told)
    point.write(operating_point_folder, about)
    reference(clips, apart, validating).write(operating_point_folder)
    print(f"{card['generation']}: {in_words(point)}", flush=True)


def taught_until(recipe: Recipe, teacher_verdict: Path) -> tuple[str, ...]:
    """What the line was taught up to this generation, oldest first."""
    before = () if recipe.row.is_founder else Matrix.read(teacher_verdict).learns.values()
    return tuple(dict.fromkeys([*before, recipe.row.learns]))


def asks_for_ladder(recipe: Recipe) -> bool:
    return recipe.operating_point.ladder or any(rule.rule == "robustness" for rule in recipe.gate)


def lacking(faces: pd.DataFrame, options: OperatingPointOptions) -> str | None:
    """What there is, and what it would take, where these validation faces are of too few clips; None where they do."""
    clips = faces.drop_duplicates(["archive", "clip"])
    counts = {label: int((clips["label"] == label).sum()) for label in LABELS}
    sources = {label: clips.loc[clips["label"] == label, "source"].nunique() for label in LABELS}
    least = calibration.needed(options.false_alarms)
    if counts[REAL] >= least and counts[FORGED] >= FEWEST_FORGED and min(sources.values()) >= FEWEST_SOURCES:
        return None
    return (
        f"{counts[REAL]} genuine and {counts[FORGED]} forged validation clips, of {sources[REAL]} and {sources[FORGED]} "
        f"sources; a threshold for {options.false_alarms:.0%} false alarms takes {least} genuine and {FEWEST_FORGED} forged "
        f"ones, of {FEWEST_SOURCES} sources each"
    )


def fit(
    clips: pd.DataFrame,
    options: OperatingPointOptions,
    confidence: float,
    familiar: familiarity.Familiarity | None = None,
    found: Mapping[str, Any] | None = None,
) -> OperatingPoint:
    """The operating point of validation clips (`metrics.clip_scores`) that are not `lacking`; `found` is said beside it.

    A source is what carries one name, in however many archives, because archives of one stream share genuine clips.
    """
    labels, scores = clips["label"].to_numpy(np.int64), clips["p_fake"].to_numpy(np.float64)
    sources = clips["source"].astype(str).to_numpy()
    fitted = calibration.fitted(labels, scores, sources)
    threshold = calibration.threshold(labels, scores, options.false_alarms)
    margin = calibration.margin(scores, threshold, options.undecided)
    point = OperatingPoint(fitted.calibration, threshold, margin, {}, familiar)
    forged, near = point.forged(scores), [called is None for called in point.called(scores)]
    genuine = labels == REAL
    measured = {
        "asked": options.model_dump(mode="json"),
        "false_alarms": calibration.rate(forged[genuine], sources[genuine], confidence).as_json(),
        "misses": calibration.rate(~forged[~genuine], sources[~genuine], confidence).as_json(),
        "undecided": float(np.mean(near)),
        "cllr": calibration.cllr(labels, fitted.foretold),
        "cllr_by_kind": fitted.held_out,
        "calibration_error": calibration.balanced_error(labels, fitted.foretold),
        "reliability": calibration.reliability(labels, fitted.foretold),
    }
    return OperatingPoint(fitted.calibration, threshold, margin, {**measured, **(found or {})}, familiar)


def reference(clips: pd.DataFrame, kin: Sequence[Kin], rows: pd.DataFrame) -> Population:
    """What later files are compared with: the validation clips (`metrics.clip_scores`) whose faces were looked at, by their
    looks and by what the table's `rows` say of the quality of their faces."""
    looked = pd.concat([pd.DataFrame({"archive": own.archive, "clip": own.clips}) for own in kin], ignore_index=True)
    traits = {view: np.concatenate([own.traits[view] for own in kin]) for view in kin[0].traits}
    of_clip = looked.groupby(["archive", "clip"], sort=False)
    index, known = of_clip.ngroup().to_numpy(), of_clip.first().index
    faces = np.bincount(index)[:, None]
    means = {view: _summed(values, index) / faces for view, values in traits.items()}
    columns = ["score", *face_quality.COLUMNS]
    numbers = rows.groupby(["archive", "clip"])[columns].mean().rename(columns={"score": "detector_score"}).loc[known]
    about = clips.set_index(["archive", "clip"]).loc[known]
    return Population(
        tuple(about["source"].astype(str)),
        about["p_fake"].to_numpy(np.float64),
        {view: values.astype(np.float32) for view, values in means.items()},
        {str(column): numbers[column].to_numpy(np.float64) for column in numbers},
    )


def _summed(values: NDArray[np.float32], index: NDArray[Any]) -> NDArray[np.float64]:
    """(N, D) of each number in `index`, (clips, D)."""
    sums = np.zeros((index.max() + 1, values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def quality(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Of every number that a face table says of a face, quantiles over these rows: its quality and the detector's score."""
    measured = {name: rows[name].to_numpy(np.float64) for name in ("score", *face_quality.COLUMNS)}
    known = {name: values[np.isfinite(values)] for name, values in measured.items()}
    return {
        name: {
            "faces": len(values),
            "quantiles": dict(zip(map(str, QUANTILES), np.quantile(values, QUANTILES).tolist(), strict=True)),
        }
        for name, values in sorted(known.items())
        if len(values)
    }


def in_words(point: OperatingPoint) -> str:
    """`forged above 0.731, where 4.8 % of genuine clips are [.1, .2] and 3.0 % of forged ones are missed …`"""
    alarms, misses = (_percent(point.found[name]) for name in ("false_alarms", "misses"))
    return (
        f"a clip is called forged above {point.threshold:.4g}; of validation clips {alarms} of the genuine are, and "
        f"{misses} of the forged are not. {point.calibration.kind.capitalize()}, Cllr {point.found['cllr']:.3f}."
    )


def _percent(raw: Mapping[str, Any]) -> str:
    return f"{raw['value']:.1%} [{raw['low']:.1%}, {raw['high']:.1%}]"


def _tables(names: Sequence[str], recipe: Recipe, bench: Path, faces: Path) -> dict[str, FaceTable]:
    """Face tables by name; of benchmarks those that the bench lists."""
    listed = benchmarks([name for name in names if name in recipe.benchmarks], read_bench(bench), faces, bench)
    others = {
        name: FaceTable.load(faces / name, cache_bytes=0, shared_bytes=settings().decoded_bytes)
        for name in names
        if name not in listed
    }
    return {name: (listed | others)[name] for name in names}


def looked_at(rows: pd.DataFrame, split: str, withdrawn: Sequence[Withdrawal]) -> NDArray[np.intp]:
    """Positions of faces of a split, evenly spaced: OF_A_CLIP at most of a clip that validates, OF_AN_ARCHIVE in all."""
    places = np.flatnonzero(((rows["split"] == split) & ~orders.struck(rows, withdrawn)).to_numpy())
    if split == VAL and len(places):
        clips = pd.Series(places).groupby(rows["clip"].to_numpy()[places], sort=False)
        places = np.sort(np.concatenate([own.to_numpy()[spread(len(own), OF_A_CLIP)] for _, own in clips]))
    return places[spread(len(places), OF_AN_ARCHIVE)]


def without(rows: pd.DataFrame, withdrawn: Sequence[Withdrawal]) -> pd.DataFrame:
    return rows[~orders.struck(rows, withdrawn)]


def _kin(asking: Asking, tables: Mapping[str, FaceTable], split: str, withdrawn: Sequence[Withdrawal]) -> list[Kin]:
    """Faces of a split of each archive that has such."""
    places = {name: looked_at(tables[name].rows, split, withdrawn) for name in tables}
    return [
        Kin(name, asking.look(name, tables[name], rows), tables[name].rows["clip"].to_numpy()[rows])
        for name, rows in places.items()
        if len(rows)
    ]


def _validating(tables: Iterable[FaceTable], withdrawn: Sequence[Withdrawal]) -> pd.DataFrame:
    """Rows of the faces that validate."""
    return without(pd.concat([table.rows[table.rows["split"] == VAL] for table in tables]), withdrawn)


def _counted(faces: pd.DataFrame, digest: str) -> dict[str, Any]:
    """How many clips an archive gave, whose faces have that digest."""
    clips = clip_scores(faces)
    counts = {"genuine": int((clips["label"] == REAL).sum()), "forged": int((clips["label"] == FORGED).sum())}
    return {"faces": digest, **counts, "sources": int(clips["source"].nunique())}


if __name__ == "__main__":
    stage.run(calibrate, brief=True)
