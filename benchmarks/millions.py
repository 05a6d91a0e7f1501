"""What a face table, a manifest or an archive costs by the row: memory that is a process's own, and CPU time.

    python -m benchmarks.millions FOLDER [--rows 100000 1000000] [--only PART …]
    python -m benchmarks.millions FOLDER --only land --rows 300000

Each part runs in a process of its own. Memory is the highest sum of what it and its children hold beyond what was theirs
before it began, files that are mapped apart (they are the disk's cache, and the system takes it back); CPU is theirs as
well. Images are tiny, so that what grows is what is held by the row. Nothing is deleted from FOLDER: tables and archives
made there serve the next run.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FRAMES = 16
"""Faces a clip."""
EVERY_S = 0.02
PARAMS = """\
archives: {}
sequence: []
benchmarks: []
lines: {small: {detector: rsia_net, strategy: cffd}}
faces: {size_px: 64}
validation: {}
gate: [{rule: infra}]
"""


@dataclass
class Cost:
    mb: float = 0.0
    cpu_s: float = 0.0


# -- parts: each prepares what it needs, then does its work while `measured` looks on --------------------------------------


def write(folder: Path, count: int) -> Cost:
    from components.faces.table import Writer, encode

    images, cost = _images(encode), Cost()
    with measured(cost), Writer(_table(folder, count), {"size_px": 8}) as writer:
        for number in range(count):
            writer.add(_row(number), images[number % len(images)])
        writer.finish()
    return cost


def read(folder: Path, count: int) -> Cost:
    from components.faces.table import FaceTable

    cost = Cost()
    with measured(cost):
        table = FaceTable.load(_table(folder, count))
        assert len(table.rows) == count
        for start in range(0, count, 1000):
            table.images([start])
    return cost


def take(folder: Path, count: int) -> Cost:
    """A memory of everything, or a part of a table: half of its faces."""
    from components.faces.table import FaceTable

    cost, table = Cost(), FaceTable.load(_table(folder, count))
    with measured(cost):
        table.take(range(0, count, 2), folder / f"half-{count}")
    return cost


def sample(folder: Path, count: int) -> Cost:
    """What three epochs meet, drawn as pairs once."""
    from components.faces.table import FaceTable
    from components.tasks.dataset import Faces
    from components.tasks.sampling import as_numbers, epoch_batches, paired_batches

    cost, table = Cost(), FaceTable.load(_table(folder, count))
    with measured(cost):
        task = Faces.training_split("task", table)
        rows = as_numbers(task.rows)
        for epoch in range(3):
            epoch_batches(rows, size=32, faces_per_clip=8, seed=(0, epoch))
        paired_batches(rows, size=32, faces_per_clip=8, seed=(0, 3))
        task.bytes(task.indices[:32])
    return cost


def score(folder: Path, count: int) -> Cost:
    """An examination by a detector that looks at brightness alone."""
    import torch

    from components.detectors import Detection
    from components.evaluation import examiner, scoring
    from components.evaluation.scores import COLUMNS, metrics_of
    from components.faces.table import FaceTable, write_parquet
    from components.params import EvaluationOptions

    class Brightness(torch.nn.Module):
        def forward(self, faces: torch.Tensor) -> Detection:
            mean = faces.mean((1, 2, 3))
            logits = torch.stack([-mean, mean], 1)
            return Detection(logits, logits, ())

    cost, table = Cost(), FaceTable.load(_table(folder, count), cache_bytes=0)
    with measured(cost):
        chosen = examiner._rows(table, "test")
        p_fake = scoring.score(Brightness(), table, chosen, 256)  # type: ignore[arg-type]
        answers = table.rows[COLUMNS[:-1]].iloc[chosen].assign(p_fake=p_fake)
        write_parquet(answers, folder / "answers.parquet")
        metrics_of(answers, table.digest, EvaluationOptions(bootstrap=20), 0)
    return cost


def curate(folder: Path, count: int) -> Cost:
    """A reservoir of everything seen, which asks nothing of a detector."""
    from components.faces.table import FaceTable
    from components.memory import buffer
    from components.memory.buffer import Candidates, Memory
    from components.params import MemoryOptions
    from components.tasks.dataset import Faces
    from components.vocabulary import NOBODY

    (folder / NOBODY).mkdir(exist_ok=True)
    nothing, cost, table = Memory.load(folder / NOBODY), Cost(), FaceTable.load(_table(folder, count))
    options = MemoryOptions(policy="everything")
    with measured(cost):
        candidates = Candidates.unseen(Faces.training_split("task", table))
        chosen = buffer.kept(nothing, candidates, options, 0)
        buffer.write_faces(folder / f"memory-{count}", nothing, candidates, chosen, options)
    return cost


def faces(folder: Path, count: int) -> Cost:
    """The suite over a face table, as crop asks for it."""
    from components.archives import expectations
    from components.faces.table import FaceTable
    from components.params import ValidationOptions

    clips, cost = _manifest(count // FRAMES), Cost()
    with measured(cost):
        rows = FaceTable.load(_table(folder, count)).rows
        expectations.check_faces(rows, clips, ValidationOptions(), folder / f"docs-{count}", size_px=8)
    return cost


def validate(folder: Path, count: int) -> Cost:
    """The suite over a manifest of so many clips, after as many that landed before."""
    from components.archives import expectations, manifest
    from components.params import ValidationOptions

    rows, cost = _manifest(count), Cost()
    earlier = rows[["sha256"]].assign(sha256=rows["sha256"].str.upper(), archive="before")
    manifest.write(rows, folder / "manifest.parquet")
    manifest.write(earlier, folder / "earlier.parquet", manifest.EARLIER)
    del rows, earlier
    with measured(cost):
        rows = manifest.read(folder / "manifest.parquet")
        earlier = manifest.read_earlier(folder / "earlier.parquet")
        docs = folder / f"manifest-docs-{count}"
        expectations.check_manifest(rows, earlier, role="both", params=ValidationOptions(), docs=docs).enforce("many")
    return cost


def land(folder: Path, count: int) -> Cost:
    """An archive of so many stills into a new workspace: the whole command."""
    import tempfile

    source = folder / f"archive-{count}"
    if not (source / "labels.csv").is_file():
        _archive(source, count)
    cost = Cost()
    with tempfile.TemporaryDirectory(dir=folder) as root:
        where = {"DVC_SITE_CACHE_DIR": f"{root}/site", "DVC_GLOBAL_CONFIG_DIR": f"{root}/global"}
        os.environ |= where
        from flows import pipeline
        from flows.land import land as landing
        from flows.workspace import Workspace

        workspace = Workspace.create(Path(root) / "workspace", PARAMS)
        pipeline.start(workspace.root)
        with measured(cost, every_s=0.5):
            landing(workspace, "many", str(source), layout="crops")
    return cost


PARTS: dict[str, Callable[[Path, int], Cost]] = {
    part.__name__: part for part in (write, read, take, sample, score, curate, faces, validate)
}
LONG: dict[str, Callable[[Path, int], Cost]] = {"land": land}


# -- what they are made of -------------------------------------------------------------------------------------------------


def _table(folder: Path, count: int) -> Path:
    return folder / f"faces-{count}"


def _clip(number: int) -> dict[str, Any]:
    """Clip `number`: every second forged, of the source of the one before it, a fifth of the sources test clips."""
    label, source = number % 2, number // 2
    split = ("train", "train", "train", "test", "val")[source // 2 % 5]
    return {
        "label": label,
        "method": ("genuine", "identity_swap")[label],
        "identity": f"person-{source // 2:06d}",
        "source": f"source-{source:07d}",
        "split": split,
    }


def _path(number: int) -> str:
    return f"clips/{number // 1000:04d}/{number:07d}.mp4"


def _row(number: int) -> dict[str, Any]:
    import numpy as np

    clip, frame = divmod(number, FRAMES)
    points = np.arange(10, dtype=np.float32) / 2
    found = {"landmarks": points, "box": points[:4], "score": 0.75}
    return {"archive": "many", "clip": _path(clip), "frame": frame, **_clip(clip), **found}


def _images(encode: Callable[[Any], bytes]) -> list[bytes]:
    import numpy as np

    generator = np.random.default_rng(0)
    return [encode(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(64)]


def _manifest(count: int) -> Any:
    import hashlib

    import pandas as pd

    clips = pd.DataFrame([_clip(number) for number in range(count)])
    digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(count)]
    rows = clips.assign(path=[_path(number) for number in range(count)], sha256=digests, kind="clip")
    return rows.assign(frames=FRAMES, width=640, height=480).sort_values("path", ignore_index=True)


def _archive(root: Path, count: int) -> None:
    """Stills of 64 px with their number on them, 200 in a folder, in layout `crops`."""
    import cv2
    import numpy as np

    grounds = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    lines = ["file,label,method,source,split"]
    for number in range(count):
        label, source = number % 2, number // 200
        name = f"{('real', 'fake')[label]}/{source:05d}/{number:07d}.jpg"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image = cv2.resize(grounds[number % 64], (64, 64))
        cv2.putText(image, str(number), (0, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
        (root / name).write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes())
        split = "test" if source % 5 == 0 else "train"
        lines.append(f"{name},{label},{('genuine', 'swap')[label]},s{source:05d},{split}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


# -- how it is measured ----------------------------------------------------------------------------------------------------


@contextmanager
def measured(cost: Cost, every_s: float = EVERY_S) -> Iterator[None]:
    """Write into `cost` what the block takes."""
    import psutil

    done, before, peak = threading.Event(), _own_mb(psutil.Process()), 0.0

    def watch() -> None:
        nonlocal peak
        process = psutil.Process()
        while not done.is_set():
            peak = max(peak, _own_mb(process))
            done.wait(every_s)

    watcher = threading.Thread(target=watch, daemon=True)
    cpu = _cpu_s()
    watcher.start()
    yield
    done.set()
    watcher.join()
    cost.mb, cost.cpu_s = peak - before, _cpu_s() - cpu


def _own_mb(process: Any) -> float:
    """Of a process and its children."""
    family = [process.pid, *(child.pid for child in process.children(recursive=True))]
    return sum(map(_anonymous_kb, family)) / 1024


def _anonymous_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def _cpu_s() -> float:
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    chosen = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    chosen.add_argument("folder", type=Path)
    chosen.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    chosen.add_argument("--only", nargs="+", choices=(*PARTS, *LONG), default=list(PARTS))
    chosen.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = chosen.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.inside:
        cost = (PARTS | LONG)[asked.only[0]](asked.folder, asked.rows[0])
        print(f"{cost.mb} {cost.cpu_s}")
        return
    print("part          rows      MB  bytes/row   CPU s", flush=True)
    for part in asked.only:
        for count in asked.rows:
            began = [sys.executable, "-m", "benchmarks.millions", str(asked.folder), "--inside", "--only", part]
            run = subprocess.run([*began, "--rows", str(count)], stdout=subprocess.PIPE, text=True, check=True)
            mb, cpu = map(float, run.stdout.split()[-2:])
            print(f"{part:10} {count:8,} {mb:7.0f} {mb * 2**20 / count:10.0f} {cpu:7.1f}", flush=True)


if __name__ == "__main__":
    main()
