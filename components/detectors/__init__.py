"""The catalogue of detectors: one file per paper, and the file's name is the detector's.

    names()                         -> ("rsia_net", …)
    options("rsia_net", {...})      -> its checked options; what is not said is the paper's
    build("rsia_net", options)      -> the network

What papers share lies in ``parts/``.

A detector sees faces and says what it found (`Detection`) and what its paper would have it pay (`losses`). It counts no
accuracy, moves no device, reads no data, and does not know with which strategy it learns.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from components.errors import UnknownName
from components.params import Section, parse
from components.tasks.dataset import Batch


@dataclass
class Detection:
    """What a detector found in B faces."""

    logits: Tensor
    """(B, 2), real and forged; `softmax(logits)[:, FORGED]` is the forged probability."""
    embedding: Tensor
    """(B, D), what the logits were read from."""
    levels: tuple[Tensor, ...]
    """(B, C_l, H_l, W_l) feature maps, fine to coarse; the last one is what the embedding sees last."""
    domains: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    """Per-level maps of each domain (spatial, frequency, …) where the paper has several."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Detection:
        """With every tensor changed."""
        return Detection(
            change(self.logits),
            change(self.embedding),
            tuple(map(change, self.levels)),
            {name: tuple(map(change, levels)) for name, levels in self.domains.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[Detection]) -> Detection:
        """What was found in all the faces of some parts, in their order."""
        merged = map(torch.cat, zip(*(part._tensors() for part in parts), strict=True))
        return parts[0].each(lambda _: next(merged))

    def _tensors(self) -> list[Tensor]:
        domains = [level for levels in self.domains.values() for level in levels]
        return [self.logits, self.embedding, *self.levels, *domains]


class Sized(Section):
    """Options of a detector that comes in two sizes, its paper's and a small one. What is left out follows from the size."""

    sizes: ClassVar[dict[str, dict[str, Any]]]
    size: Literal["paper", "tiny"] = "paper"

    @classmethod
    def filled(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """`raw`, and what its size decides."""
        return {**cls.of_size(raw), **raw}

    @classmethod
    def of_size(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """What the size that `raw` names decides."""
        return cls.sizes.get(str(raw.get("size", "paper")), cls.sizes["paper"])

    @model_validator(mode="before")
    @classmethod
    def _size_decides(cls, raw: Any) -> Any:
        return cls.filled(raw) if isinstance(raw, dict) else raw


class Detector(nn.Module):
    """One paper. Subclasses set `Options` and `input_px` and write `forward` and `losses`."""

    Options: ClassVar[type[Section]]
    """The paper's hyper-parameters, each with its default and its place. A field `pretrained: str` names weights to
    start from; "" starts from nothing."""
    input_px: int
    """Side of the square the network looks at."""

    @staticmethod
    def paper_training(options: Any) -> dict[str, Any]:  # noqa: ARG004 papers of several sizes read it
        """How the paper trains it at this size: values of `params.TrainingOptions`, which `params.yaml` may overrule."""
        return {}

    def forward(self, faces: Tensor) -> Detection:
        """Faces (B, 3, H, W) in [0, 1], of any H and W: resized to `input_px` and normalised inside."""
        raise NotImplementedError

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        """The paper's own terms by name, already weighted, "cross_entropy" among them; each a float32 scalar.

        `detection` is what this network found in `batch.faces`.
        """
        raise NotImplementedError

    def begin_task(self, methods: Sequence[str]) -> None:
        """Called before the first step of a task with every forgery method the line has met, this task's included.

        Here a network may grow. What it does must follow from its weights and from `methods` alone, because a run that
        was killed calls it again before it takes up its checkpoint.
        """

    def before_step(self) -> None:
        """Called between the gradients and the optimiser's step. A gradient set to None leaves its weight where it is."""


def names() -> tuple[str, ...]:
    """Every detector there is, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg))


def options(name: str, raw: dict[str, Any]) -> Section:
    """The options of detector `name`; raises UnknownName or BadParams."""
    return parse(_detector(name).Options, raw, f"detectors.{name}")


def paper_training(name: str, options: Section) -> dict[str, Any]:
    """How the detector's paper trains it: values of `params.TrainingOptions`."""
    return _detector(name).paper_training(options)


def build(name: str, options: Section, *, blank: bool = False) -> Detector:
    """Detector `name`, in training mode, its random weights drawn from torch's global generator.

    blank: do not look for pretrained weights, because the caller is about to load a generation's own.
    Raises UnknownName, BadParams (a trunk nobody has), MissingWeights.
    """
    if blank and "pretrained" in type(options).model_fields:
        options = options.model_copy(update={"pretrained": ""})
    return _detector(name)(options)


def _detector(name: str) -> type[Detector]:
    """The one Detector that file `name` defines."""
    if name not in names():
        raise UnknownName("detector", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    found = [kind for kind in vars(module).values() if _defined_in(module.__name__, kind)]
    assert len(found) == 1, f"'{module.__name__}' must define exactly one Detector, found {found}"
    return found[0]


def _defined_in(module: str, kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Detector) and kind.__module__ == module
