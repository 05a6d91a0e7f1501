"""Five ways to forge a face, each with the trace its real-world kin leaves.

    identity_swap       an autoencoder's face, soft from its bottleneck, blended in by a mask
    reenactment         the person's own pixels, warped to another expression
    mesh_swap           another face's triangles at full sharpness, in slightly wrong colours
    mouth_resynthesis   a newly synthesised mouth in a soft box
    generated           a face nobody has, with the grid of its upsampling layers

Every family takes two portraits (a picture and five landmarks, rendered or photographed), and a generator: the same
generator state gives the same forgery, so that all frames of a clip share its accidents. A forgery says which pixels it
blended, however little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np

from components.errors import UnknownName
from components.lab.face_frame import (
    TEMPLATE,
    blended,
    frame_coordinates,
    levels,
    oval,
    recoloured,
    sharpened,
    side_of,
    similarity,
    to_frame,
    warped,
)
from components.lab.mesh import OUTLINE, mesh_of, mesh_warped
from components.lab.picture import Floats, Picture, Portrait, bump

Forgery = Callable[[Portrait, Portrait, np.random.Generator], Portrait]


def identity_swap(target: Portrait, donor: Portrait, rng: np.random.Generator) -> Portrait:
    """The donor's face through a low-resolution bottleneck (Deepfakes, DeepFaceLab).

    The decoder knows some 50 pixels across the face frame: inside the mask pores, lashes and sensor noise are
    missing, outside they are not; colours are matched, the border is feathered.
    """
    bottleneck = int(rng.integers(44, 56))
    detour = 2 * bottleneck
    face = warped(donor.image, to_frame(donor, detour), (detour, detour))
    small = cv2.resize(face, (bottleneck, bottleneck), interpolation=cv2.INTER_AREA)
    decoded = cv2.resize(small, (detour, detour), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    shape = target.image.shape[:2]
    mask = oval(target, softness=rng.uniform(0.05, 0.09))
    pasted = warped(decoded, cv2.invertAffineTransform(to_frame(target, detour)), shape)
    pasted = recoloured(pasted, target.image, mask, strength=0.9)
    return Portrait(blended(target.image, pasted, mask), target.landmarks, mask > 0)


def reenactment(target: Portrait, donor: Portrait, rng: np.random.Generator) -> Portrait:
    """The target's own pixels moved to the donor's expression (Face2Face; motion transfer by flow).

    Brows, lids and mouth are dragged by a coarse flow field: skin stretches in steps at the borders of its cells,
    and where the old feature was not wholly covered its ghost remains.
    """
    side = side_of(target)
    drive = _expression_of(donor) - _expression_of(target)
    drive[3:] += np.array([[1, 0], [1, 0]]) * rng.uniform(-0.01, 0.01)
    flow = _drag(target, np.clip(drive, -0.03, 0.03), rng)
    cell = max(3, round(side / 22))
    coarse = cv2.resize(flow, None, fx=1 / cell, fy=1 / cell, interpolation=cv2.INTER_AREA)
    coarse += rng.normal(0, 0.007, coarse.shape).astype(np.float32)  # estimated motion is never smooth
    flow = cv2.resize(coarse, flow.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    flow = cv2.blur(flow, (3, 3)) * side
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    moved = cv2.remap(
        target.image, columns - flow[..., 0], rows - flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    moved = sharpened(moved, 0.9)  # interpolation took this much away
    mask = oval(target, softness=0.05)
    ghost = rng.uniform(0.25, 0.4)
    image = blended(target.image, moved, mask * (1 - ghost))
    places = np.clip(np.rint(target.landmarks).astype(int), 0, np.array(flow.shape[1::-1]) - 1)
    return Portrait(image, target.landmarks + (1 - ghost) * flow[places[:, 1], places[:, 0]], mask > 0)


def _expression_of(portrait: Portrait) -> Floats:
    """How the landmarks (5, 2) depart from the template, in units of the face frame."""
    matrix = to_frame(portrait, 1)
    return portrait.landmarks @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE


def _drag(target: Portrait, drive: Floats, rng: np.random.Generator) -> Floats:
    """Flow (H, W, 2) in units of the face frame, axes of the image: brows up or down, the mouth wider and open."""
    x, y = frame_coordinates(target)
    lift = rng.choice([-1, 1]) * rng.uniform(0.022, 0.034)
    gape = rng.uniform(0.028, 0.045)
    flow = np.zeros((*x.shape, 2), np.float32)
    for corner in (3, 4):
        hill = bump(x, y, tuple(TEMPLATE[corner].tolist()), (0.06, 0.05))
        flow += hill[..., None] * drive[corner].astype(np.float32)
        flow[..., 0] += hill * (0.018 if corner == 4 else -0.018)
    flow[..., 1] += gape * (bump(x, y, (0.5, 0.76), (0.11, 0.06)) - 0.5 * bump(x, y, (0.5, 0.66), (0.09, 0.035)))
    for brow in (0.36, 0.64):
        flow[..., 1] -= lift * bump(x, y, (brow, 0.32), (0.08, 0.05))
    turn = to_frame(target, 1)[:, :2] * side_of(target)
    return np.ascontiguousarray(flow @ turn.astype(np.float32))  # frame axes -> image axes


def mesh_swap(target: Portrait, donor: Portrait, rng: np.random.Generator) -> Portrait:
    """The donor's face as a landmark mesh laid over the target's (FaceSwap).

    Full resolution and sharpened, with a crisp polygonal border, kinks along the triangles, and a cast of colour.
    """
    mesh = mesh_of(target)
    pasted = sharpened(mesh_warped(donor, target), rng.uniform(0.7, 1.1))
    outline = np.rint(mesh[OUTLINE] * 16).astype(np.int32)
    mask = cv2.fillPoly(np.zeros(target.image.shape[:2], np.uint8), [outline], 255, cv2.LINE_AA, 4)
    alpha = mask.astype(np.float32) / 255
    pasted = recoloured(pasted, target.image, alpha, strength=rng.uniform(0.85, 0.95))
    cast = 1 + rng.choice([-1, 1]) * rng.uniform(0.05, 0.09) * np.array([1, -0.3, -0.9], np.float32)
    return Portrait(blended(target.image, pasted * cast, alpha), target.landmarks, alpha > 0)


def mouth_resynthesis(target: Portrait, donor: Portrait, rng: np.random.Generator) -> Portrait:
    """The mouth alone synthesised anew in a box of the lower face (Wav2Lip, NeuralTextures).

    The generator paints few pixels and no texture: a soft rectangle under a sharp nose, its edges feathered.
    """
    width = int(rng.integers(36, 46))
    detour = 2 * width
    mouth = donor.landmarks.copy()
    mouth[:2] = _same_mouth(donor, target)
    face = warped(donor.image, similarity(mouth, TEMPLATE * detour), (detour, detour))
    small = cv2.resize(face, (width, width), interpolation=cv2.INTER_AREA)
    painted = cv2.resize(small, (detour, detour), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    pasted = warped(painted, cv2.invertAffineTransform(to_frame(target, detour)), target.image.shape[:2])
    x, y = frame_coordinates(target)
    inside = np.minimum(0.165 - np.abs(x - 0.5), 0.125 - np.abs(y - 0.715)) / rng.uniform(0.025, 0.04)
    box = np.clip(inside, 0, 1)
    pasted = recoloured(pasted, target.image, box, strength=0.95)
    return Portrait(blended(target.image, pasted, box), target.landmarks, box > 0)


def _same_mouth(donor: Portrait, target: Portrait) -> Floats:
    """Eyes (2, 2) the donor would have were its face as long as the target's: aligns mouths, not chins."""
    matrix = similarity(target.landmarks[2:], donor.landmarks[2:])
    return 0.5 * donor.landmarks[:2] + 0.5 * (target.landmarks[:2] @ matrix[:, :2].T + matrix[:, 2])


