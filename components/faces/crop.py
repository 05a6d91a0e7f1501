"""Stage crop: the clips of an archive become its face table.

Clips are worked on by many at once (`components.faces.workers`) and written in the order of the manifest, so the table is
the same however many there are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components import orders, stage
from components.archives import manifest as manifests
from components.archives.files import IMAGE
from components.archives.fragments import part_of
from components.archives.listing import MASK, is_inside
from components.archives.report import passed
from components.errors import BadArchive, NoFaceFound
from components.faces import detection, hashes, weights
from components.faces.extraction import OK, UNREADABLE, profile_of
from components.faces.table import FaceTable, Writer
from components.faces.workers import Job, Task, cuts
from components.params import CropOptions, ValidationOptions
from components.progress import shown

STILLS_A_JOB = 32  # stills share the detector's batches
NAMED = 10  # clips a message names before it only counts


def crop(
    archive: Path,
    manifest: Path,
    validation: Path,
    withdrawn_file: Path,
    weights_file: Path,
    faces: Path,
    *,
    name: str,
    detector: str,
    faces_params: CropOptions,
    validation_params: ValidationOptions,
    report: str = "",
) -> FaceTable:
    """Write the face table of one archive to folder `faces`, and what the suite found of it to folder `report`.

    archive, manifest and validation are the folders of the stages before; what `withdrawn_file` names is left out,
    and `weights_file` says which weights find the faces. A clip that cannot be read is an outcome. Raises BadArchive
    naming such clips where they are more than may be passed over, or other weights; NoFaceFound where too few clips show a
    face, Invalid where the faces break a rule; then `faces` stays as it was.
    """
    _expect_passed(validation, name)
    from components.archives import expectations  # takes seconds to import

    clips = manifests.read(manifest / manifests.MANIFEST_FILE)
    withdrawn = orders.read(withdrawn_file)
    clips = clips[~orders.struck(clips.assign(archive=name, clip=clips["path"], frame=-1), withdrawn)]
    if clips.empty:
        raise BadArchive(
            f"expected clips in the manifest of archive '{name}', found none that is not withdrawn. Run ingest@{name} again."
        )
    archive = archive.resolve()  # others may work in another folder
    jobs = _jobs(archive, clips)
    masks = _masks(archive, clips)
    finder = detection.build(detector, faces_params, archive=archive)
    weights.expect(weights_file, detector, finder.weights_digest)
    lengths = dict(zip(clips["path"], clips["frames"].tolist(), strict=True))
    about: Mapping[Any, Any] = clips.set_index("path")[["label", "method", "identity", "source", "split"]].to_dict(
        "index"
    )
    single = {(order.clip, order.frame) for order in withdrawn if order.archive == name and order.frame is not None}
    task = Task(archive, detector, faces_params, finder.weights_digest, masks, lengths)
    outcomes: list[tuple[str, str, int, str]] = []
    broken: dict[str, str] = {}
    hashed: list[tuple[str, int, str, bytes]] = []
    with Writer(faces, profile_of(finder, faces_params), masks=bool(masks)) as writer:
        found = shown(cuts(jobs, task, finder), f"cropping {name}", total=len(jobs))
        for cut in chain.from_iterable(found):
            if (cut.clip, cut.frame) in single:
                continue
            outcomes.append((name, cut.clip, cut.frame, cut.outcome))
            if cut.outcome == UNREADABLE:
                broken[cut.clip] = cut.reason
            elif cut.outcome == OK:
                of_clip = {"archive": name, "clip": cut.clip, "frame": cut.frame, **about[cut.clip]}
                writer.add({**of_clip, **cut.face}, cut.image, cut.mask)
            hashed += [(cut.clip, cut.frame, kind, value) for kind, value in cut.hashes.items()]
        _expect_readable(broken, len(clips), name, validation_params.max_unreadable)
        seen = pd.DataFrame(outcomes, columns=["archive", "clip", "frame", "outcome"]).astype({"frame": np.int32})
        _expect_yield(seen, name, detector, validation_params.min_yield)
        expectations.check_faces(
            writer.rows, clips, validation_params, Path(report) if report else None, size_px=faces_params.size_px
        )
        table = writer.finish(seen)
    hashes.write(hashed, faces)
    return table


def _jobs(archive: Path, clips: pd.DataFrame) -> list[Job]:
    """Videos one by one, neighbouring stills together."""
    jobs: list[Job] = []
    before = None
    for path, kind in zip(clips["path"], clips["kind"], strict=True):
        clip = (path, _inside(archive, part_of(path).file))
        if kind == before == IMAGE and len(jobs[-1]) < STILLS_A_JOB:
            jobs[-1].append(clip)
        else:
            jobs.append([clip])
        before = kind
    return jobs


def _masks(archive: Path, clips: pd.DataFrame) -> dict[str, Path]:
    """Clip -> the file that shows what was manipulated of it, where there is one."""
    if MASK not in clips:
        return {}
    return {clip: _inside(archive, mask) for clip, mask in zip(clips["path"], clips[MASK], strict=True) if mask}


def _inside(archive: Path, path: str) -> Path:
    """The file of a clip or of its mask; no manifest may name what lies elsewhere."""
    if not is_inside(path):
        raise BadArchive(f"expected paths below '{archive}', found '{path}', which leads out of it. Run ingest again.")
    return archive / path


def _expect_passed(validation: Path, name: str) -> None:
    """The suite over the manifest must have passed: a refused archive leaves a report too."""
    said = passed(validation)
    if not said:
        found = "none" if said is None else "a suite that refused it"
        raise BadArchive(
            f"expected a passed report of '{name}' in '{validation}', found {found}. Run validate@{name} and see what it says."
        )


def _expect_readable(broken: Mapping[str, str], clips: int, name: str, most: float) -> None:
    """No more than this share of the clips may have been passed over, each with the reason why it cannot be read."""
    if not broken:
        return
    more = f"\n  and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    lines = "".join(f"\n  '{clip}': {reason}" for clip, reason in list(broken.items())[:NAMED])
    told = f"{len(broken)} of {clips} clips in '{name}' cannot be read (passed over: {most:.0%} at most):{lines}{more}"
    if len(broken) > most * clips:
        raise BadArchive(f"{told}\nFetch these files again, or raise validation.max_unreadable.")
    print(told, file=sys.stderr)


def _expect_yield(outcomes: pd.DataFrame, name: str, detector: str, least: float) -> None:
    """At least this share of the clips must show a face."""
    shows = outcomes["outcome"].eq(OK).groupby(outcomes["clip"]).any()
    without = list(shows.index[~shows])
    if shows.any() and shows.mean() >= least:
        return
    more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
    raise NoFaceFound(
        f"{len(without)} of {len(shows)} clips in '{name}' gave no face to '{detector}' (allowed: {1 - least:.0%}): "
        f"{', '.join(repr(clip) for clip in without[:NAMED])}{more}. Lower faces.min_score, raise "
        "faces.max_input_px, choose another face detector, or leave these clips out."
    )


if __name__ == "__main__":
    stage.run(crop)
