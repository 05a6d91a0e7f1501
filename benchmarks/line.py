"""The small line that benchmarks raise: tiny RSIA-Net on rendered archives, with a gate that is always open."""

from __future__ import annotations

from typing import Any

PARAMS: dict[str, Any] = {
    "archives": {},
    "sequence": [],
    "benchmarks": [],
    "faces": {"frames": 4, "size_px": 96},
    "validation": {"min_side_px": 64, "min_per_class": 1, "min_yield": 0.9},
    "detectors": {"rsia_net": {"size": "tiny"}},
    "memory": {"budget": 96},
    "training": {"founder_epochs": 4, "epochs": 4, "faces_per_clip": 4},
    "evaluation": {"bootstrap": 100},
    "gate": [{"rule": "absolute", "min_auc": 0.0}],
}
