"""Run by test_devices: the gradients of every detector's step with a teacher, computed by as many processes as asked.

    python tests/generations/gradients_of_many.py DEVICES FOLDER

Batch statistics stand still, because torch normalises over processes on accelerators alone.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors.torch import save_file

from components import detectors, machine, strategies
from components.detectors import Detector
from components.generations import parts
from components.tasks.dataset import Batch
from components.tasks.loading import part_of

FACES = 7  # divides neither by two nor by three: three have 3, 3 and 1
STRATEGY = {"m2tr": "dfil", "rsia_net": "cffd", "lsda": "icarl", "lnclip": "hdu", "masm": "cored"}
OPTIONS = {"lnclip": {"pretrained": ""}, "masm": {"pretrained": ""}}


def built(name: str, seed: int) -> Detector:
    torch.manual_seed(seed)
    detector = detectors.build(name, detectors.options(name, {"size": "tiny", **OPTIONS.get(name, {})}))
    detector.begin_task(("swap",))
    return detector


def main(devices: int, folder: Path) -> None:
    engine = machine.fabric("32-true", devices)
    machine.deterministic(1)
    for name in detectors.names():
        student, teacher = built(name, 0).eval(), built(name, 1).eval().requires_grad_(False)
        faces = torch.rand(FACES, 3, 96, 96, generator=torch.Generator().manual_seed(2))
        replayed = torch.arange(FACES) >= 4
        batch = Batch(faces, torch.arange(FACES) % 2, torch.arange(FACES) % 2, replayed)
        share = part_of(FACES, engine.global_rank, engine.world_size)
        mine = Batch(faces[share], batch.labels, batch.methods, batch.replayed)
        strategy = strategies.build(STRATEGY[name], strategies.options(STRATEGY[name], {}))
        with ExitStack() as stack:
            for network in (student, teacher):
                stack.enter_context(parts.in_parts(network, engine))
            strategy.handed = {"perturbation.old": torch.full((3, 96, 96), 0.1)}  # what HDU was handed
            strategy.means, strategy.met = torch.zeros(10, 1), torch.zeros(10, dtype=torch.bool)  # CoReD: no bin is met
            torch.manual_seed(3)
            terms = strategy.losses(student, teacher, parts.whole(engine, mine))
            torch.stack(list(terms.values())).sum().backward()
        parts.agree(engine, student.parameters())
        if engine.is_global_zero:
            found = {key: p.grad.contiguous() for key, p in student.named_parameters() if p.grad is not None}
            save_file(
                {**found, **{f"term.{k}": v.detach() for k, v in terms.items()}},
                folder / f"{name}-{devices}.safetensors",
            )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
