"""Attacks: known answers, laws, and a second, plain implementation of PGD."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import (
    ThreatModel,
    clip_ball,
    clip_box,
    correct,
    fgsm,
    input_gradient,
    measuring_gradient,
    pgd,
    pgd_alpha,
    random_start,
    single_step,
    uniform_like,
    vanished,
    withstands_pgd,
)
from cosweep.seeding import RandomStream
from cosweep.units import Box
from tests.data.reference import EPSILON, reference, reference_model
from tests.tiny import UNIT_BOX, batch, convolutional_model, linear_model, weights_of

Attack = Callable[[nn.Module, Tensor, Tensor, RandomStream], Tensor]

THREAT = ThreatModel(0.1, UNIT_BOX)

ATTACKS: dict[str, Attack] = {
    "fgsm": lambda model, x, y, rng: fgsm(model, x, y, THREAT),
    "single_step": lambda model, x, y, rng: single_step(
        model, x, y, THREAT, alpha=0.125, start=uniform_like(x, 0.1, rng)
    ),
    "random_start": lambda model, x, y, rng: random_start(x, THREAT, rng),
    "pgd": lambda model, x, y, rng: pgd(model, x, y, THREAT, alpha=0.04, steps=5, rng=rng),
}


def rng(seed: int = 0) -> RandomStream:
    return RandomStream(seed)


def test_fgsm_equals_the_released_code() -> None:
    delta = fgsm(reference_model(), reference("x"), reference("y"), ThreatModel(EPSILON, UNIT_BOX))
    torch.testing.assert_close(delta, reference("fgsm_delta"), atol=1e-6, rtol=0)


def test_fgsm_on_a_linear_model_is_the_sign_of_the_closed_form_gradient() -> None:
    model, (x, y) = linear_model(), batch(20)
    linear = model[1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        slope = (functional.softmax(model(x), dim=1) - functional.one_hot(y, 10)) @ linear.weight
    expected = (x + 0.1 * slope.view_as(x).sign()).clamp(0, 1) - x
    torch.testing.assert_close(fgsm(model, x, y, THREAT), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(input_gradient(model, x, y), slope.view_as(x), atol=1e-5, rtol=1e-4)


def test_input_gradient_of_an_example_does_not_depend_on_its_batch() -> None:
    model, (x, y) = convolutional_model().eval(), batch(6)
    alone = input_gradient(model, x[2:3], y[2:3])
    torch.testing.assert_close(input_gradient(model, x, y)[2:3], alone, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("outer", [torch.no_grad, torch.enable_grad])
def test_input_gradient_leaves_weight_gradients_and_the_input_alone(outer: Callable[[], torch.no_grad]) -> None:
    model, (x, y) = convolutional_model(), batch(6)
    before = x.clone()
    with outer():
        gradient = input_gradient(model, x, y)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert x.grad is None
    assert not gradient.requires_grad


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("training", [True, False])
def test_every_attack_keeps_ball_and_box_and_leaves_the_model_as_found(name: str, training: bool) -> None:
    model, (x, y) = convolutional_model().train(training), batch(12)
    parameters = {key: value.clone() for key, value in model.named_parameters()}
    buffers = weights_of(model)
    delta = ATTACKS[name](model, x, y, rng())
    assert delta.shape == x.shape
    assert not delta.requires_grad
    assert delta.abs().max() <= 0.1 + 1e-6
    assert (x + delta).min() >= -1e-6
    assert (x + delta).max() <= 1 + 1e-6
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, parameters[key]) for key, value in model.named_parameters())
    if not training:
        assert all(torch.equal(value, buffers[key]) for key, value in model.state_dict().items())


def test_a_box_wider_than_the_pixels_is_filled_and_kept() -> None:
    """Injected images leave [0, 1]; a box of their own range takes nothing of the feature away."""
    box = Box(-0.2, 1.2)
    x, y = batch(12)
    x = x * 1.4 - 0.2
    delta = single_step(linear_model(), x, y, ThreatModel(0.1, box), alpha=0.1, start=uniform_like(x, 0.1, rng()))
    assert (x + delta).min() >= box.low - 1e-6
    assert (x + delta).max() <= box.high + 1e-6
    assert ((x + delta) < 0).any()
    assert ((x + delta) > 1).any()


def test_ball_projection_is_idempotent() -> None:
    delta = uniform_like(torch.zeros(50), 1.0, rng())
    once = clip_ball(delta, 0.3)
    assert once.abs().max().item() == pytest.approx(0.3)
    assert torch.equal(clip_ball(once, 0.3), once)
    assert torch.equal(once[delta.abs() < 0.3], delta[delta.abs() < 0.3])


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.3])
def test_box_projection_only_shortens_inside_the_box_and_outside(shift: float) -> None:
    x = batch(20)[0] + shift
    delta = uniform_like(x, 0.5, rng())
    clipped = clip_box(delta, x, UNIT_BOX)
    assert (clipped.abs() <= delta.abs()).all()
    assert (clipped * delta >= 0).all()
    assert ((x + clipped) <= x.clamp(min=UNIT_BOX.high) + 1e-6).all()
    assert ((x + clipped) >= x.clamp(max=UNIT_BOX.low) - 1e-6).all()


def test_uniform_noise_fills_its_range_and_depends_on_the_generator_alone() -> None:
    x = torch.zeros(10_000)
    noise = uniform_like(x, 0.1, rng(1))
    assert noise.abs().max() <= 0.1
    assert noise.min() < -0.099
    assert noise.max() > 0.099
    assert abs(noise.mean().item()) < 0.003
    assert torch.equal(noise, uniform_like(x, 0.1, rng(1)))
    assert not torch.equal(noise, uniform_like(x, 0.1, rng(2)))


def test_pgd_moves_every_entry_to_the_edge_on_a_linear_two_class_model() -> None:
    model, (x, y) = linear_model(classes=2), batch(8, classes=2)
    delta = pgd(model, x, y, THREAT, alpha=0.05, steps=10, rng=rng())
    torch.testing.assert_close(delta, fgsm(model, x, y, THREAT), atol=1e-6, rtol=0)


# --- robust evaluation -----------------------------------------------------------------------------------------------


def plainly_withstands(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    alpha: float,
    steps: int,
    restarts: int,
    rng: RandomStream,
) -> Tensor:
    """As ``withstands_pgd``, attacking every example in every restart and looking at every iterate."""
    epsilon, box = threat.epsilon, threat.box
    with torch.no_grad():
        robust: Tensor = model(x).argmax(dim=1) == y
    for _ in range(restarts):
        x_adv = (x + rng.symmetric(x.shape, x, epsilon)).clamp(box.low, box.high)
        for step in range(steps + 1):
            leaf = x_adv.clone().requires_grad_()
            logits = model(leaf)
            robust &= logits.argmax(dim=1) == y
            if step < steps:
                gradient = torch.autograd.grad(functional.cross_entropy(logits, y), leaf)[0]
                x_adv = x_adv + alpha * gradient.sign()
                x_adv = torch.maximum(torch.minimum(x_adv, x + epsilon), x - epsilon).clamp(box.low, box.high)
    return robust


def own_labels(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(x)
    return logits.argmax(dim=1)


@pytest.mark.parametrize("epsilon", [0.01, 0.03, 0.06, 0.12])
@pytest.mark.parametrize(("steps", "restarts"), [(1, 1), (1, 4), (5, 1), (5, 3), (10, 2)])
@pytest.mark.parametrize("make", [linear_model, convolutional_model])
def test_skipping_broken_examples_gives_the_survivors_of_a_plain_implementation(
    make: Callable[[], nn.Module], epsilon: float, steps: int, restarts: int
) -> None:
    model = make().eval()
    x, y = batch(60)
    y[:45] = own_labels(model, x[:45])
    threat, alpha = ThreatModel(epsilon, UNIT_BOX), epsilon / 4
    fast = withstands_pgd(model, x, y, threat, alpha=alpha, steps=steps, restarts=restarts, rng=rng())
    plain = plainly_withstands(model, x, y, threat, alpha=alpha, steps=steps, restarts=restarts, rng=rng())
    assert torch.equal(fast, plain)


def test_the_comparison_above_sees_examples_that_break_and_examples_that_stand() -> None:
    model = convolutional_model().eval()
    x, _ = batch(60)
    y = own_labels(model, x)
    shares = [
        withstands_pgd(model, x, y, ThreatModel(e, UNIT_BOX), alpha=e / 4, steps=5, restarts=3, rng=rng()).sum().item()
        for e in (0.01, 0.03, 0.06, 0.12)
    ]
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[1] < 60
    assert shares[-1] < shares[0]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("restarts", [1, 2, 3])
def test_a_batch_of_which_all_break_has_no_survivor(steps: int, restarts: int) -> None:
    """The clean mask came back when no example was left before the last step."""
    model, (x, _) = linear_model(), batch(10)
    y = own_labels(model, x)
    standing = withstands_pgd(
        model, x, y, ThreatModel(1.0, UNIT_BOX), alpha=0.25, steps=steps + 4, restarts=restarts, rng=rng()
    )
    assert not standing.any()


def test_a_batch_of_which_all_are_wrong_at_once_has_no_survivor() -> None:
    model, (x, _) = linear_model(), batch(10)
    y = (own_labels(model, x) + 1) % 10
    standing = withstands_pgd(model, x, y, ThreatModel(0.0, UNIT_BOX), alpha=0.0, steps=1, restarts=2, rng=rng())
    assert standing.shape == (10,)
    assert not standing.any()


def test_nothing_breaks_at_epsilon_zero_but_what_is_wrong_already() -> None:
    model, (x, y) = convolutional_model().eval(), batch(30)
    standing = withstands_pgd(model, x, y, ThreatModel(0.0, UNIT_BOX), alpha=0.0, steps=3, restarts=2, rng=rng())
    assert torch.equal(standing, correct(model, x, y))


def test_more_steps_and_more_restarts_never_save_an_example() -> None:
    model, (x, _) = convolutional_model().eval(), batch(60)
    y = own_labels(model, x)

    def standing(steps: int, restarts: int) -> Tensor:
        return withstands_pgd(
            model, x, y, ThreatModel(0.03, UNIT_BOX), alpha=0.0075, steps=steps, restarts=restarts, rng=rng()
        )

    for fewer, more in [((1, 1), (2, 1)), ((2, 1), (8, 1)), ((2, 1), (2, 2)), ((2, 2), (2, 5)), ((8, 2), (8, 5))]:
        assert not (standing(*more) & ~standing(*fewer)).any()


# --- where the gradient vanishes -------------------------------------------------------------------------------------


class Confident(nn.Module):
    """A model whose logits are so large that the cross-entropy's gradient rounds to zero where it is right."""

    def __init__(self, model: nn.Module, scale: float = 1e5) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.scale * self.model(x)
        return logits


