"""``params.yaml`` in types: every choice, every fault reported at once, before anything runs."""

from __future__ import annotations

import difflib
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.documents import load_yaml
from components.errors import BadParams
from components.texts import one_text
from components.vocabulary import NOBODY, Codec

M = TypeVar("M", bound=BaseModel)
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, AfterValidator(one_text)]


def _not_reserved(name: str) -> str:
    if name == NOBODY:
        raise ValueError(f"'{name}' stands for what has nothing before it; give the archive another name")
    return name


ArchiveName = Annotated[Name, AfterValidator(_not_reserved)]


class Section(BaseModel):
    """A section that refuses unknown keys and cannot change after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(Section):
    """An archive that landed; `perennial land` writes these."""

    layout: Name
    role: Literal["both", "task", "benchmark"] = "both"
    """A benchmark is never trained on: all its clips are test clips."""
    faces: Literal["none", "annotated", "yunet", "retinaface"] = "none"
    after: str = NOBODY
    """The archive that landed before it: the two may share no file."""
    validation: Literal["own", "hash"] = "own"
    """Its validation split: the archive's own, if it has one, or training sources held out by a hash of their names. Archives
    that landed before there was a choice keep their own, so that what lives keeps what it saw."""
    leaks: Literal["kept", "set_aside"] = "kept"
    """Whether its clips are set aside whose source, person or file an earlier archive has in another split. Archives that
    landed before there was a choice keep them, so that what lives keeps what it saw."""
    supersedes: str = ""
    """The archive this one is a later version of. What learned that one keeps it; whoever is born later learns this one."""
    at: str = ""
    """Where the files are, if they stayed there: nothing but a link is in the workspace then, and no version is kept."""


class Changes(Section):
    """What one line does otherwise than the sections of the same names say."""

    detector: dict[str, Any] = {}
    strategy: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    training: dict[str, Any] = {}


class Line(Section):
    """A family: one detector raised with one strategy."""

    detector: Name
    strategy: Name
    seed: int | None = None
    """Its own, where several lines repeat one experiment."""
    sequence: tuple[Name, ...] = ()
    """Its own order of tasks; where it is empty, `sequence`."""
    after_refusal: Literal["continue", "retry", "hold"] = "continue"
    """What follows when the gate stays closed: the next task is learned from the one that was refused; or the same task once
    more from the champion, as soon as params.yaml chooses otherwise; or nothing until a person says `perennial retry`."""
    changes: Changes = Changes()

    @property
    def waits(self) -> bool:
        """Whether its next generation is planned only once the last was judged."""
        return self.after_refusal != "continue"


class CropOptions(Section):
    """Stage crop."""

    frames: int = Field(32, ge=1)
    """Frames taken of a clip, evenly spaced."""
    size_px: int = Field(256, ge=32)
    margin: float = Field(1.3, ge=1)
    """Side of the crop over the side of the tight five-point crop (DeepfakeBench, `scale`)."""
    min_score: Share = 0.6
    max_input_px: int = Field(1280, ge=128)
    """Longer sides are scaled down before detection."""
    detect_px: int = Field(320, ge=128)
    """Of `yunet`: they are scaled down to this first, and to twice that as long as no large face is seen. What it changes is
    time, and which small faces are seen beside a large one (`components.faces.detection.yunet`)."""


class ValidationOptions(Section):
    """Stages validate and gauge, and the end of crop."""

    min_side_px: int = 64
    min_per_class: int = Field(2, ge=1)
    """Clips of each class in every split that is used."""
    min_yield: Share = 0.9
    """Share of clips that must give at least one face."""
    max_leaking: Share = 0.5
    """Share of clips that may be set aside because an earlier archive has their source, person or file in another split. The
    official splits of two archives of the same people agree by chance in about half of them (720 of 1000 videos are
    training videos of FaceForensics++, 703 of DeeperForensics); where less is left, it is another archive."""
    max_near_duplicates: Share = 0.05
    """Share of an archive's clips whose face may look like one of another split, here or in an archive before it. Of the
    5,196 clips of the DFDC sample 2 do; what lands with copies of its training faces among the test faces has many."""
    max_drift: Share = 0.1
    """How unlike the faces learned before it an archive may be before that is said: 0.06 is a shift by half a standard
    deviation, 0.2 by a whole one (`components.faces.drift`)."""
    drift: Literal["warns", "refuses"] = "warns"
    """Whether a drift is reported, or keeps an archive from being learned."""
    max_unreadable: Share = 0.01
    """Share of clips that crop may pass over because they cannot be decoded. Large archives arrive with a few broken clips in
    ten thousand; one in a hundred says that the copy is at fault."""


class TrainingOptions(Section):
    """Stage evolve: the loop. What is left out here is taken from the detector's paper (`Detector.paper_training`). A
    detector's section may set it for that detector alone, under `training`."""

    founder_epochs: int = Field(20, ge=1)
    epochs: int = Field(10, ge=1)
    batch: int = Field(32, ge=2)
    """Faces a step."""
    micro_batch: int | None = Field(None, ge=1)
    """Faces of it that pass through a network at a time, so that a large batch fits a small device: the same batch, in
    pieces that are computed twice. BatchNorm normalises within a piece."""
    replayed: float = Field(0.5, gt=0, lt=1)
    """Share of a batch that is remembered, where there is a memory. An epoch ends when every drawn face of the new task was
    seen, so a larger share means more steps."""
    alike: bool = False
    """Every task has an equal part of a batch, the new one too; `replayed` then has no effect."""
    epoch_steps: int | None = Field(None, ge=1)
    """Steps of an heir's epoch, in place of as many as it takes to see every drawn face of the new task: what is shared out
    otherwise can be compared at equal images."""
    average: float = Field(0.0, ge=0, lt=1)
    """The generation is a moving average of the weights it had on its way, those of a step weighing 1 - `average`; 0: the last
    ones."""
    patience: int | None = Field(None, ge=1)
    """The epoch that answers best on the task's validation split is kept, and training ends after so many that were no
    better; nothing: the last epoch is kept."""
    recoded: Share = 0.5
    """Share of new faces that pass the memory's codec, so that what it leaves is no sign of an old face."""
    faces_per_clip: int = Field(8, ge=1)
    """Faces drawn from a clip per epoch."""
    pairs: bool = False
    """Every forged face is drawn beside a genuine one of its own source, where there is one."""
    learning_rate: float = Field(2e-4, gt=0)
    """Of Adam."""
    weight_decay: float = Field(1e-5, ge=0)
    schedule: Literal["steps", "cosine_cycles", "constant"] = "steps"
    step_epochs: int = Field(5, ge=1)
    """Of `steps`: the learning rate is multiplied by `gamma` every so many epochs."""
    gamma: float = Field(0.5, gt=0, le=1)
    cycle_epochs: float = Field(10, gt=0)
    """Of `cosine_cycles`: a cycle climbs for `warmup_epochs` from `floor_learning_rate` and falls back along a cosine."""
    warmup_epochs: float = Field(1, ge=0)
    floor_learning_rate: float = Field(1e-5, ge=0)
    augment: dict[str, Share] = {"flip": 0.5}
    """Augmentations in their order, each with the probability that a face undergoes it."""
    threads: int = Field(1, ge=1)
    """CPU threads; part of the recipe because the order of additions changes the bytes."""
    founder_clips_per_class: int | None = Field(None, ge=1)
    clips_per_class: int | None = Field(None, ge=1)
    """Genuine and forged training clips of a task that are learned from, of a founder's and of every later one (few-shot);
    all where it is left out. Which ones follows from their names (`components.tasks.few`)."""
    frames_per_clip: int | None = Field(None, ge=1)
    """Faces of a training clip that are learned from, evenly spaced over it, where faces.frames cuts more to test on."""

    @model_validator(mode="after")
    def _cycles_come_down_again(self) -> TrainingOptions:
        if self.schedule == "cosine_cycles" and self.warmup_epochs >= self.cycle_epochs:
            raise ValueError(
                f"expected warmup_epochs below cycle_epochs, found {self.warmup_epochs:g} and {self.cycle_epochs:g}"
            )
        return self


