"""What moves in a face: eyes and mouth, drawn where the head carries them."""

from __future__ import annotations

import numpy as np

from components.lab.head import Head
from components.lab.people import Expression, Person
from components.lab.picture import Floats, bump, edge, linear, paint, shade


def draw_eyes(radiance: Floats, head: Head, u: Floats, v: Floats) -> None:
    """Both eyes onto `radiance` (H, W, 3) in place; u, v (H, W) are the places on the face each pixel sees."""
    for side in (-1, 1):
        view = head.window(side * head.person.eye_x, head.person.eye_y, 1.9 * head.person.eye_half_width)
        _draw_eye(radiance[view], head, u[view], v[view], side)


def _draw_eye(canvas: Floats, head: Head, u: Floats, v: Floats, side: int) -> None:
    """One eye in units of its own half width: p runs to the right, q down."""
    person, expression = head.person, head.moment.expression
    half = person.eye_half_width
    p = (u - side * person.eye_x) / half
    q = (v - person.eye_y) / half + person.eye_tilt * side * p
    soft = 1.1 * head.pixel / half
    arc = np.clip(1 - (p - 0.10 * -side * p) ** 2, 0, 1)  # a little fuller towards the nose
    opening = person.eye_opening * (1 - expression.blink) * (1 + 0.12 * expression.brow_raise - 0.15 * expression.smile)
    upper, lower = -opening * arc**0.75, 0.52 * opening * arc
    light = head.moment.light
    shine = light.ambient + 0.7 * light.key
    # lid: a soft fold above the eye, the lash line on its rim
    crease = np.exp(-0.5 * ((q - upper * 1.05 + 0.24 * arc**0.5) / 0.06) ** 2) * (np.abs(p) < 1.15)
    shade(canvas, 1 - 0.38 * crease)
    open_eye = np.minimum(edge(q - upper, soft), edge(lower - q, soft)) * (np.abs(p) < 1)
    paint(canvas, _eyeball(head, p, q, side, soft) * shine, open_eye)
    shadow = 0.5 * np.exp(-np.clip(q - upper, 0, None) / 0.13)
    shade(canvas, 1 - shadow * open_eye)
    _glint(canvas, head, p, q, open_eye)
    lashes = edge(0.085 - np.abs(q - upper + 0.03), 1.5 * soft) * edge(1.12 - np.abs(p), 0.2)
    paint(canvas, linear(person.hair) * 0.15, (0.62 + 0.25 * person.brow_arch) * lashes)
    rim = edge(0.04 - np.abs(q - lower - 0.02), 1.5 * soft) * edge(1.0 - np.abs(p), 0.3)
    shade(canvas, 1 - 0.4 * rim)


def _eyeball(head: Head, p: Floats, q: Floats, side: int, soft: float) -> Floats:
    """Sclera, iris and pupil (h, w, 3) as albedo."""
    expression = head.moment.expression
    ball = np.ones((*p.shape, 3), np.float32) * np.array([0.52, 0.50, 0.485], np.float32)
    shade(ball, 1 - 0.38 * np.clip(np.abs(p), 0, 1) ** 3)
    paint(ball, np.array([0.5, 0.2, 0.18], np.float32), 0.8 * bump(p, q, (-side * 0.93, 0.03), (0.11, 0.14)))
    x, y = p - 0.3 * expression.gaze_x, q + 0.06 - 0.2 * expression.gaze_y
    radius = np.sqrt(x**2 + y**2)
    iris = np.ones_like(ball) * linear(head.person.iris)
    shade(iris, 0.75 + 0.75 * np.clip(y + 0.2, 0, 0.5) - 0.55 * np.clip((radius - 0.34) / 0.12, 0, 1))
    paint(ball, iris, edge(0.46 - radius, soft))
    paint(ball, np.array([0.004, 0.004, 0.005], np.float32), edge(0.2 - radius, soft))
    return ball


def _glint(canvas: Floats, head: Head, p: Floats, q: Floats, open_eye: Floats) -> None:
    lx, ly, _ = head.light.tolist()
    gaze = head.moment.expression
    centre = (0.3 * gaze.gaze_x + 0.2 * lx, -0.06 + 0.2 * gaze.gaze_y + 0.22 * ly)
    paint(canvas, np.full(3, 0.9, np.float32), 0.85 * bump(p, q, centre, (0.075, 0.075)) * open_eye)