def generated(target: Portrait, donor: Portrait, rng: np.random.Generator) -> Portrait:
    """A face that nobody has, drawn whole by a generator (GANs, latent diffusion decoders).

    Identity is a blend of two; every pixel of the picture has passed three stride-2 transposed convolutions whose
    kernels overlap unevenly, which leaves peaks at periods of 2, 4 and 8 px in the spectrum (Odena et al. 2016).
    """
    nobody = _melted(target, donor, share=rng.uniform(0.4, 0.6))
    soft = _upsampled(nobody, unevenness=0)
    grid = _upsampled(nobody, unevenness=rng.uniform(0.05, 0.09)) - soft
    everywhere = np.ones(nobody.shape[:2], bool)
    return Portrait(levels(soft + 0.95 * (nobody - soft) + grid), target.landmarks, everywhere)


def _melted(target: Portrait, donor: Portrait, share: float) -> Picture:
    pasted = mesh_warped(donor, target)
    mask = oval(target, softness=0.10)
    return blended(target.image, recoloured(pasted, target.image, mask, 1.0), share * mask)


def _upsampled(image: Picture, unevenness: float) -> Floats:
    """`image` through an eighth of its size and back by three transposed convolutions of stride 2."""
    rows, columns = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 0, -rows % 8, 0, -columns % 8, cv2.BORDER_REFLECT_101)
    layer = cv2.resize(padded, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA).astype(np.float32)
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 16
    kernel[1, 1] *= 1 + unevenness * 1.7
    kernel *= 4 / kernel.sum()
    for _ in range(3):
        sparse = np.zeros((2 * layer.shape[0], 2 * layer.shape[1], 3), np.float32)
        sparse[::2, ::2] = layer
        layer = cv2.filter2D(sparse, -1, kernel, anchor=(1, 1), borderType=cv2.BORDER_REFLECT_101)
    return layer[:rows, :columns]


FAMILIES: Mapping[str, Forgery] = MappingProxyType(
    {f.__name__: f for f in (identity_swap, reenactment, mesh_swap, mouth_resynthesis, generated)}
)


def family(name: str) -> Forgery:
    """The forgery family called `name`; raises UnknownName."""
    if name not in FAMILIES:
        raise UnknownName("forgery family", name, FAMILIES)
    return FAMILIES[name]