class Withdrawal(Section):
    """What may no longer be learned or replayed: a source, an identity, a clip or one face of an archive."""

    archive: Name
    source: Text = ""
    identity: Text = ""
    clip: str = ""
    frame: int | None = Field(None, ge=0)
    """Of the clip; where none is named, the whole clip is meant."""

    @model_validator(mode="after")
    def _names_one_thing(self) -> Withdrawal:
        named = [name for name in ("source", "identity", "clip") if getattr(self, name)]
        if len(named) != 1:
            raise ValueError(
                f"expected one of source, identity and clip of '{self.archive}', found {', '.join(named) or 'none'}"
            )
        if self.frame is not None and not self.clip:
            raise ValueError(f"expected the clip whose frame {self.frame} is meant, found none")
        return self

    @property
    def words(self) -> str:
        """`source 's17' of 'celeb'`"""
        what = next(name for name in ("source", "identity", "clip") if getattr(self, name))
        frame = "" if self.frame is None else f", frame {self.frame},"
        return f"{what} '{getattr(self, what)}'{frame} of '{self.archive}'"


MemoryPolicy = Literal[
    "nothing",
    "reservoir",
    "reservoir_proportional",
    "herding",
    "entropy_and_mean",
    "hybrid",
    "sparse_uniform",
    "everything",
]
"""What a memory keeps of the budget's share of each (task, class); old exemplars give way by rank.

nothing                 no exemplars
reservoir               every face of the (task, class) equally likely
reservoir_proportional  every face of all tasks so far equally likely: no shares, larger tasks keep more (Chaudhry et al.)
herding                 faces whose running mean stays closest to the mean of all (iCaRL)
entropy_and_mean        one half the most uncertain, the other the nearest to the mean of all (DFIL)
hybrid                  hard, representative and diverse (CFFD)
sparse_uniform          spread evenly from the centre outwards, the most stable first (SUR-LID)
everything              every training face of every task, whatever the budget
"""


