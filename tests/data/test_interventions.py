"""Interventions: laws over all of them, and what each does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cosweep.data import INTERVENTIONS, ImageSet, Intervention
from cosweep.data.carriers import dct_sign
from cosweep.data.dct import idct2
from cosweep.data.injections import (
    Grouped,
    Inject,
    InjectOrthogonal,
    Partial,
    Shared,
    Shuffled,
    project_out,
    released_basis,
    span_basis,
)
from cosweep.data.pass_filters import BandStop, HighPass, LowPass
from cosweep.errors import CosweepError, SpecError
from cosweep.methods import METHODS, Batch
from cosweep.seeding import RandomStream
from cosweep.specs import build
from cosweep.training.trial_spec import MENUS
from cosweep.units import Box
from tests.data.reference import BETA, reference
from tests.tiny import CPU, UNIT_BOX, batch, linear_model

SHAPES = [(1, 8, 8), (3, 32, 32)]
CIFAR = (3, 32, 32)
EXAMPLES = 500


def on(intervention: Intervention, x: Tensor, y: Tensor, example: Tensor | None = None, classes: int = 10) -> Tensor:
    """The intervention's images; the examples are numbered in order unless numbers are given."""
    _, channels, height, width = x.shape
    bound = intervention.bind(ImageSet(classes, (channels, height, width), EXAMPLES, CPU))
    return bound(x, y, torch.arange(len(y)) if example is None else example)


def made(kind: str, **options: object) -> Intervention:
    small = {"bandwidth": 5} if kind in ("low_pass", "high_pass") else {}
    return build(Intervention, {"kind": kind} | small | options, MENUS)  # type: ignore[type-abstract]


def act(kind: str, x: Tensor, y: Tensor, example: Tensor | None = None) -> Tensor:
    return on(made(kind), x, y, example)


@pytest.mark.parametrize("kind", INTERVENTIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 7])
def test_shape_is_kept_and_the_input_is_left_as_it_was(kind: str, shape: tuple[int, int, int], n: int) -> None:
    x, y = batch(n, shape)
    x_before, y_before = x.clone(), y.clone()
    out = act(kind, x, y)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)


