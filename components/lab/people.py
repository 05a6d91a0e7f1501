"""Who is seen, and when: identities that never change, and moments that do.

A ``Person`` is drawn once and for all (skull, features, skin, hair, clothes); a ``Moment`` is everything else that
decides a frame (pose, expression, light, scene, camera). Lengths are in *head units*: 1 is half the height of the
head, x points right as seen in the image, y down, z towards the camera; the eye line lies near y = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

RGB = tuple[float, float, float]

# sRGB anchors from pale to dark, between which a complexion is mixed
COMPLEXIONS = ((243, 214, 196), (229, 190, 162), (205, 158, 124), (172, 120, 85), (128, 84, 58), (92, 59, 43))
HAIR_COLOURS = ((28, 22, 20), (46, 32, 24), (80, 52, 34), (122, 80, 46), (176, 134, 78), (138, 62, 34), (150, 146, 142))
IRIS_COLOURS = ((66, 42, 26), (92, 62, 36), (98, 104, 68), (84, 116, 146), (112, 128, 136))
HAIRSTYLES = ("bald", "cropped", "parted", "fringe", "long", "curly")
_HAIRSTYLE_SHARES = (0.07, 0.25, 0.24, 0.14, 0.22, 0.08)


@dataclass(frozen=True)
class Person:
    """An identity: nothing here depends on when the person is seen. Colours are sRGB in [0, 255]."""

    half_width: float
    jaw: float
    """Exponent of the outline below the eyes: small is pointed, large is square."""
    taper: float
    eye_x: float
    eye_y: float
    eye_half_width: float
    eye_opening: float
    eye_tilt: float
    iris: RGB
    brow_y: float
    brow_thickness: float
    brow_arch: float
    brow_weight: float
    nose_y: float
    nose_half_width: float
    nose_height: float
    mouth_y: float
    mouth_half_width: float
    upper_lip: float
    lower_lip: float
    lip: RGB
    skin: RGB
    blush: float
    roughness: float
    freckles: float
    age: float
    beard: float
    hairstyle: str
    hair: RGB
    hairline: float
    parting: float
    hair_volume: float
    ear: float
    glasses: float
    """Opacity of the rims, 0 for none."""
    top: RGB
    stripes: float
    neckline: float
    texture_seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Person:
        """One identity; features of build, complexion and styling vary together only as far as colours must agree."""
        masculine = bool(rng.random() < 0.5)
        tone = float(rng.random()) ** 0.9
        skin = _jitter(rng, _mixed(COMPLEXIONS, tone), 5)
        age = float(rng.beta(1.6, 2.2))
        half_width = rng.uniform(0.67, 0.77)
        style = str(rng.choice(HAIRSTYLES, p=_HAIRSTYLE_SHARES))
        if style == "bald" and not masculine:
            style = "long"
        return cls(
            half_width=half_width,
            jaw=rng.uniform(2.1, 3.0) if masculine else rng.uniform(1.8, 2.4),
            taper=rng.uniform(0.06, 0.24),
            eye_x=half_width * rng.uniform(0.424, 0.442),
            eye_y=rng.uniform(-0.117, -0.09),
            eye_half_width=rng.uniform(0.145, 0.178),
            eye_opening=rng.uniform(0.36, 0.54),
            eye_tilt=rng.uniform(-0.05, 0.16),
            iris=_jitter(rng, IRIS_COLOURS[_eye_colour(rng, tone)], 6),
            brow_y=rng.uniform(-0.31, -0.25),
            brow_thickness=rng.uniform(0.030, 0.060) if masculine else rng.uniform(0.018, 0.036),
            brow_arch=rng.uniform(0.1, 0.9),
            brow_weight=rng.uniform(0.5, 0.82),
            nose_y=rng.uniform(0.19, 0.25),
            nose_half_width=rng.uniform(0.10, 0.165),
            nose_height=rng.uniform(0.16, 0.28),
            mouth_y=rng.uniform(0.485, 0.53),
            mouth_half_width=rng.uniform(0.21, 0.29),
            upper_lip=rng.uniform(0.035, 0.075),
            lower_lip=rng.uniform(0.055, 0.10),
            lip=_lip_colour(rng, skin, painted=not masculine and rng.random() < 0.45),
            skin=skin,
            blush=rng.uniform(0.1, 0.8),
            roughness=rng.uniform(0.5, 1.3) * (0.7 + 0.6 * age),
            freckles=float(rng.random() < 0.2 and tone < 0.5) * rng.uniform(0.3, 1.0),
            age=age,
            beard=float(masculine and rng.random() < 0.55) * rng.uniform(0.1, 0.9),
            hairstyle=style,
            hair=_jitter(rng, HAIR_COLOURS[_hair_colour(rng, tone, age)], 6),
            hairline=rng.uniform(-0.76, -0.62) - 0.06 * float(masculine) * age,
            parting=rng.uniform(-0.45, 0.45),
            hair_volume=rng.uniform(0.06, 0.20),
            ear=rng.uniform(0.8, 1.15),
            glasses=float(rng.random() < 0.10) * rng.uniform(0.45, 0.8),
            top=_top_colour(rng),
            stripes=float(rng.random() < 0.25) * rng.uniform(0.1, 0.35),
            neckline=rng.uniform(0.12, 0.42),
            texture_seed=int(rng.integers(2**31)),
        )


def person(number: int) -> Person:
    """Inhabitant `number` of the lab's world; the same number is the same person in every archive."""
    return Person.draw(np.random.default_rng([0x9E0, number]))


@dataclass(frozen=True)
class Pose:
    """Where the head is. Positive yaw turns the nose to the right of the image, positive pitch looks down."""

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    x: float = 0.5
    y: float = 0.5
    """Centre of the head as shares of the image side."""
    scale: float = 0.32
    """Length of one head unit as a share of the image side."""


