"""What is worth remembering, against the golden vectors: whatever cases a file holds, the law must give its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from components.memory import selection

Arrays = dict[str, np.ndarray]
Golden = Callable[[str], Arrays]


def cases(arrays: Arrays, ending: str) -> Iterator[str]:
    found = [name.removesuffix(ending) for name in arrays if name.endswith(ending)]
    assert found, f"no array ends in {ending}"
    yield from found


def test_herding_keeps_the_running_mean_closest_to_the_centre(golden: Golden) -> None:
    g = golden("16_exemplar_order")
    for case in cases(g, "_herding_order"):
        features, order = g[f"{case}_features"], g[f"{case}_herding_order"]
        np.testing.assert_array_equal(selection.herding(features, len(features)), order, case)


def test_a_shorter_herd_is_the_beginning_of_a_longer_one(golden: Golden) -> None:
    g = golden("16_exemplar_order")
    for case in cases(g, "_herding_order"):
        count = len(g[f"{case}_features"]) // 2
        np.testing.assert_array_equal(
            selection.herding(g[f"{case}_features"], count), g[f"{case}_herding_order"][:count], case
        )


def test_herding_in_single_precision_begins_alike(golden: Golden) -> None:
    g = golden("16_exemplar_order")
    for case in cases(g, "_smallest_relative_gap"):
        count = min(8, len(g[f"{case}_features"]))
        order = selection.herding(g[f"{case}_features"].astype(np.float32), count)
        np.testing.assert_array_equal(order, g[f"{case}_herding_order"][:count], case)


def test_the_typical_come_first(golden: Golden) -> None:
    g = golden("16_exemplar_order")
    for case in cases(g, "_closest_order"):
        np.testing.assert_array_equal(
            selection.closest_to_centre(g[f"{case}_features"]), g[f"{case}_closest_order"], case
        )


def test_margin_and_entropy_are_the_published_ones(golden: Golden) -> None:
    g = golden("26_uncertainty_rank")
    np.testing.assert_allclose(selection.margin(g["prob_fake"]), g["margin"], atol=1e-12)
    for case in ("", "tie_"):
        np.testing.assert_allclose(selection.entropy(g[f"{case}prob_fake"]), g[f"{case}entropy"], atol=1e-12)
    np.testing.assert_allclose(selection.margin(g["views_prob_fake"].mean(axis=0)), g["views_margin"], atol=1e-12)
    np.testing.assert_allclose(selection.entropy(g["views_prob_fake"]).mean(axis=0), g["views_entropy"], atol=1e-12)


def test_the_most_uncertain_come_first_and_ties_go_to_the_smaller_index(golden: Golden) -> None:
    g = golden("26_uncertainty_rank")
    for case in cases(g, "hardest_first"):
        np.testing.assert_array_equal(
            selection.hardest_first(g[f"{case}prob_fake"]), g[f"{case}hardest_first"], case or "one view"
        )


def test_with_one_view_margin_and_entropy_are_one_criterion(golden: Golden) -> None:
    p = golden("26_uncertainty_rank")["prob_fake"]
    np.testing.assert_array_equal(
        np.argsort(selection.margin(p), kind="stable"), np.argsort(-selection.entropy(p), kind="stable")
    )


def test_each_pick_is_the_farthest_from_all_chosen_before(golden: Golden) -> None:
    g = golden("27_k_centre")
    for case in cases(g, "_seeds"):
        features, seeds, order = g[f"{case}_features"], g[f"{case}_seeds"].tolist(), g[f"{case}_order"]
        np.testing.assert_array_equal(selection.k_centre(features, seeds, len(order)), order, case)
        chosen = [*seeds, *order.tolist()]
        radii = [
            np.linalg.norm(features[chosen[:step]] - features[chosen[step]], axis=1).min()
            for step in range(len(seeds), len(chosen))
        ]
        np.testing.assert_allclose(radii, g[f"{case}_radius"], atol=1e-12, err_msg=case)
