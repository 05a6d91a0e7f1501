"""The head as a turned ellipsoid: from pixels to places on the face and back.

Three frames of reference, all in head units:

    image   X, Y      upright head as the camera sees it, after undoing shift, scale and roll
    sphere  n         unit sphere behind every pixel; the outline of this very skull is warped onto its rim
    face    u, v      places on the face itself: features live here and turn with the head
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from components.lab.people import Moment, Person
from components.lab.picture import Floats, edge

_OUTLINE_STEPS = 1024


class Head:
    """One person's head in one moment, seen by `size_px` x `size_px` pixels."""

    def __init__(self, person: Person, moment: Moment, size_px: int) -> None:
        self.person, self.moment, self.size_px = person, moment, size_px
        pose = moment.pose
        self.px_per_unit = pose.scale * size_px
        self.pixel = 1 / self.px_per_unit
        self.turn = _rotation(pose.yaw_deg, pitch_deg=pose.pitch_deg)
        self._roll = _plane_rotation(pose.roll_deg)
        self._jaw_drop = 1 + 0.05 * moment.expression.mouth_open
        self._outline = _outline(person)
        columns = (np.arange(size_px, dtype=np.float32) + 0.5 - pose.x * size_px) * self.pixel
        rows = (np.arange(size_px, dtype=np.float32) + 0.5 - pose.y * size_px) * self.pixel
        (cosine, _), (sine, _) = self._roll.tolist()
        self.x = cosine * columns[None, :] + sine * rows[:, None]
        self.y = cosine * rows[:, None] - sine * columns[None, :]
        self.body_x = columns[None, :] + 0.5 * sine * rows[:, None]  # the body leans half as far as the head
        self.body_y = rows[:, None] + 0 * columns[None, :]
        self._solve()

    def _solve(self) -> None:
        """Sphere normals `n` (3 x (H, W)) turned back into the head's own frame, and coverage `inside` (H, W)."""
        sphere_y = np.where(self.y > 0, self.y / self._jaw_drop, self.y)
        index = np.clip((sphere_y + 1.25) * (_OUTLINE_STEPS / 2.5), 0, _OUTLINE_STEPS - 1).astype(np.int32)
        sphere_x = self.x * self._outline[index]
        radius2 = sphere_x**2 + sphere_y**2
        self.inside = edge((1 - np.sqrt(radius2)) * self.person.half_width, 1.2 * self.pixel)
        sphere_z = np.sqrt(np.clip(1 - radius2, 0.0025, None))
        rim = np.sqrt(np.maximum(radius2, 1))  # outside the outline, look at the rim
        self.sphere = (sphere_x / rim, sphere_y / rim, sphere_z)
        self.n = self.unturned(*self.sphere)

    def unturned(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """Camera directions in the head's own frame: the transpose of the head's rotation."""
        (a, b, c), (d, e, f), (g, h, i) = self.turn.tolist()
        return a * x + d * y + g * z, b * x + e * y + h * z, c * x + f * y + i * z

    def shifted(self, height: Floats) -> tuple[Floats, Floats, Floats]:
        """Sphere normals seen by each pixel once what stands out by `height` hides what lies behind it."""
        out_x, out_y, _ = self.turn[:, 2].tolist()
        x, y, z = self.sphere
        return self.unturned(x - height * out_x, y - height * out_y, z)

    def pixel_of(self, u: float, v: float, height: float = 0.0) -> tuple[float, float]:
        """Image coordinates in pixels (pixel centres are whole numbers) of a place on the face."""
        n = np.array([u / self.person.half_width, v, 0.0])
        n[2] = np.sqrt(max(0.0, 1 - n @ n))
        x, y, _ = self.turn @ n + height * self.turn[:, 2]
        step = int(np.clip((y + 1.25) * (_OUTLINE_STEPS / 2.5), 0, _OUTLINE_STEPS - 1))
        place = np.array([x / self._outline[step], y * self._jaw_drop if y > 0 else y])
        x_px, y_px = self._roll @ place * self.px_per_unit
        pose = self.moment.pose
        return x_px + pose.x * self.size_px - 0.5, y_px + pose.y * self.size_px - 0.5

    def window(self, u: float, v: float, reach: float) -> tuple[slice, slice]:
        """Rows and columns of the square of half side `reach` around a place on the face."""
        return self._square(*self.pixel_of(u, v), reach * self.px_per_unit)

    def window_beside(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """The same around a place x, y of the upright image frame, on the face or off it."""
        pose = self.moment.pose
        x_px, y_px = (self._roll @ np.array([x, y]) * self.px_per_unit).tolist()
        return self._square(x_px + pose.x * self.size_px, y_px + pose.y * self.size_px, reach * self.px_per_unit)

    @staticmethod
    def _square(x: float, y: float, half: float) -> tuple[slice, slice]:
        low_x, low_y = max(0, int(x - half)), max(0, int(y - half))
        return slice(low_y, max(low_y, int(y + half) + 2)), slice(low_x, max(low_x, int(x + half) + 2))

    @cached_property
    def light(self) -> Floats:
        """Direction towards the key light in the head's own frame, (3,)."""
        return self.turn.T @ light_direction(self.moment)


def light_direction(moment: Moment) -> Floats:
    """Unit vector towards the key light in the camera's frame, (3,)."""
    azimuth, elevation = np.radians([moment.light.azimuth_deg, moment.light.elevation_deg])
    return np.array([np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])


def _outline(person: Person) -> Floats:
    """Factor from image x to sphere x by height, tabulated for y in [-1.25, 1.25]: the shape of skull and jaw."""
    y = np.linspace(-1.25, 1.25, _OUTLINE_STEPS)
    depth = np.clip(np.abs(y), 0, 0.985)
    exponent = np.where(y > 0, person.jaw, 2.5)
    width = np.sqrt(1 - depth**exponent) * (1 - person.taper * np.clip(y, 0, 1) ** 1.5)
    return np.asarray(np.sqrt(1 - depth**2) / (person.half_width * width), np.float32)


def _rotation(yaw_deg: float, *, pitch_deg: float) -> Floats:
    yaw, pitch = np.radians([yaw_deg, pitch_deg])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    return about_x @ about_y


def _plane_rotation(degrees: float) -> Floats:
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
