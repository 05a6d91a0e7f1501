"""A person's skin as an atlas over the face: colour, relief and the shade that never moves.

The atlas covers sphere coordinates x, y in [-REACH, REACH]; it is painted once per person and read every frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from components.lab.head import Head
from components.lab.people import Person
from components.lab.picture import Floats, bump, edge, linear, noise, paint, sample

REACH = 1.04


@dataclass(frozen=True)
class Atlas:
    """albedo (A, A, 3) linear light; relief (A, A, 4): height, its slopes along u and v, ambient light let in."""

    albedo: Floats
    relief: Floats

    def place(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Sphere coordinates as pixels of the atlas."""
        half = (self.albedo.shape[0] - 1) / 2
        return (x / REACH + 1) * half, (y / REACH + 1) * half


def shaded_face(head: Head) -> tuple[Floats, Floats, Floats]:
    """The bare face: radiance (H, W, 3), and the places u, v (H, W) each pixel sees."""
    atlas = atlas_of(head.person, round(2.3 * head.px_per_unit))
    height = sample(np.ascontiguousarray(atlas.relief[..., 0]), *atlas.place(head.n[0], head.n[1]))
    x, y, z = head.shifted(height)
    relief = sample(atlas.relief, *atlas.place(x, y))
    brow = head.moment.expression.brow_raise * 0.045 * bump(x, y, (0, head.person.eye_y - 0.25), (0.6, 0.12))
    albedo = sample(atlas.albedo, *atlas.place(x, y + brow))
    lit, gloss = _light(head, atlas, (x, y, z), relief)
    radiance = albedo * lit + gloss[..., None]
    return radiance, x * head.person.half_width, y


def _light(head: Head, atlas: Atlas, n: tuple[Floats, Floats, Floats], relief: Floats) -> tuple[Floats, Floats]:
    """Light arriving (H, W, 3) and mirrored (H, W): wrapped Lambert, redder at the terminator; a soft highlight."""
    x, y, z = n
    lamp = head.moment.light
    lx, ly, lz = head.light.tolist()
    normal_x, normal_y, normal_z = 0.95 * x - 0.8 * relief[..., 1], 0.75 * y - 0.8 * relief[..., 2], z + 0.12
    length = 1 / np.sqrt(normal_x**2 + normal_y**2 + normal_z**2)
    facing = (normal_x * lx + normal_y * ly + normal_z * lz) * length
    towards = sample(np.ascontiguousarray(atlas.relief[..., 0]), *atlas.place(x + 0.16 * lx, y + 0.16 * ly))
    shadow = 1 - 0.5 * np.clip((towards - relief[..., 0] - 0.07) * 9, 0, 1)
    shadow = cv2.blur(shadow, (3, 3))
    ambient = lamp.ambient * relief[..., 3] * (0.85 - 0.15 * normal_y * length)
    lit = np.empty((*x.shape, 3), np.float32)
    for channel, wrap in enumerate((0.36, 0.22, 0.18)):  # light seeps through skin, red the farthest
        diffuse = np.maximum((facing + wrap) / (1 + wrap), 0)
        lit[..., channel] = (ambient + lamp.key * diffuse * shadow) * lamp.tint[channel]
    half_z = max(lz + 1, 0.2)
    norm = (lx**2 + ly**2 + half_z**2) ** -0.5
    mirrored = np.maximum((normal_x * lx + normal_y * ly + normal_z * half_z) * length * norm, 0)
    for _ in range(4):
        mirrored = mirrored * mirrored  # to the 16th
    return lit, 0.10 * lamp.key * mirrored * shadow


@lru_cache(maxsize=128)
def atlas_of(person: Person, side: int) -> Atlas:
    """The atlas of `person`, `side` pixels square."""
    axis = np.linspace(-REACH, REACH, side, dtype=np.float32)
    u, v = np.meshgrid(axis * person.half_width, axis)
    rng = np.random.default_rng(person.texture_seed)
    height = _height(person, u, v)
    step = 2 * REACH / (side - 1)
    slope_v, slope_u = np.gradient(height, step)
    relief = np.stack([height, slope_u / person.half_width, slope_v, _openness(person, u, v)], axis=-1)
    return Atlas(_albedo(person, u, v, rng), np.ascontiguousarray(relief, np.float32))


