"""What stage crop takes, beside a plain script on the same frames, beside its own parts, and on a clip of ten minutes.

    python -m benchmarks.crop              on a machine with nothing else to do; --clips FOLDER, --minutes 10
    python -m benchmarks --only crop --store        the same, into RESULTS.md

Needs real clips and the weights of YuNet, which are not part of the repository: `PERENNIAL_REAL_DATA`. The plain script is
what one writes first: every frame is decoded, YuNet sees those that are wanted at 1280 px, the largest face is warped and
written as PNG, in one process with whatever threads the libraries take. It reads as PyAV's pages show it; or with OpenCV,
passing over frames without converting them, which is as fast as a plain script gets. Every measurement is a process of its
own, its imports not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import ratios
from benchmarks.ratios import Row

DATA = Path(os.environ.get("PERENNIAL_REAL_DATA", ratios.ROOT.parent / "shared" / "data"))
WEIGHTS = DATA / "weights" / "face_detection_yunet.onnx"
FRAMES, SIZE_PX, MARGIN, DETECT_PX = 32, 256, 1.3, 1280
PAIRS = 3
PLAIN = {"pyav": "a plain script that reads with PyAV", "opencv": "a plain script that reads with OpenCV"}


def rows(clips: Path = DATA / "clips", minutes: float = 10) -> Iterator[Row]:
    """Ours to two plain scripts, to its own parts, and a long clip's memory to a short one's."""
    if not clips.is_dir() or not WEIGHTS.is_file():
        yield ratios.missing(
            "crop", "a plain script", f"no clips in {clips.name}/ or no weights: set PERENNIAL_REAL_DATA"
        )
        return
    walls = []
    for reader, words in PLAIN.items():
        pairs = [(_measured("ours", clips), _measured(reader, clips)) for _ in range(PAIRS)]
        ours, plain = pairs[-1]
        walls += [one["wall"] for one, _ in pairs]
        row = ratios.compared("crop, wall", words, [(a["wall"], b["wall"]) for a, b in pairs], unit="s")
        more = f"CPU {ours['cpu']:.1f} s against {plain['cpu']:.1f}; {ours['faces']:.0f} faces against {plain['faces']:.0f}"
        yield Row(f"{row.name}, {reader}", words, row.ratio, row.better, f"{row.numbers}; {more}; aim: 0.4 at most")
    yield _beside_its_parts(walls, ours["cpu"], _measured("parts", clips))
    yield _long(clips, minutes)


def _beside_its_parts(walls: list[float], cpu: float, parts: dict[str, float]) -> Row:
    """The wall time no schedule beats: the slowest part, or all of them on all cores."""
    cores = parts.pop("cores")
    slowest = max(parts, key=lambda name: parts[name])
    floor = max(parts[slowest], cpu / cores)
    told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
    numbers = (
        f"{min(walls):.1f} s against {floor:.1f} (CPU {cpu:.1f} s, {cores:.0f} cores; alone: {told}); aim: 1.2 at most"
    )
    return Row("crop, wall", "the slowest part, or CPU over cores", min(walls) / floor, "lower", numbers)


def _long(clips: Path, minutes: float) -> Row:
    """Peak memory of a clip of `minutes` over that of one of a tenth."""
    with tempfile.TemporaryDirectory() as room:
        peaks = []
        for name, length in (("short", minutes / 10), ("long", minutes)):
            folder = Path(room) / name
            folder.mkdir()
            for clip, number in zip(
                sorted(clips.rglob("*.mp4"), key=_bytes), range(2), strict=False
            ):  # one of each class
                _repeated(clip, folder / f"{number}.mp4", frames=round(length * 60 * 25))
            peaks.append(_measured("ours", folder)["peak_mb"])
    numbers = f"{peaks[1]:.0f} MB against {peaks[0]:.0f}"
    return Row(
        f"crop of a clip of {minutes:g} min, peak memory", "of a tenth of it", peaks[1] / peaks[0], "lower", numbers
    )


def _bytes(path: Path) -> int:
    return path.stat().st_size


def _repeated(clip: Path, into: Path, *, frames: int) -> None:
    """So many frames of a clip, begun again where it ends."""
    import av

    with av.open(str(clip)) as source:
        pictures = [
            frame.to_ndarray(format="yuv420p") for _, frame in zip(range(250), source.decode(video=0), strict=False)
        ]
    with av.open(str(into), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0] * 2 // 3, "yuv420p"
        for number in range(frames):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pictures[number % len(pictures)], format="yuv420p")))
        film.mux(stream.encode(None))


# -- what is measured, each in a process of its own --------------------------------------------------------------------------


def _measured(what: str, clips: Path) -> dict[str, float]:
    environment = {**os.environ, "PERENNIAL_YUNET_WEIGHTS": str(WEIGHTS), "PERENNIAL_RAY_ADDRESS": ""}
    command = [sys.executable, "-m", "benchmarks.crop", "--only", what, "--clips", str(clips)]
    done = subprocess.run(command, cwd=ratios.ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _timed(act: Callable[[], int]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    faces = act()
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {**took, "faces": faces, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _ours(clips: Path, room: Path) -> dict[str, float]:
    import great_expectations  # noqa: F401 seconds that are not crop's
    import pandas as pd

    from components import orders
    from components.archives import manifest, media
    from components.faces.crop import crop
    from components.params import CropOptions, ValidationOptions

    about = []
    for number, path in enumerate(sorted(clips.rglob("*.mp4"))):
        seen = media.measure(path)
        named = (path.relative_to(clips).as_posix(), seen.sha256, number % 2, "forged" if number % 2 else "genuine", "")
        about.append((*named, str(number), "test", seen.kind, seen.frames, seen.width, seen.height))
    table = pd.DataFrame(about, columns=manifest.SCHEMA.names).sort_values("path", ignore_index=True)
    manifest.write(table, room / "manifest" / manifest.MANIFEST_FILE)
    (room / "validation").mkdir()
    (room / "validation" / "report.json").write_text(json.dumps({"passed": True}))
    orders.write(room / "withdrawn.yaml", ())
    options = CropOptions(frames=FRAMES, size_px=SIZE_PX, margin=MARGIN)
    places = (
        clips,
        room / "manifest",
        room / "validation",
        room / "withdrawn.yaml",
        room / "weights.txt",
        room / "faces",
    )
    rules = ValidationOptions(min_per_class=1)

    def act() -> int:
        return len(crop(*places, name="clips", detector="yunet", faces_params=options, validation_params=rules))

    return _timed(act)


def _plain(clips: Path, room: Path, read: Callable[[Path], Iterator[tuple[int, Any]]]) -> dict[str, float]:
    """Self-contained: what somebody would write without this project. `read` yields the wanted frames in BGR."""
    import cv2
    import numpy as np

    template = np.float32(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    )
    template = ((template / 112 - 0.5) / MARGIN + 0.5) * SIZE_PX
    detector = cv2.FaceDetectorYN.create(str(WEIGHTS), "", (320, 320), 0.6)

    def act() -> int:
        faces = 0
        for path in sorted(clips.rglob("*.mp4")):
            for index, frame in read(path):
                scale = min(1.0, DETECT_PX / max(frame.shape[:2]))
                small = (
                    cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
                )
                detector.setInputSize((small.shape[1], small.shape[0]))
                found = detector.detect(small)[1]
                if found is None:
                    continue
                best = max(found, key=lambda row: row[2] * row[3])
                matrix = cv2.estimateAffinePartial2D(best[4:14].reshape(5, 2) / scale, template, method=cv2.LMEDS)[0]
                cv2.imwrite(str(room / f"{path.stem}_{index}.png"), cv2.warpAffine(frame, matrix, (SIZE_PX, SIZE_PX)))
                faces += 1
        return faces

    return _timed(act)


def _wanted(count: int) -> set[int]:
    import numpy as np

    return set(np.linspace(0, count - 1, FRAMES).round().astype(int).tolist())


def _by_pyav(path: Path) -> Iterator[tuple[int, Any]]:
    import av

    with av.open(str(path)) as video:
        wanted = _wanted(video.streams.video[0].frames)
        for index, frame in enumerate(video.decode(video=0)):
            if index in wanted:
                yield index, frame.to_ndarray(format="bgr24")


def _by_opencv(path: Path) -> Iterator[tuple[int, Any]]:
    import cv2

    video = cv2.VideoCapture(str(path))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = _wanted(count)
    for index in range(count):
        if not video.grab():
            return
        if index in wanted:
            yield index, video.retrieve()[1]


def _parts(clips: Path, room: Path) -> dict[str, float]:  # noqa: ARG001
    """Seconds of each part by itself, on one core, one clip after the other."""
    import cv2

    from components.archives import media
    from components.faces import alignment, detection, frames
    from components.faces.detection import Frame
    from components.faces.table import encode
    from components.faces.workers import THREADS
    from components.params import CropOptions

    cv2.setNumThreads(1)
    options = CropOptions(frames=FRAMES, size_px=SIZE_PX, margin=MARGIN)
    finder = detection.build("yunet", options)
    took = dict.fromkeys(("decode", "detect", "align", "encode"), 0.0)

    def timed(part: str, act: Callable[[], Any]) -> Any:
        start = time.process_time()
        made = act()
        took[part] += time.process_time() - start
        return made

    for path in sorted(clips.rglob("*.mp4")):
        wanted = frames.evenly_spaced(media.shown(path), FRAMES)
        seen = timed(
            "decode", lambda path=path, wanted=wanted: [Frame("", i, p) for i, p in frames.read_at(path, wanted)]
        )
        found = timed(
            "detect",
            lambda seen=seen: [
                (frame, finder.refine(frame, faces[0]))
                for frame, faces in zip(seen, map(detection.by_size, finder.detect(seen)), strict=True)
                if faces
            ],
        )
        aligned = timed(
            "align",
            lambda found=found: [alignment.align(f.pixels, face.landmarks, SIZE_PX, MARGIN)[0] for f, face in found],
        )
        timed("encode", lambda aligned=aligned: [encode(image) for image in aligned])
    return {**took, "cores": THREADS}


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--clips", type=Path, default=DATA / "clips")
    asked.add_argument("--minutes", type=float, default=10, help="of the long clip")
    asked.add_argument("--only", choices=("ours", "parts", *PLAIN), help=argparse.SUPPRESS)
    said = asked.parse_args()
    if said.only:
        with tempfile.TemporaryDirectory() as room:
            plain = {"pyav": partial(_plain, read=_by_pyav), "opencv": partial(_plain, read=_by_opencv)}
            print(json.dumps({"ours": _ours, "parts": _parts, **plain}[said.only](said.clips, Path(room))))
        return
    for row in rows(said.clips, said.minutes):
        ratio = "missing" if row.ratio is None else f"{row.ratio:.3f}"
        print(f"{row.name}: {ratio} of {row.baseline}: {row.numbers}", flush=True)


if __name__ == "__main__":
    main()
