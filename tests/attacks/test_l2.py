"""The l2 ball: its projection, its noise, its steepest steps."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import (
    ThreatModel,
    clip_ball,
    correct,
    fgsm,
    input_gradient,
    lengths,
    pgd,
    random_start,
    single_step,
    steepest,
    uniform_in_ball,
    withstands_pgd,
)
from cosweep.seeding import RandomStream
from cosweep.units import Box
from tests.tiny import UNIT_BOX, batch, linear_model, smooth_model

WIDE_BOX = Box(-9.0, 9.0)


def rng(seed: int = 0) -> RandomStream:
    return RandomStream(seed)


def sizes(delta: Tensor) -> Tensor:
    return lengths(delta).flatten()


def of_lengths(*wanted: float) -> Tensor:
    """(N, 1, 8, 8) perturbations of these lengths in random directions."""
    direction = torch.randn(len(wanted), 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    return direction / lengths(direction) * torch.tensor(wanted).double().view(-1, 1, 1, 1)


# --- projection ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "before", "after"),
    [
        (1.0, (0.0, 0.5, 1.0, 1.5, 100.0), (0.0, 0.5, 1.0, 1.0, 1.0)),
        (0.5, (0.1, 0.49, 0.51, 1e20), (0.1, 0.49, 0.5, 0.5)),
        (30.0, (1.0, 29.0, 31.0), (1.0, 29.0, 30.0)),
        (0.0, (0.0, 1e-20, 3.0), (0.0, 0.0, 0.0)),
    ],
)
def test_projection_shortens_each_example_to_the_radius_and_no_further(
    epsilon: float, before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    delta = of_lengths(*before)
    clipped = clip_ball(delta, epsilon, "l2")
    torch.testing.assert_close(sizes(clipped), torch.tensor(after).double(), rtol=1e-7, atol=1e-19)
    torch.testing.assert_close(clip_ball(clipped, epsilon, "l2"), clipped, rtol=1e-12, atol=0)
    inside = torch.tensor(before) <= epsilon
    assert torch.equal(clipped[inside], delta[inside])
    alignment = functional.cosine_similarity(clipped.flatten(1), delta.flatten(1), eps=1e-100)
    moved = sizes(clipped) > 0
    torch.testing.assert_close(alignment[moved], torch.ones_like(alignment[moved]))


def test_projection_is_the_nearest_point_of_the_ball() -> None:
    delta = of_lengths(2.0, 3.0)
    nearest = sizes(clip_ball(delta, 1.0, "l2") - delta)
    others = uniform_in_ball(torch.zeros(500, 1, 8, 8), 1.0, rng(1), "l2").double()
    for one, distance in zip(delta, nearest):
        assert (sizes(others - one) > distance).all()


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "size"), [((1, 1, 1), 1), ((1, 1, 2), 2), ((1, 2, 2), 4), ((3, 4, 4), 48)])
@pytest.mark.parametrize("radius", [1.0, 0.2])
def test_noise_is_uniform_in_the_ball(shape: tuple[int, int, int], size: int, radius: float) -> None:
    """A share r^d of the ball is within r of its middle, so that the mean distance is d/(d+1)."""
    noise = uniform_in_ball(torch.zeros(20_000, *shape), radius, rng(), "l2")
    distance = sizes(noise).double() / radius
    assert distance.max() <= 1 + 1e-6
    assert distance.mean().item() == pytest.approx(size / (size + 1), abs=0.005)
    assert stats.kstest(distance.numpy() ** size, "uniform").statistic < 0.012
    assert noise.mean(dim=0).abs().max() < 0.03 * radius
    first = (noise / lengths(noise))[:, 0, 0, 0].double().square().mean()
    assert first.item() == pytest.approx(1 / size, rel=0.05)  # no direction is more likely


def test_noise_depends_on_the_generator_alone() -> None:
    x = torch.zeros(5, 1, 8, 8)
    one, same, other = (uniform_in_ball(x, 0.3, rng(seed), "l2") for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 2.0])
def test_a_random_start_keeps_ball_and_box(epsilon: float) -> None:
    x, _ = batch(50)
    start = random_start(x, ThreatModel(epsilon, UNIT_BOX, "l2"), rng())
    assert sizes(start).max() <= epsilon + 1e-6
    assert (x + start).min() >= 0
    assert (x + start).max() <= 1 + 1e-6


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e-20, 1.0, 1e20, 1e37])
def test_the_steepest_direction_is_the_gradient_at_length_one_however_small_or_large_it_is(scale: float) -> None:
    """Squares of float32 vanish below 1e-23 and overflow above 1e19."""
    plain = torch.ones(1, 1, 8, 8) * torch.tensor([1.0, -1.0]).repeat(32).view(8, 8)
    plain[0, 0, 0] = 0.0
    direction = steepest(plain * scale, "l2")
    torch.testing.assert_close(direction, plain / math.sqrt(56), rtol=1e-6, atol=0)


def test_a_gradient_of_zero_has_no_direction_and_takes_none_from_the_others() -> None:
    gradient = torch.zeros(3, 1, 8, 8)
    gradient[1] = 1e-30
    direction = steepest(gradient, "l2")
    torch.testing.assert_close(sizes(direction), torch.tensor([0.0, 1.0, 0.0]))


@pytest.mark.parametrize("alpha", [0.01, 0.5, 3.0])
def test_a_step_has_the_length_alpha_along_the_gradient(alpha: float) -> None:
    model, (x, y) = smooth_model(), batch(20)
    delta = fgsm(model, x, y, ThreatModel(alpha, WIDE_BOX, "l2"))
    torch.testing.assert_close(sizes(delta), torch.full((20,), alpha))
    cosine = functional.cosine_similarity(delta.flatten(1), input_gradient(model, x, y).flatten(1))
    torch.testing.assert_close(cosine, torch.ones(20))


@pytest.mark.parametrize(("alpha", "radius"), [(0.4, 0.4), (0.4, 0.1), (2.0, 1.0)])
def test_a_step_from_noise_ends_in_ball_and_box(alpha: float, radius: float) -> None:
    model, (x, y) = smooth_model(), batch(20)
    start = random_start(x, ThreatModel(radius, UNIT_BOX, "l2"), rng())
    delta = single_step(model, x, y, ThreatModel(radius, UNIT_BOX, "l2"), alpha=alpha, start=start)
    assert 0.8 * min(alpha, radius) < sizes(delta).max() <= radius * (1 + 1e-6)
    assert (x + delta).min() >= -1e-6
    assert (x + delta).max() <= 1 + 1e-6


# --- PGD -------------------------------------------------------------------------------------------------------------


def losses(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return functional.cross_entropy(model(x), y, reduction="none")


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("box", [UNIT_BOX, Box(-0.3, 1.3)])
def test_pgd_keeps_ball_and_box_and_raises_the_loss_above_fgms_on_a_curved_model(epsilon: float, box: Box) -> None:
    model, (x, y) = smooth_model(), batch(40)
    delta = pgd(model, x, y, ThreatModel(epsilon, box, "l2"), alpha=epsilon / 4, steps=20, rng=rng())
    assert 0.9 * epsilon < sizes(delta).max() <= epsilon * (1 + 1e-6)
    assert (x + delta).min() >= box.low - 1e-6
    assert (x + delta).max() <= box.high + 1e-6
    single = x + fgsm(model, x, y, ThreatModel(epsilon, box, "l2"))
    assert losses(model, x + delta, y).mean() > losses(model, single, y).mean() > losses(model, x, y).mean()


@pytest.mark.parametrize("epsilon", [0.05, 0.2, 0.5])
def test_an_example_of_a_linear_two_class_model_breaks_where_its_distance_to_the_boundary_says(epsilon: float) -> None:
    """The distance is the difference of the logits over the length of the difference of the weights."""
    model, (x, _) = linear_model(classes=2), batch(300, classes=2)
    with torch.no_grad():
        logits = model(x)
    y = logits.argmax(dim=1)
    weight = dict(model.named_parameters())["1.weight"].detach()
    distance = (logits[:, 0] - logits[:, 1]).abs() / (weight[0] - weight[1]).norm()
    standing = withstands_pgd(
        model, x, y, ThreatModel(epsilon, WIDE_BOX, "l2"), alpha=epsilon / 4, steps=50, restarts=1, rng=rng()
    )
    clear = (distance / epsilon - 1).abs() > 0.001
    assert torch.equal(standing[clear], (distance > epsilon)[clear])
    assert clear.sum() > 290
    assert 0 < standing.sum() < 300
    assert torch.equal(correct(model, x, y), torch.ones(300).bool())