class MemoryOptions(Section):
    """Stage curate."""

    budget: int = Field(500, ge=0)
    """Exemplars in all."""
    budget_bytes: int | None = Field(None, ge=1)
    """In place of `budget`: bytes of their encoded faces."""
    budget_share: float | None = Field(None, gt=0, le=1)
    """In place of `budget`: what every task may keep for good, as a share of the bytes of its own training faces."""
    codec: Codec = "lossless"
    """How exemplars are kept. At the same bytes WebP of quality 90 holds five times as many faces."""
    quality: int = Field(90, ge=1, le=100)
    """Of a codec that is not lossless."""
    per_task: bool = False
    """The budget is every task's own (DFIL) instead of all tasks' together."""
    policy: Literal["own", MemoryPolicy] = "own"
    """`own`: what the strategy's paper uses. `everything` knows no budget."""
    hard: Share = 0.5
    representative: Share = 0.25
    """The rest is diverse."""
    hard_from: int = Field(0, ge=0)
    """Exemplars a (task, class) needs for its whole share of hard ones; fewer lose hard ones in proportion to
    representative ones, because a few hard faces misrepresent their task."""
    per_source: int = Field(2, ge=1)
    """Of `hybrid`: a source gives no more than this, or than its even part where sources are few."""
    views: int = Field(2, ge=1, le=4)
    """Views over which uncertainty is measured: the face; its mirror image; other light; compressed as JPEG."""
    pool: int = Field(20_000, ge=1)
    """Faces of a (task, class) held in sight at once; a larger task is sampled down to it."""

    @model_validator(mode="after")
    def _budgets_are_one(self) -> MemoryOptions:
        if self.budget_bytes is not None and self.budget_share is not None:
            raise ValueError("expected one of budget_bytes and budget_share, found both")
        return self

    @model_validator(mode="after")
    def _shares_leave_room(self) -> MemoryOptions:
        if self.hard + self.representative > 1 + 1e-9:
            raise ValueError(
                f"expected hard and representative to sum to 1 at most, found {self.hard:g} and {self.representative:g}"
            )
        return self

    @property
    def keeps_nothing(self) -> bool:
        without_room = self.budget == 0 and not self.counts_bytes and self.policy != "everything"
        return self.policy == "nothing" or without_room

    @property
    def counts_bytes(self) -> bool:
        return self.budget_bytes is not None or self.budget_share is not None

    @property
    def lossy(self) -> bool:
        """Whether exemplars lose something; a memory of everything keeps its faces as they are."""
        return self.codec != "lossless" and self.policy != "everything" and not self.keeps_nothing


class EvaluationOptions(Section):
    """Stage evaluate."""

    batch: int = Field(64, ge=1)
    bootstrap: int = Field(1000, ge=0)
    """Resamples of the confidence intervals, over sources."""
    confidence: float = Field(0.95, gt=0, lt=1)
    validation: bool = False
    """The validation split of every benchmark is scored too, into tables of its own. Studies have it on."""