def eye_centre(person: Person) -> float:
    """v half way between the open lids, of which the upper one stands farther from the line through the corners."""
    return person.eye_y - 0.24 * person.eye_opening * person.eye_half_width


def mouth_corners(person: Person, expression: Expression) -> tuple[float, float]:
    """Half the distance between the corners of the mouth, and their v."""
    half = person.mouth_half_width * (1 + 0.20 * expression.smile - 0.14 * min(expression.mouth_open, 1))
    return half, person.mouth_y - 0.06 * expression.smile + 0.01


def draw_mouth(radiance: Floats, head: Head, u: Floats, v: Floats) -> None:
    """Lips, teeth and the dark between them onto `radiance` (H, W, 3) in place."""
    person, expression = head.person, head.moment.expression
    half, _ = mouth_corners(person, expression)
    view = head.window(0, person.mouth_y + 0.04, 1.55 * half)
    canvas, p, q = radiance[view], u[view] / half, v[view] - person.mouth_y
    soft = 1.1 * head.pixel
    arc = np.sqrt(np.clip(1 - p**2, 0, 1))
    opening, smile = expression.mouth_open, expression.smile
    line = 0.01 - (0.06 * smile + 0.005) * p**2 + 0.006 * np.cos(9 * p)
    bow = 1 - 0.28 * np.exp(-((p / 0.13) ** 2)) + 0.12 * np.exp(-(((np.abs(p) - 0.25) / 0.15) ** 2))
    lift, drop = 0.02 * opening, 0.14 * opening + 0.075 * max(smile - 0.3, 0)
    gap_top, gap_bottom = line - lift * arc, line + drop * arc
    top, bottom = gap_top - person.upper_lip * arc * bow, gap_bottom + person.lower_lip * arc**0.9
    light = head.moment.light
    shine = light.ambient + 0.8 * light.key
    _crease(canvas, p, q, bottom, smile)
    lips = np.minimum(edge(q - top, 2.2 * soft), edge(bottom - q, 2.2 * soft)) * (np.abs(p) < 1)
    paint(canvas, _lips(head, q, gap_top, bottom) * shine, 0.82 * lips)
    gap = np.minimum(edge(q - gap_top, soft), edge(gap_bottom - q, soft)) * (np.abs(p) < 1)
    paint(canvas, _inside(p, q, gap_top) * shine, gap)
    seam = edge(0.008 - np.abs(q - gap_top), 1.6 * soft) * edge(1.05 - np.abs(p), 0.1)
    shade(canvas, 1 - 0.62 * seam)


def _crease(canvas: Floats, p: Floats, q: Floats, bottom: Floats, smile: float) -> None:
    """Shadow under the lower lip and at the corners."""
    below = np.exp(-0.5 * ((q - bottom - 0.03) / 0.025) ** 2) * np.exp(-0.5 * (p / 0.5) ** 2)
    corner = bump(np.abs(p), q, (1.04, 0.01 - 0.06 * smile), (0.07, 0.03))
    shade(canvas, 1 - 0.28 * below - (0.25 + 0.2 * max(smile, 0)) * corner)


def _lips(head: Head, q: Floats, parting: Floats, bottom: Floats) -> Floats:
    """Albedo (h, w, 3): the upper lip lies in shade, the lower one catches the light."""
    colour = np.ones((*q.shape, 3), np.float32) * linear(head.person.lip)
    depth = np.clip((q - parting) / np.maximum(bottom - parting, 0.02), 0, 1)
    shade(colour, np.where(q < parting, 0.74, 0.82 + 0.5 * np.sin(np.pi * depth) ** 2 * (depth > 0)))
    return colour


def _inside(p: Floats, q: Floats, gap_top: Floats) -> Floats:
    """Albedo (h, w, 3) of the open mouth: teeth above, dark and tongue below."""
    dark = np.ones((*p.shape, 3), np.float32) * np.array([0.045, 0.012, 0.012], np.float32)
    paint(dark, np.array([0.22, 0.06, 0.06], np.float32), 0.8 * bump(p, q, (0, 0.15), (0.45, 0.05)))
    between = 0.88 + 0.12 * np.abs(np.sin(np.pi * 3.2 * p))
    teeth = edge(gap_top + 0.055 - q, 0.02) * np.clip(1.15 - 1.1 * p**2, 0, 1)
    paint(dark, np.array([0.60, 0.57, 0.51], np.float32), teeth * between)
    return dark
