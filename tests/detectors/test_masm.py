"""MASM's own ideas: layers split by singular values, subspaces that move only where they may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components import detectors
from components.detectors.masm import MASM, chosen
from components.detectors.parts import clip, subspaces
from components.detectors.parts.subspaces import SplitAttention, SplitLinear, decomposed, drawn
from components.errors import BadParams
from components.params import TrainingOptions, parse
from components.tasks.augmentations import KNOWN
from components.tasks.dataset import Batch
from components.vocabulary import FORGED, REAL


def tiny(seed: int = 0, **options: object) -> MASM:
    """Without pre-training, so that nothing here depends on shipped weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        raw = {"size": "tiny", "pretrained": "", "input_px": 48, "warmup_steps": 2, "period_steps": 2, **options}
        built = detectors.build("masm", detectors.options("masm", raw))
    assert isinstance(built, MASM)
    return built


def some_batch(n: int = 4, seed: int = 0) -> Batch:
    faces = torch.rand(n, 3, 96, 96, generator=torch.Generator().manual_seed(seed))
    return Batch.of(faces, torch.arange(n) % 2)


def adam(network: MASM) -> torch.optim.Adam:
    return torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-3)


def take_a_step(network: MASM, optimiser: torch.optim.Optimizer, batch: Batch) -> None:
    optimiser.zero_grad(set_to_none=True)
    torch.stack(list(network.losses(network(batch.faces), batch).values())).sum().backward()
    network.before_step()
    optimiser.step()


def factors(network: MASM) -> list[list[list[Tensor]]]:
    """Copies of U, s, V by layer and subspace."""
    return [
        [[part[k].detach().clone() for part in (layer.u, layer.s, layer.v)] for k in range(len(layer.s))]
        for layer in network.layers()
    ]


def moved(before: list[list[list[Tensor]]], after: list[list[list[Tensor]]]) -> Tensor:
    """(L, K): whether anything of the subspace changed."""
    return torch.tensor(
        [
            [any(not torch.equal(a, b) for a, b in zip(old, new, strict=True)) for old, new in zip(*rows, strict=True)]
            for rows in zip(before, after, strict=True)
        ]
    )


# -- splitting -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(40, 56)


def test_each_subspace_gets_about_the_same_energy(linear: nn.Linear) -> None:
    triplets = decomposed(linear.weight, 16)
    layer = SplitLinear(linear, triplets, subspaces=4)
    energies = layer.s_0.square().sum(dim=1)
    in_a_row = triplets.s.reshape(4, 4).square().sum(dim=1)
    assert energies.max() / energies.min() < 1.2 < in_a_row.max() / in_a_row.min()
    assert torch.equal(torch.cat(list(layer.s)).sort(descending=True).values, triplets.s)


def test_one_subspace_of_one_triplet_is_effort(linear: nn.Linear) -> None:
    layer = SplitLinear(linear, decomposed(linear.weight, 1), subspaces=1)
    u, s, v = torch.linalg.svd(linear.weight.detach().double(), full_matrices=False)
    torch.testing.assert_close(layer.principal.double(), (u[:, :-1] * s[:-1]) @ v[:-1], atol=1e-6, rtol=0)
    torch.testing.assert_close(layer.s[0].double(), s[-1:], atol=1e-6, rtol=0)


def test_of_both_signs_of_a_triplet_one_is_always_taken(linear: nn.Linear) -> None:
    plain, mirrored = decomposed(linear.weight, 8), decomposed(-linear.weight, 8)
    torch.testing.assert_close(plain.u, mirrored.u)
    torch.testing.assert_close(plain.v, -mirrored.v)
    assert (plain.u.gather(0, plain.u.abs().argmax(dim=0, keepdim=True)) > 0).all()


def test_drawn_triplets_are_triplets_of_the_drawn_layer() -> None:
    linear = nn.Linear(40, 56)
    before = linear.weight.square().sum()
    found = drawn(linear, 8)
    torch.testing.assert_close(linear.weight @ found.v.T, found.u * found.s, atol=1e-5, rtol=0)
    torch.testing.assert_close(linear.weight.T @ found.u, found.v.T * found.s, atol=1e-5, rtol=0)
    assert 0.5 < linear.weight.square().sum() / before < 1.5


@pytest.mark.parametrize("source", [lambda layer: decomposed(layer.weight, 41), lambda layer: drawn(layer, 41)])
def test_more_triplets_than_a_layer_has_are_refused(source: Callable[[nn.Linear], object]) -> None:
    with pytest.raises(BadParams, match="at most 40 singular triplets of a layer of 56 x 40, found 41"):
        source(nn.Linear(40, 56))


