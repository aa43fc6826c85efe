"""Training methods: laws over all of them, and what each does."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import ThreatModel, fgsm, single_step, uniform_like
from cosweep.methods import METHODS, Batch, Method
from cosweep.methods.fgsm import FGSM
from cosweep.methods.n_fgsm import NFGSM
from cosweep.methods.pgd import PGD
from cosweep.methods.rs_fgsm import RSFGSM
from cosweep.units import Box
from tests.methods.batches import WIDE_BOX, following, rng, whole
from tests.tiny import UNIT_BOX, batch, convolutional_model, linear_model, weights_of

EPSILON = 0.1


def steps(method: Method, x: Tensor, y: Tensor, count: int) -> Iterator[Batch]:
    """The same images in so many steps in a row."""
    step = whole(method, x, y)
    for number in range(count):
        yield replace(step, done=number / count)
        step = following(step, number + 1)


def trained(method: Method, model: nn.Module, step: Batch) -> Tensor:
    """Perturbation of the second step; Free's is zero in the first."""
    method.backward(model, step)
    return method.perturb(model, following(step, 1))


WITHOUT_DRAWS = ("fgsm", "grad_align", "elle", "elle_a", "free")  # in the perturbation, by default
# What makes a method's loss the cross-entropy at x + delta.
WITHOUT_TERM: dict[str, dict[str, Any]] = {
    "grad_align": {"lambda_": 0.0},
    "aaer": {"lambda_1": 0.0},
    "elle": {"lambda_": 0.0},
    "lap": {"weight_radius": 0.0},
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("epsilon", [0.0, 0.02, EPSILON, 0.9])
@pytest.mark.parametrize("box", [UNIT_BOX, Box(-0.1, 1.3)])
def test_perturbation_keeps_its_bound_and_the_box(name: str, epsilon: float, box: Box) -> None:
    method = METHODS[name](epsilon=epsilon)
    x, y = batch(16)
    delta = trained(method, convolutional_model(), whole(method, x, y, box))
    assert delta.shape == x.shape
    assert not delta.requires_grad
    assert delta.abs().max() <= method.bound + 1e-6
    assert (x + delta).min() >= box.low - 1e-6
    assert (x + delta).max() <= box.high + 1e-6


@pytest.mark.parametrize("name", METHODS)
def test_perturbation_comes_near_its_bound_where_the_box_allows(name: str) -> None:
    method = METHODS[name](epsilon=EPSILON)
    model, (x, _) = linear_model(), batch(200)
    y = model(x).argmax(dim=1)
    delta = trained(method, model, whole(method, x, y, WIDE_BOX))
    assert delta.abs().max() >= 0.95 * method.bound


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_perturbing_leaves_weights_their_gradients_and_the_mode_as_found(name: str, training: bool) -> None:
    model, (x, y) = convolutional_model().train(training), batch(16)
    model(x).sum().backward()
    state = weights_of(model)
    gradients = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
    x_before = x.clone()
    method = METHODS[name](epsilon=EPSILON)
    method.perturb(model, whole(method, x, y))
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
    one, same = (method.perturb(model, whole(method, x, y, seed=5)) for _ in range(2))
    assert torch.equal(one, same)
    losses = [method.loss(copy.deepcopy(model), whole(method, x, y, seed=5))[0] for _ in range(2)]
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in WITHOUT_DRAWS])
def test_another_generator_gives_another_perturbation(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), convolutional_model().eval(), batch(16)
    one, different = (method.perturb(model, whole(method, x, y, seed=seed)) for seed in (1, 2))
    assert not torch.equal(one, different)


@pytest.mark.parametrize("name", METHODS)
def test_no_draw_is_made_from_the_global_generator(name: str) -> None:
    model, (x, y) = convolutional_model(), batch(4)
    before = torch.get_rng_state()
    method = METHODS[name](epsilon=EPSILON)
    for step in steps(method, x, y, 3):
        method.backward(model, step)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("gat", "nu_at")])
