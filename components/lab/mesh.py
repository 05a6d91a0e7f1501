"""A landmark mesh over a face: the five landmarks, the oval around them, and the triangles between."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from scipy.spatial import Delaunay

from components.lab.face_frame import OVAL, TEMPLATE, to_frame
from components.lab.picture import Floats, Points, Portrait

_CORNERS = 11
OUTLINE = np.arange(5, 5 + _CORNERS)  # the vertices on the oval


def mesh_of(portrait: Portrait) -> Points:
    """Vertices (5 + 11, 2) in pixels: the landmarks where they are, the outline where the face frame puts it."""
    back = cv2.invertAffineTransform(to_frame(portrait, 1))
    outline = _outline() @ back[:, :2].T + back[:, 2]
    return np.concatenate([portrait.landmarks, outline])


def mesh_warped(donor: Portrait, target: Portrait) -> Floats:
    """`donor`'s picture with its mesh carried triangle by triangle onto `target`'s; the rest mirrors the border."""
    shape = target.image.shape[:2]
    source, mesh = mesh_of(donor), mesh_of(target)
    index = np.zeros(shape, np.uint8)
    triangles = _triangles()
    matrices = np.zeros((len(triangles) + 1, 2, 3), np.float32)
    matrices[0] = cv2.getAffineTransform(mesh[:3].astype(np.float32), source[:3].astype(np.float32))
    for number, corners in enumerate(triangles, start=1):
        cv2.fillConvexPoly(index, np.rint(mesh[corners] * 16).astype(np.int32), number, cv2.LINE_8, 4)
        matrices[number] = cv2.getAffineTransform(mesh[corners].astype(np.float32), source[corners].astype(np.float32))
    per_pixel: Floats = matrices[index]  # (H, W, 2, 3)
    rows, columns = (np.asarray(axis) for axis in np.indices(shape, dtype=np.float32))
    places: Floats = per_pixel[..., 0] * columns[..., None] + per_pixel[..., 1] * rows[..., None] + per_pixel[..., 2]
    moved = cv2.remap(donor.image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return moved.astype(np.float32)


@cache
def _outline() -> Points:
    angles = 2 * np.pi * (np.arange(_CORNERS) + 0.5) / _CORNERS
    centre, half = np.array(OVAL[0]), np.array(OVAL[1])
    return centre + 0.97 * half * np.stack([np.sin(angles), np.cos(angles)], axis=1)


@cache
def _triangles() -> Floats:
    """(T, 3) vertex numbers; laid once over the template, so that every face shares them."""
    return Delaunay(np.concatenate([TEMPLATE, _outline()])).simplices
