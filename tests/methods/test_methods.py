"""Training methods: laws over all of them, and what each does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from cosweep.attacks import fgsm, single_step, uniform_like
from cosweep.methods import METHODS
from cosweep.methods.fgsm import FGSM
from cosweep.methods.n_fgsm import NFGSM
from cosweep.methods.pgd import PGD
from cosweep.methods.rs_fgsm import RSFGSM
from cosweep.units import Box
from tests.tiny import UNIT_BOX, batch, convolutional_model, linear_model, weights_of

EPSILON = 0.1


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("epsilon", [0.0, 0.02, EPSILON, 0.9])
@pytest.mark.parametrize("box", [UNIT_BOX, Box(-0.1, 1.3)])
def test_perturbation_keeps_its_bound_and_the_box(name: str, epsilon: float, box: Box) -> None:
    method = METHODS[name](epsilon=epsilon)
    x, y = batch(16)
    delta = method.perturb(convolutional_model(), x, y, box, rng())
    assert delta.shape == x.shape
    assert not delta.requires_grad
    assert delta.abs().max() <= method.bound + 1e-6
    assert (x + delta).min() >= box.low - 1e-6
    assert (x + delta).max() <= box.high + 1e-6


@pytest.mark.parametrize("name", METHODS)
def test_perturbation_comes_near_its_bound_where_the_box_allows(name: str) -> None:
    method = METHODS[name](epsilon=EPSILON)
    x, y = batch(200)
    delta = method.perturb(linear_model(), x, y, Box(-9.0, 9.0), rng())
    assert delta.abs().max() >= 0.95 * method.bound


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_perturbing_leaves_weights_their_gradients_and_the_mode_as_found(name: str, training: bool) -> None:
    model, (x, y) = convolutional_model().train(training), batch(16)
    model(x).sum().backward()
    state = weights_of(model)
    gradients = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
    x_before = x.clone()
    METHODS[name](epsilon=EPSILON).perturb(model, x, y, UNIT_BOX, rng())
    assert torch.equal(x, x_before)
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(value, state[key]) for key, value in model.named_parameters())
    assert gradients.keys() == {key for key, _ in model.named_parameters()}
    for key, value in model.named_parameters():
        assert value.grad is not None
        assert torch.equal(value.grad, gradients[key])
    if not training:
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_same_generator_gives_the_same_perturbation_and_loss(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), convolutional_model(), batch(16)
    one, same = (method.perturb(model, x, y, UNIT_BOX, rng(5)) for _ in range(2))
    assert torch.equal(one, same)
    losses = [method.loss(model, x, y, UNIT_BOX, rng(5))[0] for _ in range(2)]
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", ["rs_fgsm", "n_fgsm", "pgd"])
def test_another_generator_gives_another_perturbation(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), convolutional_model().eval(), batch(16)
    one, different = (method.perturb(model, x, y, UNIT_BOX, rng(seed)) for seed in (1, 2))
    assert not torch.equal(one, different)


@pytest.mark.parametrize("name", METHODS)
def test_no_draw_is_made_from_the_global_generator(name: str) -> None:
    model, (x, y) = convolutional_model(), batch(4)
    before = torch.get_rng_state()
    METHODS[name](epsilon=EPSILON).loss(model, x, y, UNIT_BOX, rng())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", METHODS)
def test_loss_is_the_mean_over_the_perturbed_batch_and_reaches_all_weights(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), convolutional_model().eval(), batch(13)
    loss, logits = method.loss(model, x, y, UNIT_BOX, rng())
    expected = model(x + method.perturb(model, x, y, UNIT_BOX, rng()))
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(loss, functional.cross_entropy(expected, y))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_the_attacked_loss_is_not_below_the_clean_one_on_a_linear_model(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), linear_model(), batch(50)
    assert method.loss(model, x, y, UNIT_BOX, rng())[0] > functional.cross_entropy(model(x), y)


class CountingModel(nn.Module):
    """Counts forward and backward passes of a linear model."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear_model()
        self.forwards = self.backwards = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += 1
        logits: torch.Tensor = self.inner(x)
        logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def _count(self, gradient: torch.Tensor) -> None:
        self.backwards += 1


@pytest.mark.parametrize("name", METHODS)
def test_stated_cost_is_the_number_of_passes_made(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), CountingModel(), batch(4)
    method.loss(model, x, y, UNIT_BOX, rng())[0].backward()  # type: ignore[no-untyped-call]
    assert (model.forwards, model.backwards) == method.cost


def test_fgsm_takes_one_step_from_the_image() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    delta = FGSM(epsilon=EPSILON).perturb(model, x, y, UNIT_BOX, rng())
    assert torch.equal(delta, fgsm(model, x, y, EPSILON, UNIT_BOX))


def test_fgsm_with_a_longer_step_keeps_the_ball() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = FGSM(epsilon=EPSILON, alpha=0.3)
    delta = method.perturb(model, x, y, UNIT_BOX, rng())
    assert method.bound == EPSILON
    assert torch.equal(delta, fgsm(model, x, y, EPSILON, UNIT_BOX))


def test_rs_fgsm_steps_from_uniform_noise_in_the_ball_and_clips_to_the_ball() -> None:
    """Wong et al.: eta ~ U(-epsilon, epsilon), alpha = 1.25 epsilon, then clipped to the ball."""
    model, (x, y) = linear_model(), batch(16)
    box = Box(-9.0, 9.0)
    eta = uniform_like(x, EPSILON, rng(3))
    delta = RSFGSM(epsilon=EPSILON).perturb(model, x, y, box, rng(3))
    step = (delta - eta).abs()
    free = delta.abs() < EPSILON - 1e-6
    torch.testing.assert_close(step[free], torch.full_like(step[free], 1.25 * EPSILON))
    assert 0.3 < free.to(torch.float32).mean() < 0.45  # 3/8 of the noise ends inside the ball


def test_n_fgsm_adds_a_full_step_to_noise_twice_as_wide_and_clips_to_no_ball() -> None:
    """De Jorge et al.: eta ~ U(-2 epsilon, 2 epsilon), alpha = epsilon, delta = eta + alpha sign."""
    model, (x, y) = linear_model(), batch(16)
    box = Box(-9.0, 9.0)
    eta = uniform_like(x, 2 * EPSILON, rng(3))
    delta = NFGSM(epsilon=EPSILON).perturb(model, x, y, box, rng(3))
    torch.testing.assert_close(delta, single_step(model, x, y, alpha=EPSILON, box=box, start=eta))
    torch.testing.assert_close((delta - eta).abs(), torch.full_like(x, EPSILON))
    assert delta.abs().max() > 2.5 * EPSILON


@pytest.mark.parametrize("noise_scale", [0.0, 1.0, 3.0])
def test_n_fgsm_bound_grows_with_its_noise(noise_scale: float) -> None:
    method = NFGSM(epsilon=EPSILON, alpha=0.05, noise_scale=noise_scale)
    assert method.bound == pytest.approx(noise_scale * EPSILON + 0.05)


def test_pgd_raises_the_loss_above_that_of_one_step_on_a_curved_model() -> None:
    model, (x, y) = convolutional_model().eval(), batch(64)
    single = FGSM(epsilon=EPSILON).loss(model, x, y, UNIT_BOX, rng())[0]
    many = PGD(epsilon=EPSILON, steps=20).loss(model, x, y, UNIT_BOX, rng())[0]
    assert many > single
