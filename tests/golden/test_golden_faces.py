"""The five-point alignment against the published one (golden 30)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from components.faces import alignment

Golden = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture
def expected(golden: Golden) -> dict[str, np.ndarray]:
    return golden("30_face_alignment")


def test_the_template_is_the_published_one_padded_by_the_margin(expected: dict[str, np.ndarray]) -> None:
    size, margin = int(expected["output_size"]), float(expected["scale"])
    np.testing.assert_allclose(alignment.TEMPLATE_96_X_112, expected["raw_template_112x96"], atol=1e-8)
    np.testing.assert_allclose(alignment.template(size, margin), expected["template"], atol=1e-8)
    np.testing.assert_allclose(alignment.template(256, margin), expected["template_256"], atol=1e-8)


def test_the_similarity_is_the_least_squares_one_and_never_mirrors(expected: dict[str, np.ndarray]) -> None:
    template = expected["template"]
    for number, landmarks in enumerate(expected["landmarks"]):
        matrix = alignment.similarity(landmarks, template)
        np.testing.assert_allclose(matrix, expected["matrix"][number], atol=1e-8)
        rotation, scale = matrix[:, :2], np.sqrt(np.linalg.det(matrix[:, :2]))
        assert scale == pytest.approx(expected["scale_factor"][number], abs=1e-8)
        np.testing.assert_allclose(rotation @ rotation.T, scale**2 * np.eye(2), atol=1e-8)
        degrees = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        assert degrees == pytest.approx(expected["rotation_degrees"][number], abs=1e-6)


def test_landmarks_land_where_the_reference_puts_them(expected: dict[str, np.ndarray]) -> None:
    template = expected["template"]
    for number, landmarks in enumerate(expected["landmarks"]):
        matrix = alignment.similarity(landmarks, template)
        mapped = alignment.move(matrix, landmarks)
        np.testing.assert_allclose(mapped, expected["mapped"][number], atol=1e-8)
        residual = np.sqrt(((mapped - template) ** 2).sum(1).mean())
        assert residual == pytest.approx(expected["residual_rms"][number], abs=1e-8)
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        np.testing.assert_allclose(inverse, expected["inverse_matrix"][number], atol=1e-8)


def test_the_float32_path_of_the_reference_agrees_within_its_precision(expected: dict[str, np.ndarray]) -> None:
    for landmarks, reference in zip(expected["landmarks"], expected["reference_matrix_float32"], strict=True):
        matrix = alignment.similarity(landmarks, expected["template"])
        np.testing.assert_allclose(matrix[:, :2], reference[:, :2], atol=1e-5)
        np.testing.assert_allclose(matrix[:, 2], reference[:, 2], atol=1e-2)