class OperatingPointOptions(Section):
    """Stage calibrate."""

    false_alarms: float = Field(0.05, gt=0, lt=1)
    """Share of genuine clips of a taught kind that may be called forged: the threshold is chosen for it."""
    undecided: float = Field(0.02, ge=0, lt=0.5)
    """Share of clips that are too near the threshold to call."""
    unfamiliar: float = Field(0.02, ge=0, lt=0.5)
    """Share of clips of a taught kind that may be taken for another kind."""
    ladder: bool = False
    """Test faces are made worse and asked about again, also where the gate has no rule `robustness`."""


Rung = Literal[
    "jpeg_75",
    "jpeg_50",
    "jpeg_30",
    "h264_28",
    "h264_38",
    "resize_2",
    "resize_4",
    "blur_1",
    "blur_2",
    "noise_5",
    "noise_15",
]
"""What is done to test faces (`components.evaluation.ladder`)."""


class Absolute(Section):
    """The new task is known well enough, and genuine faces are left in peace."""

    rule: Literal["absolute"]
    min_auc: Share
    max_false_alarms: Share = 1.0


class Relative(Section):
    """No benchmark falls significantly by more than `max_drop` below the champion."""

    rule: Literal["relative"]
    max_drop: Share
    alpha: float = Field(0.05, gt=0, lt=1)


class Forgetting(Section):
    """What the line once knew it still knows."""

    rule: Literal["forgetting"]
    max_mean: Share
    max_worst: Share = 1.0


class Infra(Section):
    """The saved weights load in a fresh process and answer a known input."""

    rule: Literal["infra"]
    max_seconds: float = Field(120, gt=0)


class AtOnePoint(Section):
    """At the generation's own threshold it still tells what it was taught apart, and leaves genuine clips in peace."""

    rule: Literal["operating_point"]
    min_balanced_accuracy: Share
    """Over the clips of all benchmarks it was taught."""
    max_false_alarms: Share = 1.0
    """On each of them."""


class Calibrated(Section):
    """Its probabilities are what they say, about as much as the champion's."""

    rule: Literal["calibration"]
    max_error: Share
    """ECE at even odds over the clips of all benchmarks it was taught."""
    max_drift: Share = 1.0
    """Above the champion's on those that both were taught."""


class Robust(Section):
    """It still knows what it was taught where the faces were compressed, scaled, blurred or noisy."""

    rule: Literal["robustness"]
    max_fall: Share | dict[Rung, Share]
    """AUC that may be lost on any rung, or on each of those named."""


Rule = Annotated[
    Absolute | Relative | Forgetting | Infra | AtOnePoint | Calibrated | Robust, Field(discriminator="rule")
]