def test_a_split_tower_answers_as_the_fused_one_it_came_from() -> None:
    torch.manual_seed(0)
    tower = clip.tower("small")
    images = torch.randn(2, 3, tower.input_px, tower.input_px)
    with torch.no_grad():
        expected, expected_levels = tower(images)
        for block in tower.blocks:
            for bias in (block.attn.in_proj_bias, block.attn.out_proj.bias):
                assert torch.equal(bias, torch.zeros_like(bias))  # as torch draws them: too easy
                bias.normal_()
        expected, expected_levels = tower(images)

        def split(layer: nn.Linear) -> SplitLinear:
            return SplitLinear(layer, decomposed(layer.weight, 16), subspaces=4)

        for block in tower.blocks:
            block.attn = SplitAttention(block.attn, split)
            block.mlp.c_fc, block.mlp.c_proj = split(block.mlp.c_fc), split(block.mlp.c_proj)
        found, levels = tower(images)
    for level, wanted in zip((found, *levels), (expected, *expected_levels), strict=True):
        assert (level - wanted).abs().max() < 1e-4


def test_q_k_and_v_are_decomposed_each_by_itself() -> None:
    fused = nn.MultiheadAttention(24, 4, batch_first=True)
    apart = SplitAttention(fused, lambda layer: SplitLinear(layer, decomposed(layer.weight, 4), subspaces=2))
    for name, weight in zip("qkv", fused.in_proj_weight.chunk(3), strict=True):
        smallest = torch.linalg.svdvals(weight.detach())[-4:]
        torch.testing.assert_close(getattr(apart, name).s_0.flatten().sort(descending=True).values, smallest)


@pytest.mark.parametrize(
    ("options", "trainable"),
    [
        pytest.param({"subspaces": 1, "rank": 1}, 196_704, marks=pytest.mark.slow),
        pytest.param({"subspaces": 4, "rank": 1}, 786_816, marks=pytest.mark.slow),
        ({}, 3_147_264),
        ({"mlp": True}, 7_080_192),
    ],
)
def test_the_paper_size_trains_what_the_design_counts(options: dict[str, object], trainable: int) -> None:
    with torch.device("meta"):
        network = detectors.build("masm", detectors.options("masm", options), blank=True)
    head = 2 * 1024 + 2
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == trainable + head


def test_only_subspaces_and_the_head_learn() -> None:
    names = {name for name, parameter in tiny().named_parameters() if parameter.requires_grad}
    assert {name.split(".")[-2] for name in names} == {"u", "s", "v", "head"}


# -- the cache -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """A weight whose decomposition is kept, in a cache of its own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(subspaces, "KEPT_FROM", 32)
    return torch.randn(48, 40, generator=torch.Generator().manual_seed(0))


def kept() -> list[Path]:
    return sorted(subspaces.cache().iterdir())


def test_a_decomposition_is_read_where_it_was_kept(large: Tensor) -> None:
    first = decomposed(large, 8)
    (path,) = kept()
    state = load_file(path)
    save_file({"u": -state["u"], "s": state["s"], "v": -state["v"]}, path)  # as true, yet never computed so
    again = decomposed(large, 8)
    assert torch.equal(again.u, -first.u) and torch.equal(again.s, first.s)


def test_another_weight_and_another_count_are_kept_apart(large: Tensor) -> None:
    for weight, count in ((large, 8), (large, 4), (large + 1, 8), (large, 8)):
        decomposed(weight, count)
    assert len(kept()) == 3


@pytest.mark.parametrize("damage", ["torn", "shapes", "values", "names"])
def test_a_broken_cache_file_is_computed_again_and_said(large: Tensor, damage: str) -> None:
    first = decomposed(large, 8)
    (path,) = kept()
    state = load_file(path)
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "shapes":
        save_file({"u": state["u"][:, :4].clone(), "s": state["s"][:4].clone(), "v": state["v"][:4].clone()}, path)
    elif damage == "values":
        save_file({**state, "s": state["s"] + 1}, path)
    else:
        save_file({"u": state["u"], "s": state["s"]}, path)
    with pytest.warns(UserWarning, match="expected 8 singular triplets in .* computed again"):
        again = decomposed(large, 8)
    assert torch.equal(again.u, first.u)
    assert torch.equal(decomposed(large, 8).s, first.s)  # mended: no notice


