"""Portraits: people of the lab in front of its camera.

    person, moment -> head (where) -> skin, eyes, mouth, hair, clothes, scene (light) -> camera (pixels)

Everything is numpy; one 160 px frame takes some milliseconds, and the same person and moment give the same pixels.
"""

from __future__ import annotations

import numpy as np

from components.lab.camera import shoot
from components.lab.features import draw_eyes, draw_mouth, eye_centre, mouth_corners
from components.lab.head import Head
from components.lab.people import Camera, Expression, Light, Moment, Person, Pose, life, person
from components.lab.picture import Floats, Picture, Points, Portrait, paint
from components.lab.scenery import draw_body, scene
from components.lab.skin import shaded_face
from components.lab.styling import Hair, draw_back_hair, draw_ears, draw_front_hair, draw_glasses, hair_of

__all__ = [
    "Camera", "Expression", "Light", "Moment", "Person", "Picture", "Points", "Portrait", "Pose",
    "life", "person", "render",
]  # fmt: skip


def render(person: Person, moment: Moment, size_px: int) -> Portrait:
    """`person` in `moment` as a square picture of `size_px` pixels, with the true places of the five landmarks."""
    head = Head(person, moment, size_px)
    radiance = scene(moment.scene_seed, size_px).copy()
    hair = hair_of(head)
    if hair:
        draw_back_hair(radiance, head, hair)
    draw_body(radiance, head)
    draw_ears(radiance, head)
    _draw_face(radiance, head, hair)
    return Portrait(shoot(radiance, moment.camera, moment.noise_seed), landmarks(head))


def _draw_face(radiance: Floats, head: Head, hair: Hair | None) -> None:
    face, u, v = shaded_face(head)
    draw_mouth(face, head, u, v)
    draw_eyes(face, head, u, v)
    draw_glasses(face, head, u, v)
    paint(radiance, face, head.inside)
    if hair:
        draw_front_hair(radiance, head, hair, u, v)


def landmarks(head: Head) -> Points:
    """Centres of the eyes, tip of the nose and corners of the mouth, (5, 2) in pixels."""
    person = head.person
    half, v = mouth_corners(person, head.moment.expression)
    eye_v = eye_centre(person)
    return np.array(
        [
            head.pixel_of(-person.eye_x, eye_v),
            head.pixel_of(person.eye_x, eye_v),
            head.pixel_of(0, person.nose_y, 0.9 * person.nose_height),
            head.pixel_of(-half, v),
            head.pixel_of(half, v),
        ]
    )
