"""Points on the sphere: what stands between two of them, who is whose partner, and how a batch grows."""

from __future__ import annotations

import pytest
import torch

from components.losses import sphere


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("labels", [[0, 1, 0, 1], [0, 0, 0, 1, 1]])
def test_expansion_keeps_the_batch_and_adds_points_of_its_classes(labels: list[int]) -> None:
    z, y = sphere.unit(torch.randn(len(labels), 16)), torch.tensor(labels)
    more, their = sphere.expanded(z, y, factor=8)
    assert len(more) == len(their) == 8 * len(labels)
    assert torch.equal(their.bincount(), 8 * y.bincount())
    torch.testing.assert_close(more[: len(z)], z)
    torch.testing.assert_close(more.norm(dim=1), torch.ones(len(more)))


def test_added_points_lie_between_two_of_one_class() -> None:
    axes, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    more, their = sphere.expanded(axes, y, factor=8)
    inside = torch.stack([more[their == 0][:, :2], more[their == 1][:, 2:]])
    outside = torch.stack([more[their == 0][:, 2:], more[their == 1][:, :2]])
    assert (inside >= 0).all() and not outside.any()
    assert (inside[:, 2:] > 1e-6).all()  # nobody is their own partner: every point added mixes two


def test_a_class_of_one_is_not_expanded() -> None:
    more, their = sphere.expanded(torch.eye(4), torch.tensor([0, 0, 0, 1]), factor=8)
    assert their.bincount().tolist() == [24, 1]
    assert more.isfinite().all()


def test_opposite_points_have_points_between_them_on_the_sphere() -> None:
    z = sphere.unit(torch.randn(64, 8))
    between = sphere.slerp(z, -z, torch.rand(64, 1))
    torch.testing.assert_close(between.norm(dim=1), torch.ones(64))


def test_partners_are_of_ones_class_and_everyone_is_somebodys() -> None:
    y = torch.tensor([0, 1, 0, 2, 1, 0, 1])
    partner = sphere.shuffled_partners(y)
    assert partner[3] == sphere.NOBODY
    several = y != 2
    assert torch.equal(y[partner[several]], y[several])
    assert torch.equal(partner[several].sort().values, several.nonzero().squeeze(1))


def test_a_row_without_a_partner_stays_as_it_is_when_others_change_places() -> None:
    z = torch.tensor([[3.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
    found = sphere.swapped(z, torch.tensor([1, 0, sphere.NOBODY]), torch.tensor([0.5, 0.0, 0.5]))
    half = 0.5**0.5
    torch.testing.assert_close(found, torch.tensor([[half, half], [0.0, 1.0], [5.0, 5.0]]))


def test_a_batch_grows_by_as_many_points_a_row_as_asked_for_less_the_row_itself() -> None:
    z, labels = sphere.unit(torch.randn(6, 4)), torch.tensor([0, 1, 0, 1, 1, 0])
    for factor in (1, 2, 5):
        more, their = sphere.expanded(z, labels, factor=factor)
        assert len(more) == len(their) == 6 * factor
        assert their.bincount().tolist() == [3 * factor, 3 * factor]