def _height(p: Person, u: Floats, v: Floats) -> Floats:
    """How far each place stands out of the ellipsoid."""
    left = np.abs(u)  # a face is symmetric
    climb = np.clip((v - p.eye_y + 0.05) / (p.nose_y - p.eye_y + 0.02), 0, 1)
    width = 0.045 + 0.45 * p.nose_half_width * climb**2
    below = 1 / (1 + np.exp(np.clip((v - p.nose_y - 0.045) / 0.018, -30, 30)))
    height = p.nose_height * (0.15 + 0.85 * climb**1.4) * below * np.exp(-0.5 * (u / width) ** 2) * (climb > 0)
    height += 0.07 * bump(left, v, (0.72 * p.nose_half_width, p.nose_y + 0.005), (0.04, 0.045))
    height += 0.045 * bump(left, v, (p.eye_x, p.eye_y - 0.2), (0.2, 0.06))
    height -= 0.075 * bump(left, v, (p.eye_x * 0.95, p.eye_y - 0.02), (0.15, 0.085))
    height += 0.05 * bump(left, v, (0.62 * p.half_width, 0.27), (0.13, 0.11))
    height += 0.03 * bump(u, v, (0, p.mouth_y), (p.mouth_half_width, 0.10))
    height -= 0.03 * bump(u, v, (0, p.mouth_y + p.lower_lip + 0.07), (0.12, 0.035))
    height += 0.05 * bump(u, v, (0, 0.88), (0.13, 0.08))
    height -= 0.012 * bump(u, v, (0, p.nose_y + 0.13), (0.022, 0.05))
    return height - (0.012 + 0.025 * p.age) * _fold(p, left, v)


def _fold(p: Person, left: Floats, v: Floats) -> Floats:
    """The crease from the wing of the nose past the corner of the mouth."""
    along = np.clip((v - p.nose_y) / (p.mouth_y - p.nose_y + 0.08), 0, 1)
    path = p.nose_half_width + 0.03 + (p.mouth_half_width + 0.05 - p.nose_half_width) * along**1.2
    return np.exp(-0.5 * ((left - path) / 0.03) ** 2) * np.sqrt(np.clip(np.sin(np.pi * along), 0, None))


def _openness(p: Person, u: Floats, v: Floats) -> Floats:
    left = np.abs(u)
    shut = 0.42 * bump(left, v, (p.eye_x * 0.92, p.eye_y - 0.04), (0.13, 0.075))
    shut += 0.30 * bump(left, v, (p.eye_x * 0.45, p.eye_y), (0.06, 0.07))
    shut += 0.40 * bump(u, v, (0, p.nose_y + 0.075), (0.8 * p.nose_half_width, 0.03))
    shut += 0.75 * bump(left, v, (0.45 * p.nose_half_width, p.nose_y + 0.05), (0.028, 0.016))
    shut += 0.25 * bump(left, v, (p.nose_half_width + 0.02, p.nose_y + 0.02), (0.02, 0.05))
    shut += 0.25 * bump(u, v, (0, p.mouth_y + p.lower_lip + 0.055), (0.13, 0.03))
    shut += (0.12 + 0.2 * p.age) * _fold(p, left, v)
    shut += 0.35 * np.clip(v - 0.86, 0, 1) * 4 * np.clip(np.abs(v), 0, 1)
    return 1 - np.clip(shut, 0, 0.85)