def labelled(model: nn.Module, n: int = 40) -> tuple[Tensor, Tensor]:
    x, _ = batch(n)
    with torch.no_grad():
        return x, model(x).argmax(dim=1)


def test_gradients_that_vanish_are_counted_example_by_example() -> None:
    gradient = torch.zeros(4, 1, 2, 2)
    gradient[1, 0, 1, 1], gradient[2], gradient[3, 0, 0, 0] = 1e-45, -0.0, torch.nan
    assert vanished(gradient).tolist() == [True, False, True, False]


def test_a_measurement_climbs_the_margin_where_the_gradient_is_zero_and_the_loss_elsewhere() -> None:
    model, (x, y) = Confident(linear_model()), labelled(linear_model())
    y[::2] = (y[::2] + 1) % 10  # those that are wrong have a gradient
    gradient, ascent = input_gradient(model, x, y), measuring_gradient(model, x, y)
    flat = vanished(gradient)
    assert flat[1::2].sum() >= 18
    assert not flat[::2].any()
    assert torch.equal(ascent[~flat], gradient[~flat])
    with torch.no_grad():
        logits = model(x)
        best = logits.scatter(1, y[:, None], -torch.inf).argmax(dim=1)
    weight = 1e5 * dict(model.model.named_parameters())["1.weight"].detach()
    slope = (weight[best] - weight[y])[flat].view_as(x[flat])
    torch.testing.assert_close(ascent[flat], slope, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("epsilon", [0.02, 0.05])
def test_a_confident_model_is_no_more_robust_than_the_same_with_small_logits(epsilon: float) -> None:
    """A two-class linear model breaks where its distance to the boundary says, whatever its scale."""
    plain = linear_model(classes=2)
    x, y = labelled(plain)
    standing = [
        withstands_pgd(
            model, x, y, ThreatModel(epsilon, Box(-1.0, 2.0)), alpha=epsilon / 4, steps=10, restarts=1, rng=rng()
        )
        for model in (plain, Confident(plain))
    ]
    assert torch.equal(*standing)
    assert 0 < standing[0].sum() < 40


def test_attacks_of_training_methods_do_not_leave_the_cross_entropy() -> None:
    model, (x, y) = Confident(linear_model()), labelled(linear_model())
    flat = vanished(input_gradient(model, x, y))
    assert flat.any()
    assert not fgsm(model, x, y, THREAT)[flat].any()
    assert fgsm(model, x, y, THREAT, gradient_of=measuring_gradient)[flat].flatten(1).any(dim=1).all()


@pytest.mark.parametrize("steps", range(1, 61))
def test_steps_of_pgd_add_up_to_epsilon_and_are_a_quarter_of_it_from_four_on(steps: int) -> None:
    epsilon = 8 / 255
    assert steps * pgd_alpha(epsilon, steps) >= epsilon * (1 - 1e-12)
    assert (pgd_alpha(epsilon, steps) == epsilon / 4) is (steps >= 4)