@dataclass(frozen=True)
class Expression:
    """What the face does; zero everywhere is neutral."""

    mouth_open: float = 0.0
    smile: float = 0.0
    blink: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    brow_raise: float = 0.0


@dataclass(frozen=True)
class Light:
    """One soft key light over an ambient; direction in degrees from the camera axis."""

    azimuth_deg: float = 20.0
    elevation_deg: float = 30.0
    key: float = 0.75
    ambient: float = 0.42
    tint: RGB = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Camera:
    """What happens to light on its way to a file."""

    blur: float = 0.55
    """Sigma of the lens blur in pixels of a 160 px frame."""
    noise: float = 2.0
    """Sigma of the sensor noise at mid grey, in levels of 255."""
    quality: int = 90
    """JPEG quality."""


@dataclass(frozen=True)
class Moment:
    """Everything about a frame that is not the person."""

    pose: Pose = Pose()
    expression: Expression = Expression()
    light: Light = Light()
    camera: Camera = Camera()
    scene_seed: int = 0
    noise_seed: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Moment:
        """A moment in front of an ordinary camera: mostly frontal, mostly friendly."""
        warmth = rng.normal(0, 0.05)
        return cls(
            pose=Pose(
                yaw_deg=float(np.clip(rng.normal(0, 5.5), -11, 11)),
                pitch_deg=float(np.clip(rng.normal(0, 2.8), -6, 6)),
                roll_deg=float(np.clip(rng.normal(0, 0.9), -1.8, 1.8)),
                x=rng.uniform(0.485, 0.515),
                y=rng.uniform(0.485, 0.52),
                scale=rng.uniform(0.32, 0.355),
            ),
            expression=Expression(
                mouth_open=max(0.0, rng.normal(0.05, 0.22)),
                smile=float(np.clip(rng.normal(0.4, 0.4), -0.3, 1.1)),
                blink=float(np.clip(rng.normal(0.05, 0.1), 0, 0.35)),
                gaze_x=rng.normal(0, 0.25),
                gaze_y=rng.normal(0, 0.12),
                brow_raise=float(np.clip(rng.normal(0.1, 0.4), -0.8, 1.0)),
            ),
            light=Light(
                azimuth_deg=rng.uniform(-55, 55),
                elevation_deg=rng.uniform(12, 50),
                key=rng.uniform(0.55, 0.85),
                ambient=rng.uniform(0.34, 0.52),
                tint=(1 + warmth, 1.0, 1 - warmth),
            ),
            camera=Camera(blur=rng.uniform(0.4, 0.7), noise=rng.uniform(1.0, 3.5), quality=int(rng.integers(82, 97))),
            scene_seed=int(rng.integers(2**31)),
            noise_seed=int(rng.integers(2**31)),
        )


def life(rng: np.random.Generator, frames: int) -> list[Moment]:
    """A short clip as moments: one scene, light and camera; the head sways, the mouth talks, the eyes blink."""
    first = Moment.draw(rng)
    sway, phase = rng.uniform(0.5, 1.0, 4), rng.uniform(0, 2 * np.pi, 5)
    blinking = int(rng.integers(frames)) if frames > 3 else -1
    moments = []
    for frame in range(frames):
        t = frame / 6.0
        wave = np.sin(2 * np.pi * t * sway + phase[:4])
        talk = max(0.0, float(np.sin(2 * np.pi * 1.7 * t + phase[4])))
        pose = replace(
            first.pose,
            yaw_deg=first.pose.yaw_deg + 3.5 * wave[0],
            pitch_deg=first.pose.pitch_deg + 1.5 * wave[1],
            roll_deg=first.pose.roll_deg + 0.8 * wave[2],
            x=first.pose.x + 0.008 * wave[3],
        )
        expression = replace(
            first.expression,
            mouth_open=0.5 * first.expression.mouth_open + 0.55 * talk,
            blink=0.85 if frame == blinking else first.expression.blink,
        )
        moments.append(replace(first, pose=pose, expression=expression, noise_seed=(first.noise_seed + frame) % 2**31))
    return moments


def _mixed(anchors: tuple[RGB, ...], share: float) -> RGB:
    places = np.linspace(0, 1, len(anchors))
    red, green, blue = (float(np.interp(share, places, [a[c] for a in anchors])) for c in range(3))
    return red, green, blue


def _jitter(rng: np.random.Generator, colour: RGB, spread: float) -> RGB:
    shift = rng.normal(0, spread) + rng.normal(0, 0.35 * spread, 3)  # mostly lighter or darker, hardly another hue
    red, green, blue = np.clip(np.asarray(colour) + shift, 8, 250).tolist()
    return red, green, blue


def _eye_colour(rng: np.random.Generator, tone: float) -> int:
    return int(rng.integers(len(IRIS_COLOURS) if tone < 0.45 else 2))


def _hair_colour(rng: np.random.Generator, tone: float, age: float) -> int:
    if rng.random() < max(0.0, age - 0.45):
        return len(HAIR_COLOURS) - 1
    return int(rng.integers(6 if tone < 0.35 else 2))


def _lip_colour(rng: np.random.Generator, skin: RGB, *, painted: bool) -> RGB:
    natural = np.asarray(skin) * (0.88, 0.66, 0.66)
    paint = np.asarray((rng.uniform(130, 190), rng.uniform(30, 70), rng.uniform(50, 90)))
    red, green, blue = (0.35 * natural + 0.65 * paint if painted else natural).tolist()
    return red, green, blue


def _top_colour(rng: np.random.Generator) -> RGB:
    grey = rng.uniform(25, 215)
    red, green, blue = np.clip(grey + rng.normal(0, 26, 3), 12, 240).tolist()
    return red, green, blue