def _albedo(p: Person, u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    left, side = np.abs(u), u.shape[0]
    grain = side / 118  # texture is drawn for an atlas of 118 px, one for a 160 px frame
    albedo = np.ones((side, side, 3), np.float32) * linear(p.skin)
    mottle = 0.035 * noise(rng, u.shape, 9 * grain) + 0.02 * noise(rng, u.shape, 3 * grain)
    pores = 0.035 * p.roughness * noise(rng, u.shape, 1.0 * grain)
    albedo *= (1 + mottle + pores)[..., None]
    rosy = p.blush * (
        0.55 * bump(left, v, (0.55 * p.half_width, 0.30), (0.16, 0.13))
        + 0.5 * bump(u, v, (0, p.nose_y), (0.1, 0.08))
        + 0.25 * bump(u, v, (0, 0.9), (0.15, 0.1))
    )
    albedo *= 1 - rosy[..., None] * np.array([0.05, 0.30, 0.26], np.float32)
    tired = (0.12 + 0.35 * p.age) * bump(left, v, (p.eye_x, p.eye_y + 0.11), (0.12, 0.035))
    albedo *= 1 - tired[..., None] * np.array([0.45, 0.6, 0.45], np.float32)
    if p.freckles:
        spots = np.clip(noise(rng, u.shape, 1.6 * grain) - 1.1, 0, 1) * bump(u, v, (0, 0.22), (0.5, 0.2))
        albedo *= 1 - p.freckles * np.clip(spots, 0, 1)[..., None] * np.array([0.35, 0.55, 0.65], np.float32)
    _moles(p, albedo, u, v, rng)
    _furrows(p, albedo, u, v)
    paint(albedo, linear(p.hair) * 0.9, _beard(p, u, v, rng, grain))
    paint(albedo, linear(p.hair) * 0.75, _brows(p, u, v, rng, grain))
    return np.ascontiguousarray(albedo, np.float32)


def _moles(p: Person, albedo: Floats, u: Floats, v: Floats, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(0, 4))):
        centre = (rng.uniform(-0.8, 0.8) * p.half_width, rng.uniform(-0.4, 0.85))
        albedo *= (1 - 0.6 * bump(u, v, centre, (0.016, 0.016)))[..., None]


def _furrows(p: Person, albedo: Floats, u: Floats, v: Floats) -> None:
    """Lines of the forehead, by age."""
    for line, height in enumerate((-0.42, -0.49, -0.56)):
        wave = height + 0.012 * np.cos(7 * u + line)
        depth = 0.22 * max(0.0, p.age - 0.35) * np.exp(-0.5 * ((v - wave) / 0.011) ** 2)
        albedo *= (1 - depth * np.exp(-0.5 * (u / 0.32) ** 2))[..., None]


def _brows(p: Person, u: Floats, v: Floats, rng: np.random.Generator, grain: float) -> Floats:
    along = (np.abs(u) - p.eye_x) / 0.21  # -1 at the root, 1 at the tail
    arch = 0.05 * p.brow_arch * (1 - (along - 0.25) ** 2) - 0.015 * along
    distance = np.abs(v - (p.eye_y + p.brow_y + 0.04 - arch))
    thickness = p.brow_thickness * np.clip(1.1 - 0.55 * np.clip(along, -1, 1), 0.2, 1.3)
    cover = edge(thickness - distance, 0.035) * edge(1.05 - np.abs(along), 0.25)
    strands = np.clip(0.85 + 0.25 * noise(rng, u.shape, 1.2 * grain), 0.3, 1)
    return p.brow_weight * cover * strands


def _beard(p: Person, u: Floats, v: Floats, rng: np.random.Generator, grain: float) -> Floats:
    stubble = np.clip(0.7 + 0.5 * noise(rng, u.shape, 1.1 * grain), 0, 1)
    left = np.abs(u)
    border = 0.50 + 0.10 * np.cos(4 * u) - 0.55 * np.clip(left - 0.4 * p.half_width, 0, 1)
    jaw = edge(v - border, 0.18) * (1 - bump(u, v, (0, p.mouth_y - 0.02), (p.mouth_half_width * 0.95, 0.07)))
    cheeks = edge(np.clip(left / p.half_width, 0, 1) + 0.9 * v - 0.62, 0.3)
    lip = bump(u, v, (0, p.nose_y + 0.13), (0.19, 0.04))
    if not p.beard:
        return np.zeros_like(u)
    return (0.12 + 0.62 * p.beard) * stubble * np.clip(jaw * cheeks + 0.9 * lip, 0, 1)
