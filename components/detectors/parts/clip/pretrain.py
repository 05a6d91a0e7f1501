"""Pretrains the small tower on the lab's genuine people.

python -m components.detectors.parts.clip.pretrain small.safetensors

World    people of the lab from number 100000 on, whom no archive shows, one picture each; nobody else's pixels, no forgery
Pretext  a picture is disturbed in a region or throughout (`disturbances`), goes through the lab's last camera and is cut
         out like any face; then
           every patch says which kinds of disturbance lie under it,
           the class token says which kinds there are, and whether there are any,
           the class token says who is seen and how: build, colours, expression, light (`traits`)
Start    the patch embedding sees principal components of patches, whitened: in faces coarse components outweigh fine ones
         ten million to one, and drawn at random it learns fine ones only after thousands of steps. Attention starts near
         the identity (Trockman and Kolter 2023, "Mimetic initialization", alpha and beta as there) over sine positions.
         160 steps of 32 pictures: difference of patch logits under and beside a disturbance 0.39, and 0.07 without
         mimetic attention and with Adam alone.
Steps    Muon (Jordan et al. 2024) for the matrices of the blocks, Adam for the rest.
Writes   the tower in half precision and, beside it, a record (.json) of what made it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from components.detectors.parts import clip
from components.detectors.parts.clip.disturbances import KINDS, disturb
from components.faces import alignment
from components.lab.camera import finish
from components.lab.people import HAIRSTYLES
from components.lab.picture import Floats, Picture, Portrait
from components.lab.portraits import Moment, Person, person, render

FIRST_PERSON = 100_000
FRAME_PX = 160
MARGIN = 1.3
LANDMARK_JITTER_PX = 0.5
PATCH_WEIGHT, KIND_WEIGHT, ANY_WEIGHT = 6.0, 3.0, 0.67  # of positives, which are rare, rare, and frequent
TRAITS_TERM = 0.3
ADAM_RATE, MUON_RATE = 2e-3, 0.03
WARMUP_STEPS = 20
WHITENED = 400  # pictures whose patches tell the principal components
LAST_RATE = 0.02
MIRRORED = ("yaw_deg", "gaze_x", "azimuth_deg", "parting")
UNSEEN = ("x", "y", "scale", "roll_deg", "texture_seed", "hairstyle")  # taken out by the alignment, or no number


def pretrain(out: Path, *, people: int, steps: int, batch: int, seed: int) -> dict[str, Any]:
    """Write the pretrained tower to `out` and return the record, which is written beside it."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.use_deterministic_algorithms(True)
    began = time.process_time()
    world = World.render(people)
    network = Pretext(seed, world)
    curve = []
    for step, losses in enumerate(_steps(network, world, steps=steps, batch=batch, seed=seed), start=1):
        curve.append(losses)
        if step % 50 == 0 or step == steps:
            recent = _mean(curve[-50:])
            print(step, f"{time.process_time() - began:.0f}s", {name: round(loss, 4) for name, loss in recent.items()})
    save_file(network.weights(), out)
    record = {
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "shape": clip.SMALL_CONFIG,
        "pretext": "disturbances of genuine lab pictures, named and placed; traits of person and moment",
        "disturbances": sorted(KINDS),
        "first_person": FIRST_PERSON,
        "people": people,
        "steps": steps,
        "batch": batch,
        "seed": seed,
        "seconds": round(time.process_time() - began),
        "losses": {name: round(loss, 4) for name, loss in _mean(curve[-50:]).items()},
        "versions": {name: version(name) for name in ("torch", "open_clip_torch", "numpy", "opencv-python-headless")},
    }
    out.with_suffix(".json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    return record


# -- the world -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A face (S, S, 3) as a detector gets it, where it was disturbed (kinds, h, w) in [0, 1], and its traits (T,)."""

    face: Picture
    where: Floats
    traits: Floats


@dataclass(frozen=True)
class World:
    """One picture of each person, and what is to be seen in it: traits (N, T), each of mean 0 and deviation 1."""

    portraits: list[Portrait]
    traits: Floats
    signs: Floats
    """(T,) -1 for traits that a mirror turns round."""

    @classmethod
    def render(cls, people: int) -> World:
        portraits, rows = [], []
        for number in range(FIRST_PERSON, FIRST_PERSON + people):
            sitter, moment = person(number), Moment.draw(np.random.default_rng([7, number]))
            portraits.append(render(sitter, moment, FRAME_PX))
            rows.append(traits(sitter, moment))
        table = np.array([list(row.values()) for row in rows], np.float32)
        table = (table - table.mean(axis=0)) / (table.std(axis=0) + 1e-6)
        signs = np.array([-1 if name in MIRRORED else 1 for name in rows[0]], np.float32)
        return cls(portraits, table, signs)

    def sample(self, rng: np.random.Generator) -> Sample:
        """Somebody, perhaps disturbed, perhaps mirrored, filmed and cut out."""
        number = int(rng.integers(len(self.portraits)))
        portrait, side_px = self.portraits[number], clip.SMALL_CONFIG["vision_cfg"]["image_size"]
        disturbed = disturb(portrait.image, rng)
        filmed = finish(
            disturbed.image,
            noise=rng.uniform(0.6, 2.2),
            quality=int(rng.integers(78, 97)),
            seed=int(rng.integers(2**31)),
        )
        landmarks = portrait.landmarks + rng.normal(0, LANDMARK_JITTER_PX, portrait.landmarks.shape)
        face, _ = alignment.align(filmed, landmarks, side_px, MARGIN)
        grid = side_px // clip.SMALL_CONFIG["vision_cfg"]["patch_size"]
        where = np.zeros((len(KINDS), grid, grid), np.float32)
        for kind, place in disturbed.where.items():
            cut, _ = alignment.align((255 * place).astype(np.uint8), landmarks, side_px, MARGIN)
            where[list(KINDS).index(kind)] = cv2.resize(cut, (grid, grid), interpolation=cv2.INTER_AREA) / 255.0
        seen = self.traits[number]
        if rng.random() < 0.5:
            face, where, seen = face[:, ::-1], where[:, :, ::-1], self.signs * seen
        return Sample(face, where, seen)

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images (B, 3, S, S), patches (B, kinds, h, w), traits (B, T)."""
        samples = [self.sample(rng) for _ in range(size)]
        faces = torch.from_numpy(np.stack([sample.face for sample in samples])).permute(0, 3, 1, 2).float() / 255
        where = torch.from_numpy(np.stack([sample.where for sample in samples]))
        seen = torch.from_numpy(np.stack([sample.traits for sample in samples]))
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (clip.MEAN, clip.DEVIATION))
        return (faces - mean) / deviation, where, seen


def traits(sitter: Person, moment: Moment) -> dict[str, float]:
    """Every number that decides how a person looks in a moment, by name; colours give three."""
    found: dict[str, float] = {}
    for part in (sitter, moment.pose, moment.expression, moment.light, moment.camera):
        for name, value in asdict(part).items():
            if name not in UNSEEN:
                values = value if isinstance(value, tuple) else (value,)
                found |= {f"{name}.{place}" if place else name: float(v) for place, v in enumerate(values)}
    return found | {style: float(sitter.hairstyle == style) for style in HAIRSTYLES}


# -- the pretext ---------------------------------------------------------------------------------------------------------


class Pretext(nn.Module):
    """The tower with three heads that are thrown away."""

    def __init__(self, seed: int, world: World) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.vision: Any = clip.vision_transformer(clip.SMALL_CONFIG)
        self.vision.proj = None
        width = self.vision.conv1.out_channels
        _whiten(self.vision.conv1, world.batch(WHITENED, np.random.default_rng([seed, 1]))[0])
        _begin_near_identity(self.vision)
        self.patches = nn.Linear(width, len(KINDS))
        self.kinds = nn.Linear(width, len(KINDS) + 1)
        self.traits = nn.Linear(width, world.traits.shape[1])

    def losses(self, images: Tensor, where: Tensor, seen: Tensor) -> dict[str, Tensor]:
        tokens = self.vision.ln_post(self.vision.transformer(self.vision._embeds(images)))
        cls, patches = tokens[:, 0], tokens[:, 1:]
        present = (where.amax(dim=(2, 3)) > 0.3).float()
        answers = torch.cat([present, present.amax(dim=1, keepdim=True)], dim=1)
        weights = torch.tensor([KIND_WEIGHT] * len(KINDS) + [ANY_WEIGHT])
        kinds, patch_weight = self.kinds(cls), torch.tensor(PATCH_WEIGHT)
        placed, truth = self.patches(patches), where.flatten(2).mT
        return {
            "patches": 2 * F.binary_cross_entropy_with_logits(placed, truth, pos_weight=patch_weight),
            "kinds": F.binary_cross_entropy_with_logits(kinds, answers, pos_weight=weights),
            "any": F.binary_cross_entropy_with_logits(kinds[:, -1], answers[:, -1]),
            "traits": TRAITS_TERM * F.mse_loss(self.traits(cls), seen),
        }

    def weights(self) -> dict[str, Tensor]:
        return {name: value.half().contiguous() for name, value in self.vision.state_dict().items()}


def _steps(network: Pretext, world: World, *, steps: int, batch: int, seed: int) -> Iterator[dict[str, float]]:
    """Train, yielding the losses of each step; the learning rates fall along a line."""
    matrices = [p for p in network.vision.transformer.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in network.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.01, adjust_lr_fn="original")
    adam = torch.optim.Adam(others, ADAM_RATE, betas=(0.9, 0.98))
    for step in range(steps):
        share = min(1.0, (step + 1) / WARMUP_STEPS) * max(LAST_RATE, 1 - step / steps)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = MUON_RATE * share, ADAM_RATE * share
        terms = network.losses(*world.batch(batch, np.random.default_rng([seed, 0, step])))
        network.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        muon.step()  # type: ignore[no-untyped-call]
        adam.step()
        yield {name: term.item() for name, term in terms.items()}


def _mean(curve: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([losses[name] for losses in curve])) for name in curve[0]}


# -- the start -----------------------------------------------------------------------------------------------------------


def _whiten(embedding: nn.Conv2d, images: Tensor) -> None:
    """The first third of the filters are the patches' first principal components, the others mix the remaining ones."""
    side, width = embedding.kernel_size[0], embedding.out_channels
    patches = F.unfold(images, side, stride=side).transpose(1, 2).reshape(-1, 3 * side * side).double()
    variance, components = torch.linalg.eigh(torch.cov(patches.T))
    whitened = (components / (variance + 1e-4).sqrt()).T.flip(0)  # the strongest first
    plain, rest = width // 3, len(whitened) - width // 3
    mixed = torch.randn(width - plain, rest, dtype=torch.float64) / rest**0.5
    filters = torch.cat([whitened[:plain], mixed @ whitened[plain:]])
    with torch.no_grad():
        embedding.weight.copy_(filters.reshape(embedding.weight.shape))


def _begin_near_identity(vision: Any) -> None:
    """Tokens attend to what resembles them, and values are subtracted; positions are sines."""
    from open_clip.pos_embed import get_2d_sincos_pos_embed

    positions = get_2d_sincos_pos_embed(vision.conv1.out_channels, vision.grid_size[0], cls_token=True)
    with torch.no_grad():
        vision.positional_embedding.copy_(torch.from_numpy(positions))
        for block in vision.transformer.resblocks:
            _near_identity(block.attn)


def _near_identity(attention: nn.MultiheadAttention) -> None:
    """Q^T K = 0.7 (Z + I) cut to the rank of a head, O V = 0.4 (Z - I), Z of random entries with variance 1/width."""
    width, depth = attention.embed_dim, attention.head_dim
    q, k, v = attention.in_proj_weight.chunk(3)
    for head in range(attention.num_heads):
        rows = slice(head * depth, (head + 1) * depth)
        left, strength, right = torch.linalg.svd(0.7 * (torch.randn(width, width) / width**0.5 + torch.eye(width)))
        q[rows] = (left * strength.sqrt()).T[:depth]
        k[rows] = strength.sqrt()[:depth, None] * right[:depth]
    left, strength, right = torch.linalg.svd(0.4 * (torch.randn(width, width) / width**0.5 - torch.eye(width)))
    v.copy_(strength.sqrt()[:, None] * right)
    attention.out_proj.weight.copy_(left * strength.sqrt())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Pretrain the small tower.")
    parser.add_argument("out", type=Path, help="the .safetensors file to write; its record is written beside it")
    parser.add_argument("--people", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    said = vars(parser.parse_args())
    print(json.dumps(pretrain(said.pop("out"), **said), indent=2))