@pytest.mark.parametrize("kind", INTERVENTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_comes_out_as_it_does_within_the_whole_set(kind: str, shape: tuple[int, int, int]) -> None:
    x, y = batch(13, shape)
    whole = act(kind, x, y)
    numbers = torch.arange(13)
    rows = (slice(0, 5), slice(5, 12), slice(12, 13))
    parts = torch.cat([act(kind, x[part], y[part], numbers[part]) for part in rows])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", INTERVENTIONS)
def test_a_repetition_gives_the_same_images(kind: str) -> None:
    x, y = batch(5)
    assert torch.equal(act(kind, x, y), act(kind, x, y))


def test_injection_equals_the_released_code() -> None:
    injected = on(Inject(beta=BETA), reference("x"), reference("y"))
    torch.testing.assert_close(injected, reference("inject"), atol=1e-6, rtol=0)


def test_an_injection_is_clipped_only_on_demand() -> None:
    x, y = torch.cat([torch.zeros(1, *CIFAR), torch.ones(1, *CIFAR)]), torch.tensor([0, 0])
    out = on(Inject(beta=0.25), x, y)
    assert (out.min().item(), out.max().item()) == (-0.25, 1.25)
    assert torch.equal(on(Inject(beta=0.25, clamp=True), x, y), out.clamp(0, 1))


def test_injection_of_strength_zero_changes_nothing() -> None:
    x, y = batch(5)
    assert torch.equal(on(Inject(beta=0.0), x, y), x)


def test_basis_of_ten_carriers_has_rank_five_and_is_orthonormal() -> None:
    """The QR of the released code took ten directions, five of them unrelated."""
    carriers = dct_sign(10, CIFAR)
    basis = span_basis(carriers)
    assert basis.shape == (5, 3 * 32 * 32)
    basis, flat = basis.double(), carriers.flatten(1).double()  # float32 sums of 3072 products differ by processor
    torch.testing.assert_close(basis @ basis.T, torch.eye(5).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(flat @ basis.T @ basis, flat, atol=1e-6, rtol=0)


@pytest.mark.parametrize("num_classes", [20, 100])
def test_basis_of_many_carriers_has_their_rank(num_classes: int) -> None:
    assert len(span_basis(dct_sign(num_classes, CIFAR))) == num_classes


def test_projection_is_idempotent_and_leaves_images_outside_the_span() -> None:
    basis = span_basis(dct_sign(10, CIFAR))
    x, _ = batch(4, CIFAR)
    once = project_out(x, basis)
    torch.testing.assert_close(project_out(once, basis), once, atol=1e-5, rtol=0)
    assert (once - x).flatten(1).norm(dim=1).max() < x.flatten(1).norm(dim=1).min()


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_injection_leaves_nothing_in_the_span_but_the_own_carrier(shape: tuple[int, int, int]) -> None:
    beta = 0.1
    x, y = batch(12, shape)
    carriers = dct_sign(10, shape)
    out = on(InjectOrthogonal(beta=beta), x, y)
    in_span = out.flatten(1).to(torch.float64) @ carriers.flatten(1).to(torch.float64).T
    own = beta * carriers[y].flatten(1).to(torch.float64) @ carriers.flatten(1).to(torch.float64).T
    torch.testing.assert_close(in_span, own, atol=1e-3, rtol=0)


def test_orthogonal_injection_keeps_what_lies_outside_the_span() -> None:
    x, y = batch(12, CIFAR)
    out = on(InjectOrthogonal(beta=0.1), x, y)
    basis = span_basis(dct_sign(10, CIFAR))
    torch.testing.assert_close(project_out(out, basis), project_out(x, basis), atol=1e-5, rtol=0)


# --- controls --------------------------------------------------------------------------------------------------------


def carried(intervention: Intervention, y: Tensor, example: Tensor | None = None) -> Tensor:
    """Which carrier each example got, from what was added to images of zeros; -1 for none."""
    added = on(intervention, torch.zeros(len(y), *CIFAR), y, example)
    match = (added[:, None] == dct_sign(10, CIFAR) * 0.25).flatten(2).all(dim=2)
    assert (match.any(dim=1) == added.flatten(1).any(dim=1)).all()
    return torch.where(match.any(dim=1), match.to(torch.int64).argmax(dim=1), -1)


LABELS = torch.arange(EXAMPLES) % 10


def test_shuffled_carriers_are_fixed_for_each_example_and_independent_of_the_label() -> None:
    got = carried(Shuffled(beta=0.25), LABELS)
    other_labels = carried(Shuffled(beta=0.25), LABELS.flip(0))
    assert torch.equal(got, other_labels)
    counts = torch.zeros(10, 10).index_put_((LABELS, got), torch.ones(EXAMPLES), accumulate=True)
    expected = EXAMPLES / 100
    assert ((counts - expected) ** 2 / expected).sum() < 124  # chi squared with 81 degrees of freedom, p = .0015
    assert not torch.equal(got, carried(Shuffled(beta=0.25, carrier_seed=1), LABELS))
    some = torch.tensor([7, 3, 400])
    assert torch.equal(carried(Shuffled(beta=0.25), LABELS[some], some), got[some])


def test_shared_gives_all_classes_the_first_carrier() -> None:
    assert (carried(Shared(beta=0.25), LABELS) == 0).all()


@pytest.mark.parametrize(("groups", "sizes"), [(1, [10]), (2, [5, 5]), (3, [3, 3, 4]), (10, [1] * 10)])
def test_grouped_classes_share_carriers_in_groups_of_equal_size(groups: int, sizes: list[int]) -> None:
    got = carried(Grouped(beta=0.25, groups=groups), torch.arange(10))
    assert sorted(torch.bincount(got).tolist()) == sizes


def test_more_groups_than_classes_are_refused() -> None:
    with pytest.raises(CosweepError, match="groups must be at most 10, the number of classes; got 11"):
        carried(Grouped(groups=11), LABELS)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_partial_injects_its_share_of_the_samples(share: float) -> None:
    got = carried(Partial(beta=0.25, share=share), LABELS)
    assert abs((got >= 0).float().mean().item() - share) < 0.06
    assert torch.equal(got[got >= 0], LABELS[got >= 0])


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.3, 3), (1.0, 10)])
def test_partial_injects_whole_classes(share: float, count: int) -> None:
    got = carried(Partial(beta=0.25, share=share, share_of="classes"), LABELS)
    assert len(set(got[got >= 0].tolist())) == count
    assert all(len(set(got[label == LABELS].tolist())) == 1 for label in range(10))


def test_a_share_of_one_is_the_plain_injection() -> None:
    x, y = batch(12)
    assert torch.equal(on(Partial(beta=0.1, share=1.0), x, y), on(Inject(beta=0.1), x, y))


def test_the_released_projection_removes_ten_directions_and_the_span_among_them() -> None:
    carriers = dct_sign(10, CIFAR)
    released = released_basis(carriers)
    assert torch.linalg.matrix_rank(released.to(torch.float64)).item() == 10
    torch.testing.assert_close(project_out(carriers, released), torch.zeros_like(carriers), atol=1e-4, rtol=0)
    x, y = batch(3, CIFAR)
    apart = on(InjectOrthogonal(beta=0.1, as_released=True), x, y) - on(InjectOrthogonal(beta=0.1), x, y)
    assert apart.abs().max() > 1e-3


# --- pass filters ----------------------------------------------------------------------------------------------------


def wave(row: int, column: int, size: int = 16) -> Tensor:
    coefficients = torch.zeros(1, 1, size, size)
    coefficients[..., row, column] = 1.0
    return idct2(coefficients)