def test_a_cache_nobody_can_write_costs_a_notice(large: Tensor, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="TORCH_HOME"):
        assert decomposed(large, 8).s.shape == (8,)


# -- what it pays --------------------------------------------------------------------------------------------------------


def test_departures_cost_nothing_at_the_start_and_something_after_a_step() -> None:
    network, batch = tiny(mlp=True), some_batch()
    before = network.losses(network(batch.faces), batch)
    assert set(before) == {"cross_entropy", "orthogonality", "spectral"}
    assert before["orthogonality"] < 1e-9 and before["spectral"] < 1e-7
    take_a_step(network, adam(network), batch)
    after = network.losses(network(batch.faces), batch)
    assert after["orthogonality"] > 1e-4 and after["spectral"] > 1e-5


def test_penalties_are_the_same_in_half_precision() -> None:
    network, batch = tiny(), some_batch()
    take_a_step(network, adam(network), batch)
    detection = network(batch.faces)
    full = network.losses(detection, batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = network.losses(detection, batch)
    assert all(torch.equal(full[name], half[name]) for name in ("orthogonality", "spectral"))


def test_without_weights_penalties_are_not_computed() -> None:
    network, batch = tiny(orthogonality_weight=0, spectral_weight=0), some_batch()
    assert set(network.losses(network(batch.faces), batch)) == {"cross_entropy"}


# -- the mask ------------------------------------------------------------------------------------------------------------


def test_masked_subspaces_do_not_move_under_adam() -> None:
    network, batch = tiny(), some_batch()
    network.begin_task(["swap"])
    optimiser = adam(network)
    for _ in range(2):
        before = factors(network)
        take_a_step(network, optimiser, batch)
        assert moved(before, factors(network)).all()  # the warm-up
    on = network.mask.on.clone()
    assert (on.sum(dim=0) == len(on) // 2).all()
    before = factors(network)
    take_a_step(network, optimiser, batch)  # Adam's memory of two steps would move what has a gradient of zero
    assert torch.equal(moved(before, factors(network)), on)


def test_without_a_mask_everything_keeps_moving() -> None:
    network, batch = tiny(mode="off"), some_batch()
    optimiser = adam(network)
    for _ in range(3):
        before = factors(network)
        take_a_step(network, optimiser, batch)
    assert moved(before, factors(network)).all()


def test_chosen_once_no_layer_moves_before_and_the_same_ones_ever_after() -> None:
    network = tiny(mode="one_shot")
    optimiser, start, head = adam(network), factors(network), network.head.weight.detach().clone()
    for step in range(2):
        take_a_step(network, optimiser, some_batch(seed=step))
    assert not moved(start, factors(network)).any() and not torch.equal(network.head.weight, head)
    on = network.mask.on.clone()
    for step in range(2, 6):
        take_a_step(network, optimiser, some_batch(seed=step))
    assert torch.equal(network.mask.on, on)
    assert torch.equal(moved(start, factors(network)), on)


def feed(network: MASM, gradients: Callable[[int, int], float]) -> None:
    """One look of the mask at gradients which are the same number throughout a layer and subspace."""
    for number, layer in enumerate(network.layers()):
        for k in range(len(layer.s)):
            for part in (layer.u, layer.s, layer.v):
                part[k].grad = torch.full_like(part[k], gradients(number, k))
    network.mask.step(network.layers(), torch.full((network.options.subspaces,), 0.5))


def test_layers_whose_gradients_agree_are_kept_however_small_they_are() -> None:
    network = tiny(warmup_steps=12)
    for step in range(12):
        feed(network, lambda layer, k, step=step: 1e-7 if (layer + k) % 2 else (-1) ** step * 1e-2)
    expected = [[(layer + k) % 2 == 1 for k in range(4)] for layer in range(len(network.layers()))]
    assert network.mask.on.tolist() == expected


def test_the_score_is_squared_bias_over_variance() -> None:
    network = tiny(decay=0.5)
    for value in (1.0, 3.0):
        feed(network, lambda layer, k, value=value: value)
    mean, square = 0.5 * 0.5 + 1.5, 0.5 * 0.5 + 4.5
    torch.testing.assert_close(network.mask.scores(), torch.full(network.mask.on.shape, mean**2 / (square - mean**2)))


def test_a_layer_is_exchanged_only_for_a_clearly_better_one() -> None:
    on = torch.arange(24)[:, None] < 12

    def after(*order: int) -> list[bool]:
        """The choice among 24 layers whose scores fall in this order."""
        scores = torch.empty(24, 1)
        scores[list(order), 0] = torch.arange(24, 0, -1.0)
        kept: list[bool] = chosen(scores, on, torch.tensor([0.5]), hysteresis=0.1).flatten().tolist()
        return kept

    first, last = [*range(11)], [*range(15, 24)]
    assert after(*first, 12, 13, 11, 14, *last) == on.flatten().tolist()  # two places ahead of layer 11, of 24
    assert after(*first, 12, 13, 14, 11, *last) == [True] * 11 + [False, True] + [False] * 11  # three


def test_a_run_that_was_killed_goes_on_alike(tmp_path: Path) -> None:
    def begun(teacher: dict[str, Tensor]) -> tuple[MASM, torch.optim.Adam]:
        network = tiny(seed=1)
        network.load_state_dict(teacher)
        network.begin_task(["swap", "mesh"])
        return network, adam(network)

    teacher = tiny()
    teacher.begin_task(["swap"])
    whole, optimiser = begun(teacher.state_dict())
    for step in range(3):
        take_a_step(whole, optimiser, some_batch(seed=step))
    torch.save({"network": whole.state_dict(), "optimiser": optimiser.state_dict()}, tmp_path / "checkpoint.pt")
    for step in range(3, 6):
        take_a_step(whole, optimiser, some_batch(seed=step))

    killed, optimiser = begun(teacher.state_dict())
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    killed.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    for step in range(3, 6):
        take_a_step(killed, optimiser, some_batch(seed=step))
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in killed.state_dict().items())


# -- task after task -----------------------------------------------------------------------------------------------------


def test_the_first_task_may_use_every_subspace_and_a_later_one_mostly_its_own() -> None:
    network = tiny(keep=0.5, keep_earlier=0.125)
    optimiser, widths = adam(network), []
    for task in range(6):
        network.begin_task([f"method {number}" for number in range(task + 1)])
        assert network.mask.on.all()
        for step in range(2):
            take_a_step(network, optimiser, some_batch(2, seed=step))
        widths.append(network.mask.on.sum(dim=0).tolist())
    layers = len(network.mask.on)
    own, earlier = layers // 2, round(layers / 8)
    assert earlier < own
    assert widths[0] == [own] * 4
    assert widths[1:] == [[own if k == task % 4 else earlier for k in range(4)] for task in range(1, 6)]


def test_a_blank_network_takes_up_a_generation_in_the_middle_of_its_line(tmp_path: Path) -> None:
    old, batch = tiny(), some_batch()
    old.begin_task(["swap"])
    take_a_step(old, adam(old), batch)
    save_file(old.state_dict(), tmp_path / "weights.safetensors")
    again = detectors.build("masm", old.options, blank=True)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(again(batch.faces).logits, old(batch.faces).logits)


# -- what it says --------------------------------------------------------------------------------------------------------


def test_the_readout_is_what_the_forged_log_odds_lose_without_a_subspace() -> None:
    network, batch = tiny(), some_batch()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    readout = network.readout(batch.faces)
    assert readout.shape == (4, 4) and not readout.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.no_grad():
        whole = network(batch.faces).logits
        for layer in network.layers():
            layer.s[2].zero_()
        fall = whole - network(batch.faces).logits
    torch.testing.assert_close(readout[:, 2], fall[:, FORGED] - fall[:, REAL])
    assert readout[:, 2].any() and not network.readout(batch.faces)[:, 2].any()


def test_recomputing_blocks_changes_no_gradient() -> None:
    plain, frugal, batch = tiny(), tiny(checkpointing=True), some_batch(2)
    for network in (plain, frugal):
        network.losses(network(batch.faces), batch)["cross_entropy"].backward()
    for (name, parameter), other in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, other.grad, msg=name)


@pytest.mark.slow
def test_compiled_it_answers_as_before() -> None:
    network, batch = tiny().eval(), some_batch(2)
    with torch.no_grad():
        compiled = torch.compile(network, backend="aot_eager")(batch.faces)
        torch.testing.assert_close(compiled.logits, network(batch.faces).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", ["paper", "tiny"])
def test_the_recipe_can_be_followed(size: str) -> None:
    options = detectors.options("masm", {"size": size})
    training = parse(TrainingOptions, detectors.paper_training("masm", options), "recipe")
    assert set(training.augment) <= set(KNOWN) and training.weight_decay == 0
