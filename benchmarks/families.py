"""Does every detector learn every forgery of the lab, at its tiny size, from its own start, by its own recipe?

    python -m benchmarks.families [--detectors NAME …] [--families NAME …] [--people N] [--faces FOLDER] [--out FILE]

Archives are rendered, ingested, validated and cropped by the stages themselves, once for all detectors; a FOLDER keeps
their faces for the next run. A table says, for each training, the clip AUROC on people it never saw (validation and
test), its seconds, and the faces it took in a second on one thread.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from components import detectors, machine, orders, strategies
from components.archives.ingest import ingest
from components.archives.validate import validate
from components.evaluation import metrics
from components.evaluation.scoring import score
from components.faces.crop import crop
from components.faces.table import FaceTable
from components.generations import training
from components.generations.training import Lesson
from components.lab.archive import render_archive
from components.lab.forgeries import FAMILIES
from components.params import CropOptions, Params, TrainingOptions, ValidationOptions, parse
from components.tasks.dataset import Faces
from components.vocabulary import NOBODY, TRAIN

PEOPLE = 120
PEOPLE_OF_A_TOWER = 300
"""What adapts a frozen tower learns few people by heart: with 120, LNCLIP-DF told 0.97 of the forgeries of people it had
learned from, and 0.88 of others' (AUC, re-enactment)."""
TOWERS = ("lnclip", "masm")
CLIPS = 1  # of each person, genuine, and as many forged
FRAMES = 8
FACE_PX = 96
CLIP_PX = 160


@dataclass(frozen=True)
class Learned:
    """What became of one training."""

    auc: float
    clips: int
    """Clips the AUROC is of."""
    epochs: int
    seconds: float
    faces_per_s: float


def people_for(detector: str) -> int:
    """How many people a detector learns from and is asked about; three of five are learned from."""
    return PEOPLE_OF_A_TOWER if detector in TOWERS else PEOPLE


def faces_of(family: str, folder: Path, *, people: int) -> FaceTable:
    """The faces of an archive of this family, made below `folder` unless they are there."""
    kept = folder / f"{family}-{people}"
    if not kept.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as making:
            _make(family, Path(making), people)
            Path(making, "faces").rename(kept)  # now it is whole; a run that was stopped leaves nothing
    return FaceTable.load(kept)


def _make(family: str, place: Path, people: int) -> None:
    about = {"people": people, "clips_per_person": CLIPS, "frames": FRAMES, "size_px": CLIP_PX}
    render_archive(place / "archive", families=[family], seed=0, **about)
    (place / NOBODY).mkdir()
    ingest(
        place / "archive", place / NOBODY, place / "manifest", name=family, layout="lab", role="both", params=Params()
    )
    rules, nothing, any_weights = ValidationOptions(), place / "withdrawn.yaml", place / "weights.txt"
    orders.write(nothing, [])
    validate(place / "manifest", place / "report", name=family, role="both", validation_params=rules)
    crop(
        place / "archive", place / "manifest", place / "report", nothing, any_weights, place / "faces",
        name=family, detector="annotated", faces_params=CropOptions(frames=FRAMES, size_px=FACE_PX),
        validation_params=rules,
    )  # fmt: skip


def learned(name: str, table: FaceTable, *, size: str = "tiny", seed: int = 0) -> Learned:
    """Have detector `name` learn the training split, and ask it about the clips of everybody else."""
    options = detectors.options(name, {"size": size})
    params = parse(TrainingOptions, detectors.paper_training(name, options), f"the recipe of {name}")
    machine.deterministic(params.threads)
    torch.manual_seed(seed)
    student = detectors.build(name, options)
    task = Faces.training_split("task", table)
    finetune = strategies.build("finetune", strategies.options("finetune", {}))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        progress = training.train(
            Lesson(student, None, finetune, task, None, params, epochs=params.founder_epochs, seed=seed),
            checkpoint=Path(folder) / "checkpoint.pt",
            on_step=lambda *_: None,
        )
        seconds = time.perf_counter() - start
    held_out = np.flatnonzero((table.rows["split"] != TRAIN).to_numpy())
    answers = score(student, table, held_out, 64, machine.device())
    clips = metrics.clip_scores(table.rows.iloc[held_out].assign(p_fake=answers))
    auc = metrics.auc(clips["label"].to_numpy(np.int64), clips["p_fake"].to_numpy())
    return Learned(auc, len(clips), params.founder_epochs, seconds, progress.images / seconds)


def table_of(found: dict[str, dict[str, Learned]]) -> str:
    """Markdown: a row a detector, a column a family."""
    families = list(next(iter(found.values())))
    lines = [
        f"| detector | {' | '.join(families)} | epochs | s a training | faces/s |",
        f"|---|{'--:|' * (len(families) + 3)}",
    ]
    for name, results in found.items():
        all_of_it = list(results.values())
        means = (sum(getattr(r, what) for r in all_of_it) / len(all_of_it) for what in ("seconds", "faces_per_s"))
        cells = [f"{r.auc:.3f}" for r in all_of_it] + [str(all_of_it[0].epochs)] + [f"{mean:.0f}" for mean in means]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    chosen = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    chosen.add_argument("--detectors", nargs="+", default=detectors.names(), choices=detectors.names(), metavar="NAME")
    chosen.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES), metavar="NAME")
    chosen.add_argument("--people", type=int, help=f"default {PEOPLE}, and {PEOPLE_OF_A_TOWER} for {', '.join(TOWERS)}")
    chosen.add_argument("--seed", type=int, default=0, help="of the training; the archives stay the same")
    chosen.add_argument("--faces", type=Path, help="where faces are kept, and found again")
    chosen.add_argument("--out", type=Path, help="where the table is written, too")
    asked = chosen.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.faces or Path(temporary)
        found: dict[str, dict[str, Learned]] = {}
        for name in asked.detectors:
            found[name] = {}
            for family in asked.families:
                table = faces_of(family, folder, people=asked.people or people_for(name))
                result = found[name][family] = learned(name, table, seed=asked.seed)
                print(f"{name} on {family}: {result}", file=sys.stderr, flush=True)
    text = table_of(found)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
