"""A plan on paper for many clips, lines and accelerators: hours and bytes of each stage, and where it waits.

    python -m benchmarks.scale                                    the tables of docs/scale.md
    python -m benchmarks.scale --clips 100000 --archives 4        the same for another size
    python -m benchmarks.scale --check FOLDER [--clips 1000]      runs the pipeline, at two small sizes to learn this machine's
                                                                  rates and at --clips to see what they foretell

The model knows units (clips, faces, faces learned from), a rate for each, and that the generations of a line follow one
another while lines share the accelerators; it is checked against runs of the pipeline itself.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.line import PARAMS

HOUR = 3600.0
FACE_SPLITS = {"train": 0.60, "test": 0.25}  # of the sources; the rest is validation


@dataclass(frozen=True)
class Detector:
    """What one accelerator does with a detector at its paper's size, and how its paper trains."""

    name: str
    learns: float
    """Faces/s of bare learning, bf16, the paper's batch."""
    scores: float
    """Faces/s of bare scoring."""
    founder_epochs: int
    epochs: int
    faces_per_clip: int
    weights_mb: float
    core_s_a_face: float
    """CPU time that decoding, converting and augmenting a face takes beside the step."""


DETECTORS = {
    detector.name: detector
    for detector in (
        Detector("m2tr", 113, 320, 20, 20, 8, 75, 0.0058),
        Detector("rsia_net", 169, 821, 20, 10, 8, 148, 0.0026),
        Detector("lsda", 51, 1350, 50, 25, 1, 469, 0.0058),
        Detector("lnclip", 669, 1680, 20, 20, 32, 1213, 0.0135),
        Detector("masm", 189, 1320, 10, 10, 8, 1250, 0.0058),
    )
}
"""Rates: one H200, 16 cores, bf16, random weights, the step on a tensor that lies on the device. CPU time a face: LNCLIP-DF
and RSIA-Net measured ((219 + 86 + 1,406 + 13) ms / 128 and (55 + 8 + 20) ms / 32); for the others half of LNCLIP-DF's
augmentations (each is done to half of the faces, not to all) beside the same decoding and conversion: an estimate. Epochs,
faces a clip and weights: the recipes and `components.evaluation.cost`."""

AIMS = {"lnclip": 2.0, "masm": 2.0, "rsia_net": 4.0, "m2tr": 4.0, "lsda": 4.0}
"""How many times as fast the steps of each are aimed to become."""


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    clips: int = 1_000_000
    archives: int = 10
    """Of one size, half of the clips of each genuine; each is a task and from then on a benchmark."""
    lines: tuple[str, ...] = ("m2tr", "rsia_net", "lsda", "lnclip", "masm") * 2
    frames: int = 32
    memory_faces: int = 20_000
    teacher: float = 1.13
    """What a step takes with a teacher beside it, over one without: CFFD to fine-tuning."""
    replayed: float = 0.5
    views: int = 2
    """Of each face that curation looks at."""
    clip_mb: float = 2.0
    face_kb: float = 57.0
    size_px: int = 256

    @property
    def clips_a_task(self) -> float:
        return self.clips / self.archives

    def learned_from(self, detector: Detector, generation: int) -> float:
        """Faces a generation's training meets, remembered ones among them; the first has nothing to remember."""
        drawn = self.clips_a_task * FACE_SPLITS["train"] * min(detector.faces_per_clip, self.frames)
        if generation == 1:
            return drawn * detector.founder_epochs
        return drawn * detector.epochs / (1 - self.replayed)

    def looked_at(self) -> float:
        """Views of faces that curation scores; the memory's logits are asked for once more."""
        new = self.clips_a_task * FACE_SPLITS["train"] * self.frames * self.views
        return new + self.memory_faces

    def examined_on(self, generation: int) -> float:
        """Test faces of every benchmark so far, and of the newest for the teacher, who has not seen it."""
        benchmarks = generation + (generation > 1)
        return benchmarks * self.clips_a_task * FACE_SPLITS["test"] * self.frames

    def calibrated_on(self, generation: int) -> float:
        """Validation faces of everything the line was taught so far; the ladder and the few that are looked at are little."""
        return generation * self.clips_a_task * (1 - sum(FACE_SPLITS.values())) * self.frames


