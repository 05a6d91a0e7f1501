"""Hair, ears and glasses: what frames the face."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from components.lab.head import Head, light_direction
from components.lab.people import Person
from components.lab.picture import Floats, edge, linear, noise, paint, sample, shade

_TILE_PX = 128


@dataclass(frozen=True)
class Hair:
    """Radiance of the strands (H, W, 3), and coverage (H, W) of the volume they fill around the skull."""

    strands: Floats
    volume: Floats


def hair_of(head: Head) -> Hair | None:
    """The hair of a head, if it has any."""
    return None if head.person.hairstyle == "bald" else Hair(_strands(head), _volume(head))


def draw_back_hair(radiance: Floats, head: Head, hair: Hair) -> None:
    """What hangs behind neck and ears."""
    paint(radiance, 0.6 * hair.strands, hair.volume * edge(_length(head.person) - head.y, 0.12))


def draw_ears(radiance: Floats, head: Head) -> None:
    """Two ears, of which turning hides one."""
    person, light = head.person, head.moment.light
    tilt = float(head.turn[0, 2])  # sine of the yaw
    for side in (-1, 1):
        centre = (side * person.half_width * (1.0 - 0.14 * side * tilt), 0.06 * person.ear)
        view = head.window_beside(*centre, reach=0.25 * person.ear)
        x = (head.x[view] - centre[0]) / (0.085 * person.ear)
        y = (head.y[view] - centre[1]) / (0.19 * person.ear)
        radius = np.sqrt(x**2 + y**2)
        flesh = np.ones_like(radiance[view]) * linear(person.skin) * (light.ambient + 0.5 * light.key)
        shade(flesh, 0.92 - 0.4 * np.exp(-(((radius - 0.45) / 0.22) ** 2)))
        flesh[..., 1:] *= 0.86
        paint(radiance[view], flesh, edge(1 - radius, 12 * head.pixel))


def draw_front_hair(radiance: Floats, head: Head, hair: Hair, u: Floats, v: Floats) -> None:
    """What grows over the forehead and the temples, with its shadow on the skin."""
    person = head.person
    across = np.where(head.inside > 0.5, u, head.x) / person.half_width
    down = np.where(head.inside > 0.5, v, head.y)
    ragged = 0.022 * sample(_tile(person.texture_seed), across * 60, down * 6, wrap=True)
    below = down - _hairline(person, across) + ragged  # negative under hair
    cover = edge(-below, 0.05)
    if person.hairstyle == "long":  # locks fall over the edge of the cheeks
        cover = np.maximum(cover, edge(np.abs(across) - 0.93 + 0.5 * ragged, 0.08) * edge(_length(person) - down, 0.1))
    shade(radiance, 1 - 0.35 * edge(0.05 - below, 0.14) * head.inside)
    paint(radiance, hair.strands, cover * hair.volume)


def draw_glasses(radiance: Floats, head: Head, u: Floats, v: Floats) -> None:
    """Thin rims, a bridge, and arms that vanish behind the face."""
    person = head.person
    if not person.glasses:
        return
    view = head.window(0, person.eye_y, 1.25 * person.half_width)
    u, v = u[view], v[view]
    x, y = np.abs(u) - person.eye_x * 1.02, v - person.eye_y - 0.005
    lens = (np.abs(x / 0.225) ** 3 + np.abs(y / 0.165) ** 3) ** (1 / 3)
    rim = edge(0.016 - np.abs(lens - 1) * 0.19, 1.3 * head.pixel)
    bridge = edge(0.014 - np.abs(y + 0.06), 1.3 * head.pixel) * (np.abs(u) < person.eye_x * 1.02 - 0.2)
    arm = edge(0.016 - np.abs(y + 0.03), 1.3 * head.pixel) * (np.abs(u) > person.eye_x * 1.02 + 0.22)
    frame = np.maximum(np.maximum(rim, bridge), arm)
    paint(radiance[view], linear(person.hair) * 0.3, person.glasses * frame * head.inside[view])


def _hairline(person: Person, across: Floats) -> Floats:
    """v of the lower border of the hair over the forehead."""
    temples = 0.50 * np.abs(across) ** 4
    match person.hairstyle:
        case "fringe":
            return person.hairline + 0.12 + 0.06 * np.cos(3 * across + person.parting) + 0.4 * np.abs(across) ** 5
        case "parted" | "long":
            return person.hairline + 0.20 * np.abs(across - person.parting) ** 1.2 + 0.6 * temples
        case _:
            return person.hairline + 0.03 * np.cos(9 * across) + temples


def _length(person: Person) -> float:
    return {"long": 1.15 + person.parting, "fringe": 0.35, "curly": 0.42, "parted": 0.12}.get(person.hairstyle, 0.02)


def _volume(head: Head) -> Floats:
    """Coverage of the volume the hair fills around the skull."""
    person = head.person
    thickness = person.hair_volume * {"cropped": 0.35, "curly": 1.5}.get(person.hairstyle, 1.0)
    ragged = (0.09 if person.hairstyle == "curly" else 0.03) * sample(
        _tile(person.texture_seed), head.x * 22, head.y * 22, wrap=True
    )
    swing = 0.10 * float(head.turn[0, 2])
    x = (head.x + swing) / (person.half_width + 0.02 + thickness)
    y = (np.minimum(head.y, 0.0) + 0.02) / (1.0 + 0.75 * thickness)
    return edge(1 - np.sqrt(x**2 + y**2) + ragged * 0.6, 0.035)


def _strands(head: Head) -> Floats:
    """Radiance (H, W, 3) of hair combed away from the crown, with a band of sheen."""
    person, light = head.person, head.moment.light
    fan = head.x / (0.45 + np.abs(head.y + 1.05))
    streaks = sample(_tile(person.texture_seed), fan * 150, (head.y + 1) * 9, wrap=True)
    lx, ly, lz = light_direction(head.moment).tolist()
    facing = 0.55 * lz + head.x * lx * 0.8 + np.clip(head.y, -1, 0.3) * ly * 0.8
    lit = light.ambient + light.key * np.clip(facing + 0.2, 0.05, 1.2)
    tone = np.clip(0.85 + 0.26 * streaks, 0.25, 1.6) * lit
    sheen = np.exp(-0.5 * ((head.y + 0.72 - 0.3 * head.x**2) / 0.12) ** 2)
    hair = linear(person.hair) * np.array(light.tint, np.float32)
    return tone[..., None] * hair + (0.045 * sheen * light.key * np.clip(1 + 0.8 * streaks, 0, 3))[..., None]


@lru_cache(maxsize=128)
def _tile(seed: int) -> Floats:
    """A texture that may be repeated, (128, 128)."""
    rng = np.random.default_rng([seed, 1])
    fine = noise(rng, (_TILE_PX, _TILE_PX), 1.5)
    coarse = noise(rng, (_TILE_PX, _TILE_PX), 5)
    return np.ascontiguousarray(0.6 * fine + 0.6 * coarse, np.float32)