@pytest.mark.parametrize(
    ("intervention", "kept"),
    [
        (LowPass(bandwidth=5), lambda r, c: r < 5 and c < 5),
        (LowPass(bandwidth=5, as_released=True), lambda r, c: r < 5),
        (HighPass(bandwidth=5), lambda r, c: r >= 11 or c >= 11),
        (BandStop(band_low=3, band_high=8), lambda r, c: max(r, c) < 3 or max(r, c) >= 8),
    ],
)
def test_a_wave_is_kept_or_removed_whole_by_its_frequency(
    intervention: Intervention, kept: Callable[[int, int], bool]
) -> None:
    """The released code's low pass let every wave along the columns through."""
    for row, column in [(0, 0), (2, 2), (4, 4), (0, 5), (5, 0), (4, 10), (10, 4), (11, 0), (0, 11), (15, 15), (8, 3)]:
        x = wave(row, column)
        out = on(intervention, x, torch.zeros(1, dtype=torch.int64))
        torch.testing.assert_close(out, x if kept(row, column) else torch.zeros_like(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_low_and_high_pass_share_the_spectrum_out(shape: tuple[int, int, int]) -> None:
    x, y = batch(5, shape)
    low, high = on(LowPass(bandwidth=5), x, y), on(HighPass(bandwidth=shape[1] - 5), x, y)
    torch.testing.assert_close(low + high, x, atol=1e-5, rtol=0)
    both = on(LowPass(bandwidth=3), x, y) + on(HighPass(bandwidth=shape[1] - 6), x, y)
    torch.testing.assert_close(on(BandStop(band_low=3, band_high=6), x, y), both, atol=1e-5, rtol=0)


def test_a_low_pass_of_the_whole_side_changes_nothing() -> None:
    x, y = batch(5)
    torch.testing.assert_close(on(LowPass(bandwidth=8), x, y), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("intervention", "text"),
    [
        (LowPass(bandwidth=9), "bandwidth must be at most 8, the smaller side of images of 8x8; got 9"),
        (HighPass(bandwidth=9), "bandwidth must be at most 8"),
        (BandStop(band_low=1, band_high=9), "band_high must be at most 8"),
    ],
)
def test_a_bandwidth_over_the_image_is_refused(intervention: Intervention, text: str) -> None:
    with pytest.raises(CosweepError, match=text):
        on(intervention, *batch(2))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kind": "band_stop", "band_low": 8, "band_high": 8}, "band_low: must be below band_high, 8; got 8"),
        ({"kind": "inject", "beta": 8}, "beta: must be in .0, 1., got 8.0; write 8/255"),
        ({"kind": "partial", "share": 1.5}, "share: must be in .0, 1., got 1.5"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        build(Intervention, options, MENUS)  # type: ignore[type-abstract]


def test_an_l2_feature_may_be_longer_than_one_and_has_the_length_beta() -> None:
    x, y = batch(6, CIFAR)
    added = on(Inject(beta=2.5, carriers="dct_l2"), x, y) - x
    torch.testing.assert_close(added.flatten(1).norm(dim=1), torch.full((6,), 2.5))


# --- laws over all, clamped or not -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INTERVENTIONS)
def test_clamping_keeps_images_in_zero_to_one_and_is_all_it_does(kind: str) -> None:
    x, y = batch(9)
    out = on(made(kind, clamp=True), x, y)
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(out, on(made(kind), x, y).clamp(0, 1))


@pytest.mark.parametrize("kind", INTERVENTIONS)
@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("method", ["fgsm", "rs_fgsm", "n_fgsm", "pgd"])
def test_a_perturbation_of_intervened_images_keeps_its_bound_clamped_or_not(
    kind: str, clamp: bool, method: str
) -> None:
    x, y = batch(30)
    x = on(made(kind, clamp=clamp), x, y)
    training = METHODS[method](epsilon=0.1)
    reached = Box(min(0.0, x.min().item()), max(1.0, x.max().item()))
    for box in (UNIT_BOX, reached):
        step = Batch(x, y, box, RandomStream(0), torch.arange(30))
        delta = training.perturb(linear_model(), step)
        assert delta.abs().max() <= training.bound + 1e-6


def test_the_released_box_strips_an_unclipped_feature_and_exceeds_the_bound() -> None:
    x, y = batch(30)
    x = on(Inject(beta=0.3), x, y)
    step = Batch(x, y, Box(0.0, 1.0, pulls=True), RandomStream(0), torch.arange(30))
    delta = METHODS["fgsm"](epsilon=0.1).perturb(linear_model(), step)
    assert (x + delta).min() >= -1e-6
    assert (x + delta).max() <= 1 + 1e-6
    assert delta.abs().max().item() == pytest.approx(0.3, abs=1e-3)  # as far as x was outside