@dataclass(frozen=True)
class Machines:
    """What there is to do it with."""

    accelerators: int = 8
    machines: int = 4
    cores_an_accelerator: int = 16
    crop_threads: int = 8
    """Of one archive's stage: it is one process."""
    network_gbit: float = 10.0
    """Of each machine."""
    crop_core_s: float = 4.0
    """A clip: decoding as far as its last frame wanted, YuNet on 32 frames, alignment, encoding."""
    crop_thread_s: float = 0.14
    """A clip, of which the part that only the interpreter's one thread does: writing rows, hashing."""
    hash_mb_s: float = 500.0
    """DVC hashes what it takes up, one core an archive."""
    probe_s: float = 0.02
    """A clip: opening it, reading what it says of itself, and its hash beside that."""
    loop: float = 1.1
    """A step of the loop over a bare one, where decoding keeps up."""

    @property
    def cores(self) -> int:
        return self.accelerators * self.cores_an_accelerator


@dataclass(frozen=True)
class Work:
    """One stage instance."""

    stage: str
    line: int
    generation: int
    hours: float


@dataclass
class Calendar:
    """When each stage instance ran, in hours from the start."""

    ended: dict[tuple[str, int, int], float] = field(default_factory=dict)
    busy: float = 0.0
    """Hours of accelerators in use."""

    @property
    def hours(self) -> float:
        return max(self.ended.values(), default=0.0)


def learning_rate(detector: Detector, machines: Machines, *, beside: bool) -> float:
    """Faces/s one accelerator learns from: the step alone where data comes `beside` it and the cores keep up; else one after
    the other on one core."""
    if not beside:
        return 1 / (1 / detector.learns + detector.core_s_a_face)
    return min(detector.learns / machines.loop, machines.cores_an_accelerator / detector.core_s_a_face)


def scoring_rate(detector: Detector, machines: Machines, *, beside: bool, decode_s: float = 0.0024) -> float:
    """Faces/s one accelerator scores; a face is decoded and converted in (219 + 86) ms / 128."""
    if not beside:
        return 1 / (1 / detector.scores + decode_s)
    return min(detector.scores / machines.loop, machines.cores_an_accelerator / decode_s)


def works(plan: Plan, machines: Machines, *, beside: bool, faster: Mapping[str, float] | None = None) -> list[Work]:
    """Every stage instance that needs an accelerator, with its hours on one; steps may be so many times as fast."""
    made = []
    for line, name in enumerate(plan.lines):
        detector = replace(DETECTORS[name], learns=DETECTORS[name].learns * (faster or {}).get(name, 1.0))
        learns = learning_rate(detector, machines, beside=beside)
        scores = scoring_rate(detector, machines, beside=beside)
        for generation in range(1, plan.archives + 1):
            taught = plan.teacher if generation > 1 else 1.0
            made += [
                Work("evolve", line, generation, plan.learned_from(detector, generation) * taught / learns / HOUR),
                Work("curate", line, generation, plan.looked_at() / scores / HOUR),
                Work("evaluate", line, generation, plan.examined_on(generation) / scores / HOUR),
                Work("calibrate", line, generation, plan.calibrated_on(generation) / scores / HOUR),
            ]
    return made


NEEDS = {"evolve": ("curate", -1), "curate": ("evolve", 0), "evaluate": ("evolve", 0), "calibrate": ("evaluate", 0)}
"""Stage -> the stage it waits for, and of which generation of its line, counted from its own."""
RAISING = ("evolve", "curate")
"""Stages that the next generation of a line waits for."""


def scheduled(jobs: Sequence[Work], accelerators: int) -> Calendar:
    """The jobs on so many accelerators: whenever one is free it takes, of those that may begin, the one whose line has most
    left to do."""
    waiting = {(job.stage, job.line, job.generation): job for job in jobs}
    left: dict[int, float] = defaultdict(float)
    for job in jobs:
        left[job.line] += job.hours
    calendar = Calendar()
    running: list[tuple[float, tuple[str, int, int]]] = []
    now = 0.0
    while waiting or running:
        ready = sorted(
            (key for key in waiting if _may_begin(key, calendar, waiting, running)),
            key=lambda key: (-left[key[1]], key[0] not in RAISING, key),
        )
        for key in ready[: accelerators - len(running)]:
            job = waiting.pop(key)
            left[job.line] -= job.hours
            calendar.busy += job.hours
            heapq.heappush(running, (now + job.hours, key))
        now, done = heapq.heappop(running)
        calendar.ended[done] = now
    return calendar


