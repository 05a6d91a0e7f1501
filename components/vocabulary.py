"""The words of the project, each defined once.

clip        one video or one still image, named by ``(archive, source path)``
face        one aligned crop of one frame of a clip
archive     clips that landed together; it may serve as a task, as a benchmark, or as both
task        the archive a generation learns
benchmark   an archive every generation is examined on
line        one detector raised with one learning strategy: a family
generation  M_i of a line, raised from its teacher M_{i-1} on a new task and its memory
memory      exemplars a generation keeps of everything its line has learned
matrix      R[generation, benchmark]: what is known and what was forgotten
gate        rules that decide whether a generation may replace the champion
verdict     what the gate said, rule by rule
"""

from __future__ import annotations

from typing import Final, Literal

REAL: Final = 0
FORGED: Final = 1
LABELS: Final = (REAL, FORGED)
LABEL_NAMES: Final = {REAL: "real", FORGED: "forged"}

TRAIN: Final = "train"
VAL: Final = "val"
TEST: Final = "test"
SPLITS: Final = (TRAIN, VAL, TEST)

FACE: Final = "face"
FRAME: Final = "frame"  # kinds of pictures that are hashed

GENUINE: Final = "genuine"  # the method of a real clip
NOBODY: Final = "nobody"  # the teacher of a founder, the archive before the first

LANDMARKS: Final = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # left as seen in the image

Precision = Literal["32-true", "bf16-mixed"]
"""Of a training, as Fabric names it."""

Codec = Literal["lossless", "webp", "jpeg"]
"""How an encoded face is kept; lossless is WebP too."""

Compiled = Literal["no", "default", "reduce-overhead", "max-autotune"]
"""Whether a training's networks are compiled, and torch.compile's mode."""
