"""What MLflow's users send as faces, and what is made of it."""

from __future__ import annotations

import json

import components.tracking  # noqa: F401  before MLflow itself: what it warns of its own classes is silenced there

# isort: split
import mlflow
import numpy as np
import pandas as pd
import pytest

from components.serving.model import faces_in

FACE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
SHARES = FACE.astype(np.float32) / 255


@pytest.mark.parametrize(
    "asked",
    [
        FACE, FACE[None], FACE.tolist(), [FACE], FACE.astype(np.int64), FACE.astype(np.float64), SHARES, SHARES.tolist(),
        np.array(FACE.tolist(), dtype=object), json.loads(json.dumps([FACE.tolist()])), pd.DataFrame({"face": [FACE.tolist()]}),
    ],
    ids=lambda asked: f"{type(asked).__name__}",
)  # fmt: skip
def test_one_face_is_taken_in_every_form_people_send_it(asked):
    (face,) = faces_in(asked)
    np.testing.assert_allclose(face, SHARES, rtol=1e-6)


def test_faces_of_several_sizes_are_taken_in_their_order():
    assert [face.shape for face in faces_in([FACE, FACE[:2], FACE])] == [(4, 5, 3), (2, 5, 3), (4, 5, 3)]


def test_no_face_gets_no_answer():
    assert faces_in([]) == [] and faces_in(np.zeros((0, 8, 8, 3), np.uint8)) == []


@pytest.mark.parametrize(
    "asked", [FACE[..., 0], "face.png", FACE - 1.0, FACE * 100.0, np.full((2, 2, 3), np.nan), [[["a"] * 3]]]
)
def test_what_is_no_face_is_refused_in_words(asked):
    with pytest.raises(mlflow.exceptions.MlflowException, match="expected faces as"):
        faces_in(asked)