def test_loss_is_the_mean_over_the_perturbed_batch(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), convolutional_model().eval(), batch(13)
    method = replace(method, **WITHOUT_TERM.get(name, {}))
    loss, logits = method.loss(model, whole(method, x, y))
    expected = model(x + method.perturb(model, whole(method, x, y)))
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(loss, functional.cross_entropy(expected, y))


@pytest.mark.parametrize("name", METHODS)
def test_the_backward_pass_reaches_all_weights_and_gives_the_loss(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), convolutional_model().eval(), batch(13)
    loss, logits = method.backward(model, whole(method, x, y))
    expected, at = method.loss(model, whole(method, x, y))
    torch.testing.assert_close((loss, logits), (expected.detach(), at.detach()))
    assert not loss.requires_grad
    assert not logits.requires_grad
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients):
        torch.testing.assert_close(parameter.grad, gradient)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_after_a_few_steps_is_above_the_clean_one_on_a_linear_model(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), linear_model(), batch(50)
    for step in steps(method, x, y, 60):  # NuAT's term grows with the training
        loss = method.loss(model, step)[0]
        method.backward(model, step)
    assert loss > functional.cross_entropy(model(x), y)


@pytest.mark.parametrize("name", METHODS)
def test_steps_from_the_same_memory_are_the_same(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), convolutional_model().eval(), batch(16)
    first = whole(method, x, y)
    for number in range(3):
        method.backward(model, following(first, number))
    kept = {name: value.clone() for name, value in first.memory.items()}
    losses = []
    for _ in range(2):
        memory = {name: value.clone() for name, value in kept.items()}
        step = Batch(x, y, first.box, rng(7), first.example, memory)
        losses.append(method.backward(model, step)[0])
        assert memory.keys() == kept.keys()
        for key, value in memory.items():
            assert (value.dtype, value.shape) == (kept[key].dtype, kept[key].shape)
            assert not value.requires_grad
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("box", [UNIT_BOX, Box(0.1, 0.9, pulls=True)])
def test_a_short_batch_is_perturbed_within_the_box(name: str, box: Box) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), convolutional_model(), batch(16)
    first = whole(method, x, y, box)
    method.backward(model, first)
    short = Batch(x[:5], y[:5], box, rng(1), torch.tensor([15, 3, 8, 1, 2]), first.memory)
    delta = method.perturb(model, short)
    assert delta.shape == (5, 1, 8, 8)
    assert (x[:5] + delta).min() >= box.low - 1e-6
    assert (x[:5] + delta).max() <= box.high + 1e-6
    method.backward(model, short)


@pytest.mark.parametrize("name", METHODS)
def test_batch_norm_layers_act_in_the_mode_asked_for_while_attacking(name: str) -> None:
    model, (x, y) = convolutional_model(), batch(16)
    seen: list[bool] = []
    model[1].register_forward_pre_hook(lambda module, _: seen.append(module.training))
    for mode in ("train", "eval"):
        method = METHODS[name](epsilon=EPSILON, attack_mode=mode)
        first, second = steps(method, x, y, 2)
        method.backward(model, first)
        seen.clear()
        method.backward(model, second)
        attack, training = seen[0], seen[-1]
        assert attack is (mode == "train" or name == "free")  # Free's training pass is its attack
        assert training
        assert model[1].training