class Params(Section):
    """The whole of ``params.yaml``, in the order of the story."""

    seed: int = 0
    archives: dict[ArchiveName, Archive] = {}
    sequence: tuple[Name, ...] = ()
    """Tasks in the order they are learned."""
    benchmarks: tuple[Name, ...] = ()
    """Archives every new generation is examined on."""
    lines: dict[Name, Line] = {}
    faces: CropOptions = CropOptions()
    validation: ValidationOptions = ValidationOptions()
    detectors: dict[Name, dict[str, Any]] = {}
    """Options by detector, and under `training` what differs for it. What is left out is the paper's."""
    strategies: dict[Name, dict[str, Any]] = {}
    memory: MemoryOptions = MemoryOptions()
    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    operating_point: OperatingPointOptions = OperatingPointOptions()
    gate: tuple[Rule, ...] = ()
    withdrawn: tuple[Withdrawal, ...] = ()
    """Written by `perennial withdraw`; whatever is yet to be made is told of it (`components.withdrawal.files`)."""

    @model_validator(mode="before")
    @classmethod
    def _is_not_of_an_older_version(cls, raw: Any) -> Any:
        memory = raw.get("memory") if isinstance(raw, dict) else None
        if isinstance(memory, dict) and "withdrawn" in memory:
            raise ValueError(
                "expected `withdrawn` at the top level of params.yaml, found it under `memory`, where version 0.1 kept it. "
                "Run `perennial upgrade`."
            )
        return raw

    @model_validator(mode="after")
    def _names_agree(self) -> Params:
        faults = []
        orders = {"sequence": self.sequence, **{f"lines.{n}.sequence": line.sequence for n, line in self.lines.items()}}
        for section, names in {**orders, "benchmarks": self.benchmarks}.items():
            faults += [
                f"{section} names archive '{n}', which has not landed; landed: {', '.join(self.archives) or 'none'}. "
                f"Land it with `perennial land {n} PATH --layout LAYOUT`"
                for n in names
                if n not in self.archives
            ]
            faults += [f"{section} names '{n}' twice" for n in sorted({n for n in names if names.count(n) > 1})]
        faults += [
            f"{section} names '{n}', which landed as a benchmark and is never trained on"
            for section, names in orders.items()
            for n in names
            if n in self.archives and self.archives[n].role == "benchmark"
        ]
        seen: list[str] = [NOBODY]
        for name, archive in self.archives.items():
            if archive.after not in seen:
                faults.append(f"archives.{name}.after is '{archive.after}', which is not an archive above it")
            if archive.supersedes and archive.supersedes not in seen[1:]:
                faults.append(f"archives.{name}.supersedes is '{archive.supersedes}', which is not an archive above it")
            seen.append(name)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def versions(self, name: str) -> tuple[str, ...]:
        """The archive and all it supersedes, youngest first."""
        before = self.archives[name].supersedes
        return (name, *self.versions(before)) if before else (name,)

    def since(self, name: str) -> tuple[str, ...]:
        """The archives that landed after this one and were held against it."""
        found = [name]
        for other, entry in self.archives.items():  # those above come first
            found += [other] if entry.after in found else []
        return tuple(found[1:])

    def latest(self, name: str) -> str:
        """The youngest version of the archive, which may be itself."""
        later = {entry.supersedes: other for other, entry in self.archives.items()}
        return self.latest(later[name]) if name in later else name

    def next_version(self, name: str) -> str:
        """A name for the version after the latest: `celeb_v2`, `celeb_v3`."""
        versions = self.versions(self.latest(name))
        numbers = range(len(versions) + 1, len(versions) + len(self.archives) + 2)
        return next(known for n in numbers if (known := f"{versions[-1]}_v{n}") not in self.archives)


def load(path: Path) -> Params:
    """Read and check ``params.yaml``; raises BadParams listing every fault."""
    if not path.is_file():
        raise BadParams(f"expected a params.yaml at '{path}', found none. Run inside a workspace, or name one with -C.")
    return read(Params, path)


def read(model: type[M], path: Path) -> M:
    """The YAML file at `path` as a `model`, an empty file as an empty section; raises BadParams listing every fault."""
    try:
        raw = load_yaml(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise BadParams(f"expected YAML in '{path}', found something else: {fault}") from fault
    return parse(model, {} if raw is None else raw, path.name)


def parse(model: type[M], raw: Any, where: str) -> M:
    """`raw` as a `model`; raises BadParams with every fault, its place, and the nearest known key for a typo."""
    try:
        return model.model_validate(raw)
    except ValidationError as errors:
        lines = [f"  {_place(e['loc'])}: {_advice(model, e)}" for e in errors.errors()]
        raise BadParams(f"{where} cannot be followed:\n" + "\n".join(lines)) from None


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(whole file)"


def _advice(model: type[BaseModel], error: Any) -> str:
    if error["type"] == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] != "extra_forbidden":
        return f"{error['msg']}; found {_short(error.get('input'))}"
    known = _keys_at(model, error["loc"][:-1])
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"unknown key; known: {', '.join(known) or 'none'}.{hint}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys of the section at `location`; walks dictionaries, tuples and tagged unions."""
    here: list[Any] = [model]
    for part in location:
        here = [deeper for kind in here for deeper in _deeper(kind, part)]
    return sorted({key for kind in here if _is_section(kind) for key in kind.model_fields})


def _deeper(kind: Any, part: int | str) -> list[Any]:
    """The types found in a `kind` under a key, an index, or the tag of a union."""
    if not _is_section(kind):
        return _members([a for a in get_args(kind) if a is not ...][-1]) if get_args(kind) else []
    if part in kind.model_fields:
        return _members(kind.model_fields[part].annotation)
    return [kind] if any(part in get_args(field.annotation) for field in kind.model_fields.values()) else []


def _members(kind: Any) -> list[Any]:
    """The members of a union, or the type itself, without annotations."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    return [m for a in get_args(kind) for m in _members(a)] if isinstance(kind, UnionType) else [kind]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