def _may_begin(
    key: tuple[str, int, int],
    calendar: Calendar,
    waiting: Mapping[tuple[str, int, int], Work],
    running: Iterable[tuple[float, tuple[str, int, int]]],
) -> bool:
    stage, line, generation = key
    before, offset = NEEDS[stage]
    needed = (before, line, generation + offset)
    return needed in calendar.ended or (needed not in waiting and all(needed != other for _, other in running))


def before_learning(plan: Plan, machines: Machines) -> dict[str, float]:
    """Hours of what happens once to the clips, the archives side by side."""
    at_once = min(plan.archives, machines.cores)
    rounds = -(-plan.archives // at_once)
    one = plan.clips_a_task
    threads = min(machines.crop_threads, machines.cores / min(plan.archives, at_once))
    crop_s = max(machines.crop_core_s / threads, machines.crop_thread_s)
    copy_s = one * plan.clip_mb / machines.hash_mb_s
    return {
        "land": rounds * copy_s / HOUR,
        "ingest, validate": rounds * one * machines.probe_s / HOUR,
        "crop": rounds * one * crop_s / HOUR,
    }


def stored(plan: Plan) -> dict[str, float]:
    """Terabytes of each kind, as DVC keeps it once (links from the cache into the workspace)."""
    weights = sum(DETECTORS[name].weights_mb for name in plan.lines) * plan.archives
    memories = len(plan.lines) * plan.archives * plan.memory_faces * plan.face_kb
    test = plan.clips * FACE_SPLITS["test"] * plan.frames
    scores = len(plan.lines) * test * (plan.archives + 1) / 2 * 60e-9  # a row takes about 60 bytes in parquet
    return {
        "clips": plan.clips * plan.clip_mb / 1e6,
        "faces": plan.clips * plan.frames * plan.face_kb / 1e9,
        "weights": weights / 1e6,
        "memories": memories / 1e9,
        "scores": scores / 1e3,
    }


def decoded(plan: Plan) -> float:
    """Terabytes of the training faces of one task, as bytes that need no decoding."""
    return plan.clips_a_task * FACE_SPLITS["train"] * plan.frames * plan.size_px**2 * 3 / 1e12


def moved(plan: Plan, machines: Machines) -> dict[str, tuple[float, float]]:
    """What has to reach the machines: terabytes each receives, and hours at the stated bandwidth."""
    kept = stored(plan)
    share = kept["clips"] / machines.machines
    all_faces = kept["faces"]
    one_task = all_faces / plan.archives
    told = {
        "clips, each machine its archives": share,
        "faces, every machine all of them": all_faces,
        "faces, one task, to one machine": one_task,
        "weights and memories, all of them": kept["weights"] + kept["memories"],
    }
    return {name: (size, size * 8e3 / machines.network_gbit / HOUR) for name, size in told.items()}


# -- the page's tables -------------------------------------------------------------------------------------------------------


def tables(plan: Plan, machines: Machines) -> str:
    """Markdown."""
    parts = [_once(plan, machines), _lines(plan, machines), _totals(plan, machines), _bytes(plan, machines)]
    return "\n\n".join(parts)


def _once(plan: Plan, machines: Machines) -> str:
    rows = [[stage, f"{hours:.1f}"] for stage, hours in before_learning(plan, machines).items()]
    return _table(["once, archives side by side", "hours"], rows)


def _lines(plan: Plan, machines: Machines) -> str:
    rows = []
    jobs = works(plan, machines, beside=True)
    for line, name in enumerate(plan.lines):
        if name in plan.lines[:line]:
            continue
        detector = DETECTORS[name]
        own = {stage: sum(j.hours for j in jobs if (j.line, j.stage) == (line, stage)) for stage in NEEDS}
        cores = detector.core_s_a_face * learning_rate(detector, machines, beside=True)
        faces = sum(plan.learned_from(detector, i) for i in range(1, plan.archives + 1)) / 1e6
        rows.append(
            [
                name,
                f"{faces:,.0f}",
                *(f"{own[stage]:,.0f}" for stage in NEEDS),
                f"{sum(own.values()):,.0f}",
                f"{cores:.1f}",
            ]
        )
    return _table(
        [
            "one line of",
            "million faces learned from",
            "evolve, h",
            "curate, h",
            "evaluate, h",
            "calibrate, h",
            "in all, h",
            "cores busy beside it",
        ],
        rows,
    )


def _totals(plan: Plan, machines: Machines) -> str:
    rows = []
    for words, beside, faster in (
        ("one after the other, as it was", False, {}),
        ("data beside the step", True, {}),
        ("steps as fast as is aimed at", True, AIMS),
    ):
        jobs = works(plan, machines, beside=beside, faster=faster)
        calendar = scheduled(jobs, machines.accelerators)
        longest = max(
            sum(j.hours for j in jobs if j.line == line and j.stage in RAISING) for line in range(len(plan.lines))
        )
        share = calendar.busy / (machines.accelerators * calendar.hours)
        rows.append([words, f"{calendar.busy:,.0f}", f"{calendar.hours:,.0f}", f"{longest:,.0f}", f"{share:.0%}"])
    return _table(
        [
            "lines and accelerators",
            "accelerator hours",
            "hours until the last",
            "hours of the longest line alone",
            "accelerators busy",
        ],
        rows,
    )


def _bytes(plan: Plan, machines: Machines) -> str:
    kept = [[name, f"{size:,.2f}"] for name, size in stored(plan).items()]
    kept.append(["in all", f"{sum(stored(plan).values()):,.2f}"])
    kept.append(["beside it: one task's training faces, decoded", f"{decoded(plan):,.2f}"])
    travels = [[name, f"{size:,.2f}", f"{hours:,.2f}"] for name, (size, hours) in moved(plan, machines).items()]
    speed = f"hours at {machines.network_gbit:g} Gbit/s"
    return _table(["stored", "TB"], kept) + "\n\n" + _table(["moved to a machine", "TB", speed], travels)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


# -- the model against a run -------------------------------------------------------------------------------------------------

STAGES = ("ingest", "validate", "crop", "add_benchmark", "evolve", "curate", "evaluate", "calibrate", "judge")
TASKS = 4
SMALL = (6, 14)
"""People of each archive in the runs that the rates are learned from; everybody is in four clips."""
CLIPS_A_PERSON = 4


@dataclass(frozen=True)
class Ran:
    """One stage instance of a run: what it had to do, in the model's units, and how long it took."""

    stage: str
    units: float
    wall_s: float
    cpu_s: float


Line = tuple[float, float]
"""Seconds a stage takes at least, and seconds a unit."""


def fitted(points: Sequence[tuple[float, float]]) -> Line:
    """A straight line through (units, seconds), neither start nor slope below zero."""
    mean_u, mean_s = (sum(point[i] for point in points) / len(points) for i in (0, 1))
    spread = sum((units - mean_u) ** 2 for units, _ in points)
    slope = sum((units - mean_u) * (seconds - mean_s) for units, seconds in points) / spread if spread else 0.0
    start = mean_s - max(slope, 0.0) * mean_u
    return (start, max(slope, 0.0)) if start >= 0 else (0.0, mean_s / mean_u)


def foretold(line: Line, units: Sequence[float]) -> float:
    """Seconds of instances with so many units each."""
    return sum(line[0] + line[1] * one for one in units)


def units_of(plan: Plan, detector: Detector) -> dict[str, list[float]]:
    """Units of every instance of a stage, for one line: clips, faces learned from, faces scored; none where it is all start."""
    numbers = range(1, plan.archives + 1)
    clips = [plan.clips_a_task] * plan.archives
    return {
        **dict.fromkeys(("ingest", "validate", "crop", "add_benchmark"), clips),
        "evolve": [plan.learned_from(detector, i) for i in numbers],
        "curate": [plan.looked_at()] * plan.archives,
        "evaluate": [plan.examined_on(i) for i in numbers],
        "calibrate": [plan.calibrated_on(i) for i in numbers],
        "judge": [0.0] * plan.archives,
    }


def check(folder: Path, clips: int) -> str:
    """Markdown: seconds of each stage as foretold from two small runs, and as measured; what has run is not run again."""
    people = round(clips / TASKS / CLIPS_A_PERSON / 2) * 2
    small = [ran for number in SMALL for ran in _ran(folder, number)]
    large = _ran(folder, people)
    plan, detector = _small_plan(people)
    units = units_of(plan, detector)
    rows = [[stage, *_beside(stage, small, large, units[stage])] for stage in STAGES]
    sums = [sum(row[i] for row in rows) for i in (3, 4, 6, 7)]  # type: ignore[misc]
    rows.append(["in all", None, None, *sums[:2], sums[1] / sums[0], *sums[2:], sums[3] / sums[2]])
    head = ["stage", "start, CPU s", "CPU ms a unit", "foretold, CPU s", "measured, CPU s", "ratio"]
    head += ["foretold, s", "measured, s", "ratio"]
    digits = (1, 2, 0, 0, 2, 0, 0, 2)
    told = [
        [str(row[0]), *("" if n is None else f"{n:.{d}f}" for n, d in zip(row[1:], digits, strict=True))] for row in rows
    ]  # fmt: skip
    return f"{plan.clips} clips in {plan.archives} archives\n\n{_table(head, told)}"


def _beside(stage: str, small: Sequence[Ran], large: Sequence[Ran], units: Sequence[float]) -> list[float]:
    """The line of CPU time; foretold, measured and their ratio, of CPU time and of wall time."""
    known = [one for one in small if one.stage == stage]
    met = [one for one in large if one.stage == stage]
    cpu, wall = (fitted([(one.units, seconds(one)) for one in known]) for seconds in (_cpu, _wall))
    told, came = foretold(cpu, units), sum(map(_cpu, met))
    told_wall, came_wall = foretold(wall, units), sum(map(_wall, met))
    return [cpu[0], cpu[1] * 1e3, told, came, came / told, told_wall, came_wall, came_wall / told_wall]


def _cpu(ran: Ran) -> float:
    return ran.cpu_s


def _wall(ran: Ran) -> float:
    return ran.wall_s


def _small_plan(people: int) -> tuple[Plan, Detector]:
    """What `benchmarks.stages` raises, in the model's words."""
    training, faces, memory = PARAMS["training"], PARAMS["faces"], PARAMS["memory"]
    detector = replace(
        DETECTORS["rsia_net"],
        founder_epochs=training["founder_epochs"],
        epochs=training["epochs"],
        faces_per_clip=training["faces_per_clip"],
    )
    plan = Plan(
        clips=TASKS * people * CLIPS_A_PERSON, archives=TASKS, lines=("rsia_net",), frames=faces["frames"],
        memory_faces=memory["budget"],
    )  # fmt: skip
    return plan, detector


def _ran(folder: Path, people: int) -> list[Ran]:
    """Every stage instance of a run with so many people an archive, kept in `folder` once it is there."""
    kept = folder / f"people-{people}.json"
    if not kept.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(_raised(people), indent=1))
    plan, detector = _small_plan(people)
    units = units_of(plan, detector)
    by_stage: dict[str, list[list[float]]] = defaultdict(list)
    for stage, wall_s, cpu_s in json.loads(kept.read_text()):
        by_stage[stage].append([wall_s, cpu_s])
    return [Ran(stage, one, *took) for stage in STAGES for one, took in zip(units[stage], by_stage[stage], strict=True)]


def _raised(people: int) -> list[tuple[str, float, float]]:
    """Stage, seconds and CPU seconds of each instance."""
    import tempfile

    from benchmarks.stages import raised

    with tempfile.TemporaryDirectory() as place:
        took = raised(Path(place) / "workspace", tasks=TASKS, people=people)
    return [(one.stage, one.wall_s, one.cpu_s) for one in took]


def main() -> None:
    chosen = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    chosen.add_argument("--clips", type=int)
    chosen.add_argument("--archives", type=int, default=Plan.archives)
    chosen.add_argument("--accelerators", type=int, default=Machines.accelerators)
    chosen.add_argument("--check", type=Path, metavar="FOLDER", help="where the runs are noted, and found again")
    asked = chosen.parse_args()
    if asked.check:
        from components.settings import hush

        hush()
        print(check(asked.check, asked.clips or Plan.clips // 1000))
    else:
        plan = Plan(clips=asked.clips or Plan.clips, archives=asked.archives)
        print(tables(plan, Machines(accelerators=asked.accelerators)))


if __name__ == "__main__":
    main()