class CountingModel(nn.Module):
    """Counts forward and backward passes of a linear model, in batches of ``size``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner, self.size = linear_model(), size
        self.forwards = self.backwards = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += len(x) / self.size
        logits: torch.Tensor = self.inner(x)
        if logits.requires_grad:
            logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def _count(self, gradient: torch.Tensor) -> None:
        self.backwards += len(gradient) / self.size


@pytest.mark.parametrize("name", METHODS)
def test_stated_cost_is_the_mean_number_of_passes_made(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=EPSILON), CountingModel(4), batch(4)
    for step in steps(method, x, y, 20):
        method.backward(model, step)
    assert (model.forwards / 20, model.backwards / 20) == pytest.approx(method.cost)


@pytest.mark.parametrize(("name", "radii"), [("fgsm", 0.0), ("rs_fgsm", 1.0), ("n_fgsm", 2.0), ("grad_align", 0.0)])
def test_the_logits_that_are_kept_are_those_where_the_gradient_is_taken(name: str, radii: float) -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = METHODS[name](epsilon=EPSILON)
    step = whole(method, x, y, WIDE_BOX)
    method.backward(model, step)
    start = uniform_like(x, radii * EPSILON, rng(0)) if radii else torch.zeros_like(x)
    assert step.start_logits is not None
    assert not step.start_logits.requires_grad
    torch.testing.assert_close(step.start_logits, model(x + start).detach())


def test_fgsm_takes_one_step_from_the_image() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    delta = FGSM(epsilon=EPSILON).perturb(model, whole(FGSM(), x, y))
    assert torch.equal(delta, fgsm(model, x, y, ThreatModel(EPSILON, UNIT_BOX)))


def test_fgsm_with_a_longer_step_keeps_the_ball() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = FGSM(epsilon=EPSILON, alpha=0.3)
    delta = method.perturb(model, whole(method, x, y))
    assert method.bound == EPSILON
    assert torch.equal(delta, fgsm(model, x, y, ThreatModel(EPSILON, UNIT_BOX)))


def test_rs_fgsm_steps_from_uniform_noise_in_the_ball_and_clips_to_the_ball() -> None:
    """Wong et al.: eta ~ U(-epsilon, epsilon), alpha = 1.25 epsilon, then clipped to the ball."""
    model, (x, y) = linear_model(), batch(16)
    box = Box(-9.0, 9.0)
    eta = uniform_like(x, EPSILON, rng(3))
    delta = RSFGSM(epsilon=EPSILON).perturb(model, whole(RSFGSM(), x, y, box, 3))
    step = (delta - eta).abs()
    free = delta.abs() < EPSILON - 1e-6
    torch.testing.assert_close(step[free], torch.full_like(step[free], 1.25 * EPSILON))
    assert 0.3 < free.to(torch.float32).mean() < 0.45  # 3/8 of the noise ends inside the ball


def test_n_fgsm_adds_a_full_step_to_noise_twice_as_wide_and_clips_to_no_ball() -> None:
    """De Jorge et al.: eta ~ U(-2 epsilon, 2 epsilon), alpha = epsilon, delta = eta + alpha sign."""
    model, (x, y) = linear_model(), batch(16)
    box = Box(-9.0, 9.0)
    eta = uniform_like(x, 2 * EPSILON, rng(3))
    delta = NFGSM(epsilon=EPSILON).perturb(model, whole(NFGSM(), x, y, box, 3))
    torch.testing.assert_close(
        delta, single_step(model, x, y, ThreatModel(EPSILON, box), alpha=EPSILON, start=eta, ball=False)
    )
    torch.testing.assert_close((delta - eta).abs(), torch.full_like(x, EPSILON))
    assert delta.abs().max() > 2.5 * EPSILON


@pytest.mark.parametrize("noise_scale", [0.0, 1.0, 3.0])
def test_n_fgsm_bound_grows_with_its_noise(noise_scale: float) -> None:
    method = NFGSM(epsilon=EPSILON, alpha=0.05, noise_scale=noise_scale)
    assert method.bound == pytest.approx(noise_scale * EPSILON + 0.05)


def test_pgd_raises_the_loss_above_that_of_one_step_on_a_curved_model() -> None:
    model, (x, y) = convolutional_model().eval(), batch(64)
    single = FGSM(epsilon=EPSILON).loss(model, whole(FGSM(), x, y))[0]
    many = PGD(epsilon=EPSILON, steps=20).loss(model, whole(PGD(), x, y))[0]
    assert many > single


def test_pgd_without_random_start_begins_at_the_image_and_draws_nothing() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = PGD(epsilon=EPSILON, steps=1, alpha=EPSILON, random_start=False)
    step = whole(method, x, y)
    before = step.rng.state
    assert torch.equal(method.perturb(model, step), fgsm(model, x, y, ThreatModel(EPSILON, UNIT_BOX)))
    assert step.rng.state == before
