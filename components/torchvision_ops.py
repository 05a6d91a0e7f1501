"""Make ``import torchvision`` possible beside a torch its compiled extension was not built for.

The published torchvision is built against CUDA; on a machine with a CPU-only torch its extension does not load, and
the import then dies registering the shape rules of two operators that were never declared ("operator torchvision::nms
does not exist"). timm, open_clip and retinaface import torchvision, although we call none of its compiled operators.

    from components import torchvision_ops

    torchvision_ops.complete()
    import timm

Where the extension loads, nothing happens. Where it does not, the two operators are declared without a kernel, so that
the import succeeds and a call of either still fails loudly.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import torch

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

_declared: list[torch.library.Library] = []  # the declarations vanish with the object that made them


@cache
def complete() -> bool:
    """Declare what torchvision's extension would have declared, if it cannot load; call before importing torchvision.

    Returns whether the extension is there. Calling again changes nothing.
    """
    if _extension_loads():
        return True
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):  # a half-loaded extension may have declared some
            library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
    return False


def _extension_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")  # finds the folder, imports nothing
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    return any(_loads(file) for folder in folders for file in sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]))


def _loads(extension: Path) -> bool:
    try:
        torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError):
        return False  # built for another torch: a library is missing, or operators it builds upon are
    return True
