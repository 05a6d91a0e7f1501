"""How good a face is, in numbers with units; each is a column of the face table.

sharpness    variance of the Laplacian of the grey crop, grey levels squared; a face smaller than its crop is soft in it
brightness   mean grey level of the crop, 0 to 255; both over its inner half, which is face and no background
face_px      longer side of the face's box in the frame, pixels
yaw_deg      turned towards the right of the picture, degrees
pitch_deg    turned upwards, degrees
roll_deg     then tilted clockwise, degrees

The pose is that of a mean head whose five points, seen from far away, come nearest to the landmarks (DeMenthon & Davis
1995, the first step of POSIT). It tells a profile from a frontal face and is no measurement: heads differ from the mean
one. Landmarks that are not known have no pose (NaN).
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

COLUMNS: Final = ("sharpness", "brightness", "face_px", "yaw_deg", "pitch_deg", "roll_deg")

HEAD_MM: Final = np.array(
    [[-31.5, -36.0, 0.0], [31.5, -36.0, 0.0], [0.0, 3.0, 30.0], [-26.0, 37.0, 0.0], [26.0, 37.0, 0.0]]
)
"""The landmarks on a mean head: x to the right of the picture, y down, z towards the camera. Across and down the template
of the alignment, its eyes 63 mm apart; the nose stands out by 30 mm, and is low by 3 mm, as detectors see it."""


def measure(
    image: npt.NDArray[np.uint8], in_frame: npt.NDArray[np.float64], box: npt.NDArray[np.float64]
) -> dict[str, float]:
    """`COLUMNS` of an aligned face (S,S,3) with landmarks (5,2) and box (4,) in the frame."""
    edge = image.shape[0] // 4
    grey = cv2.cvtColor(image[edge:-edge, edge:-edge], cv2.COLOR_RGB2GRAY)
    values = (
        cv2.Laplacian(grey, cv2.CV_64F).var(),
        grey.mean(),
        np.ptp(box.reshape(2, 2), axis=0).max(),
        *pose_deg(in_frame),
    )
    return {column: float(value) for column, value in zip(COLUMNS, values, strict=True)}


def pose_deg(landmarks: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """(yaw, pitch, roll) in degrees of the head with these landmarks (5,2); NaN where they are not known or on one line."""
    if not np.isfinite(landmarks).all():
        return np.nan, np.nan, np.nan
    head = HEAD_MM - HEAD_MM.mean(0)
    across, down = (np.linalg.pinv(head) @ (landmarks - landmarks.mean(0))).T  # rows of scale * rotation
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if min(lengths) < 1e-9:
        return np.nan, np.nan, np.nan
    across, down = across / lengths[0], down / lengths[1]
    forward = np.cross(across, down)
    angles = -np.arcsin(np.clip(forward[0], -1, 1)), np.arctan2(forward[1], forward[2]), np.arctan2(down[0], across[0])
    yaw, pitch, roll = np.degrees(angles).tolist()
    return yaw, pitch, roll
