"""Measuring a model: counted over examples, and the model left as it was."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from cosweep.attacks import ThreatModel, withstands_pgd
from cosweep.attacks.autoattack import withstands_autoattack
from cosweep.seeding import derive_seed
from cosweep.training import evaluation
from cosweep.training.evaluation import FinalAccuracies, Prober, evaluating, final_accuracies, robust_accuracy
from cosweep.training.trial_spec import FinalSpec
from cosweep.units import Box
from tests.tiny import UNIT_BOX, batch, convolutional_model, linear_model, weights_of


def own_labels(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(x)
    return logits.argmax(dim=1)


def accuracy(model: nn.Module, x: Tensor, y: Tensor, epsilon: float, steps: int, restarts: int, seed: int = 0) -> float:
    return robust_accuracy(model, x, y, ThreatModel(epsilon, UNIT_BOX), steps=steps, restarts=restarts, seed=seed)


@pytest.mark.parametrize("right", [0, 1, 9, 10, 12, 13])
def test_accuracy_of_ten_and_three_examples_is_the_count_over_thirteen(
    right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mean of batch means would weigh the last three as much as the first ten."""
    monkeypatch.setattr(evaluation, "_CHUNK", 10)
    model = linear_model()
    x, _ = batch(13)
    y = own_labels(model, x)
    y[right:] = (y[right:] + 1) % 10
    assert accuracy(model, x, y, epsilon=0.0, steps=1, restarts=1) == right / 13


def test_an_example_is_judged_the_same_in_chunks_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, y) = convolutional_model(), batch(13)
    whole = accuracy(model, x, y, epsilon=0.0, steps=1, restarts=1)
    monkeypatch.setattr(evaluation, "_CHUNK", 4)
    assert accuracy(model, x, y, epsilon=0.0, steps=1, restarts=1) == whole


@pytest.mark.parametrize("epsilon", [0.01, 0.03, 0.1])
def test_more_steps_or_restarts_never_raise_robust_accuracy(epsilon: float) -> None:
    model = convolutional_model().eval()
    x, _ = batch(80)
    y = own_labels(model, x)
    by_steps = [accuracy(model, x, y, epsilon, steps, 1) for steps in (4, 5, 7, 10)]  # of epsilon / 4
    by_restarts = [accuracy(model, x, y, epsilon, 2, restarts) for restarts in (1, 2, 5)]
    assert by_steps == sorted(by_steps, reverse=True)
    assert by_restarts == sorted(by_restarts, reverse=True)


class Coin(nn.Module):
    """Right where the pixel is above one half, with a gradient of zero: PGD stays at its random start."""

    def forward(self, x: Tensor) -> Tensor:
        right = (x.flatten(1) > 0.5).to(x.dtype) + 0 * x.flatten(1)
        return torch.cat([right, 1 - right], dim=1)


@pytest.mark.parametrize("seed", range(10))
def test_more_restarts_never_save_an_example_of_a_later_chunk(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a chunk draws must not shift with the restarts of the chunk before it."""
    monkeypatch.setattr(evaluation, "_CHUNK", 4)
    x = torch.full((5, 1, 1, 1), 0.9)
    x[4] = 0.51  # survives a draw or not as by the toss of a coin; the first four always do
    y = torch.zeros(5, dtype=torch.int64)
    accuracies = [accuracy(Coin(), x, y, 0.1, 1, restarts, seed) for restarts in (1, 2, 3, 4)]
    assert accuracies == sorted(accuracies, reverse=True)
    assert set(accuracies) <= {0.8, 1.0}


@pytest.mark.parametrize("seed", range(10))
def test_an_example_that_is_wrong_without_perturbation_is_never_robust(seed: int) -> None:
    x, y = torch.full((1, 1, 1, 1), 0.49), torch.zeros(1, dtype=torch.int64)
    assert accuracy(Coin(), x, y, 0.1, 1, 1, seed) == 0.0


def test_probe_counts_clean_and_fgsm_accuracy_as_by_hand() -> None:
    model, (x, y) = linear_model(), batch(40)
    y[:30] = own_labels(model, x[:30])
    measured = Prober(x, y, ThreatModel(0.02, UNIT_BOX), 3, seed=0).measure(model)
    weight = dict(model.named_parameters())["1.weight"]
    with torch.no_grad():
        slope = (model(x).softmax(dim=1) - torch.nn.functional.one_hot(y, 10)) @ weight
        attacked = (x + 0.02 * slope.view_as(x).sign()).clamp(0, 1)
    assert measured.clean_acc == (own_labels(model, x) == y).sum().item() / 40
    assert measured.fgsm_acc == (own_labels(model, attacked) == y).sum().item() / 40
    assert measured.pgd_acc <= measured.clean_acc
    assert 0 < measured.fgsm_acc < measured.clean_acc


def test_probes_of_the_same_model_are_equal() -> None:
    model, (x, y) = convolutional_model(), batch(20)
    prober = Prober(x, y, ThreatModel(0.05, UNIT_BOX), 3, seed=0)
    first = prober.measure(model)
    torch.rand(5)
    assert prober.measure(model) == first


def confident(model: nn.Module) -> nn.Module:
    """The same decisions, by logits whose cross-entropy has a gradient of exactly zero where it is right."""
    linear = model[1]  # type: ignore[index]
    with torch.no_grad():
        linear.weight *= 1e5
        linear.bias *= 1e5
    return model


def test_probe_and_final_evaluation_count_the_examples_without_gradient_and_break_them_all_the_same() -> None:
    plain, steep, (x, _) = linear_model(classes=2), confident(linear_model(classes=2)), batch(40, classes=2)
    y = own_labels(plain, x)
    y[:10] = 1 - y[:10]
    seen, expected = (Prober(x, y, ThreatModel(0.03, UNIT_BOX), 4, seed=0).measure(model) for model in (steep, plain))
    assert (seen.clean_acc, seen.fgsm_acc, seen.pgd_acc) == (expected.clean_acc, expected.fgsm_acc, expected.pgd_acc)
    assert seen.fgsm_acc < seen.clean_acc
    assert (seen.zero_grad_share, expected.zero_grad_share) == (30 / 40, 0.0)
    ended, known = (final(model, x, y, "pgd", 0.03, classes=2) for model in (steep, plain))
    assert (ended.robust_acc, ended.zero_grad_share) == (known.robust_acc, 30 / 40)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_pgd_of_few_steps_reaches_across_epsilon(steps: int) -> None:
    """From some starts a step of epsilon / 4 would not leave the half of the ball where a linear model is right."""
    model, (x, _) = linear_model(classes=2), batch(40, classes=2)
    x = 0.4 + 0.2 * x
    y = own_labels(model, x)
    many, few = (accuracy(model, x, y, 0.01, n, 1) for n in (50, steps))
    assert many <= few <= many + 0.1
    assert many < 0.9


def test_gradients_of_a_linear_two_class_model_are_parallel() -> None:
    model, (x, y) = linear_model(classes=2), batch(20, classes=2)
    assert Prober(x, y, ThreatModel(0.2, UNIT_BOX), 1, seed=0).measure(model).grad_cos == pytest.approx(1.0, abs=1e-5)


def test_gradients_of_a_curved_model_are_less_parallel_farther_away() -> None:
    model, (x, y) = convolutional_model().eval(), batch(20)
    cosines = [
        Prober(x, y, ThreatModel(epsilon, UNIT_BOX), 1, seed=0).measure(model).grad_cos for epsilon in (0.01, 0.1, 0.5)
    ]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] < 1


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_weights_buffers_gradients_and_modes_as_found(training: bool) -> None:
    model, (x, y) = convolutional_model().train(training), batch(20)
    norm = model[1].train(not training)  # a frozen part stays frozen
    before = weights_of(model)
    Prober(x, y, ThreatModel(0.05, UNIT_BOX), 3, seed=0).measure(model)
    accuracy(model, x, y, 0.05, 2, 2)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert norm.training is not training
    assert model.training is model[0].training is training


def test_mode_comes_back_after_an_error() -> None:
    model = convolutional_model()

    def fail() -> None:
        with evaluating(model):
            assert not model.training
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert model.training


def test_a_network_is_measured_in_eval_mode() -> None:
    """In train mode batch norm would judge an example by its neighbours."""
    model, (x, y) = convolutional_model().train(), batch(20)
    as_trained = Prober(x, y, ThreatModel(0.0, UNIT_BOX), 1, seed=0).measure(model).clean_acc
    assert as_trained == (own_labels(model.eval(), x) == y).sum().item() / 20


# --- final evaluation ------------------------------------------------------------------------------------------------

Attack = Literal["pgd", "autoattack"]


def final(
    model: nn.Module, x: Tensor, y: Tensor, attack: Attack, epsilon: float, classes: int = 10, box: Box = UNIT_BOX
) -> FinalAccuracies:
    spec = FinalSpec(attack=attack, steps=10, restarts=2)
    return final_accuracies(model, x, y, ThreatModel(epsilon, box), final=spec, num_classes=classes, seed=0)


@pytest.mark.parametrize("attack", ["pgd", "autoattack"])
@pytest.mark.parametrize("right", [0, 1, 9, 10, 12, 13])
def test_final_accuracies_of_ten_and_three_examples_are_counts_over_thirteen(
    attack: Attack, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_CHUNK", 10)
    model = linear_model()
    x, _ = batch(13)
    y = own_labels(model, x)
    y[right:] = (y[right:] + 1) % 10
    assert final(model, x, y, attack, epsilon=0.0) == FinalAccuracies(right / 13, right / 13, 0.0)


@pytest.mark.parametrize(("alpha", "expected"), [(None, 0.1), (2 / 255, 2 / 255)])
def test_the_final_attack_takes_the_alpha_that_is_asked_for(
    alpha: float | None, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []

    def recorded(*images: Any, alpha: float, **options: Any) -> Tensor:
        taken.append(alpha)
        return withstands_pgd(*images, alpha=alpha, **options)

    monkeypatch.setattr(evaluation, "withstands_pgd", recorded)
    x, y = batch(4)
    spec = FinalSpec(steps=10, restarts=2, alpha=alpha)
    final_accuracies(linear_model(), x, y, ThreatModel(0.4, UNIT_BOX), final=spec, num_classes=10, seed=0)
    assert taken == [expected]


@pytest.mark.usefixtures("few_queries")
@pytest.mark.parametrize("attack", ["pgd", "autoattack"])
def test_final_robust_accuracy_counts_the_survivors_of_all_chunks(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk with noise of its own; on a linear two-class model the distance to the boundary decides."""
    monkeypatch.setattr(evaluation, "_CHUNK", 5)
    model, (x, _) = linear_model(classes=2), batch(13, classes=2)
    x = 0.4 + 0.2 * x
    with torch.no_grad():
        logits = model(x)
    y = logits.argmax(dim=1)
    weight = dict(model.named_parameters())["1.weight"].detach()
    distance = (logits[:, 0] - logits[:, 1]).abs() / (weight[0] - weight[1]).abs().sum()
    epsilon = distance.sort().values[5:7].mean().item()
    assert final(model, x, y, attack, epsilon, classes=2) == FinalAccuracies(1.0, 7 / 13, 0.0)


def test_final_evaluation_passes_its_settings_on_to_pgd(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def recorded(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, **options: Any) -> Tensor:
        asked.append(options | {"threat": threat})
        return withstands_pgd(model, x, y, threat, **options)

    monkeypatch.setattr(evaluation, "withstands_pgd", recorded)
    monkeypatch.setattr(evaluation, "_CHUNK", 10)
    final(convolutional_model(), *batch(13), attack="pgd", epsilon=0.2)
    drawn = [options.pop("rng").state for options in asked]
    expected = {"threat": ThreatModel(0.2, UNIT_BOX), "alpha": 0.05, "steps": 10, "restarts": 2}
    assert asked == [expected, expected]
    assert len(drawn) == 2
    assert drawn[0] != drawn[1] != derive_seed(0, "pgd")


@pytest.mark.parametrize("pulls", [False, True])
def test_autoattack_has_one_scale_for_all_chunks_and_a_seed_for_each(
    pulls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise an example would be judged by its neighbours."""
    asked: list[dict[str, Any]] = []

    def recorded(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, **options: Any) -> Tensor:
        asked.append(options | {"threat": threat})
        return withstands_autoattack(model, x, y, threat, **options)

    monkeypatch.setattr(evaluation, "withstands_autoattack", recorded)
    monkeypatch.setattr(evaluation, "_CHUNK", 10)
    x, y = batch(13)
    x[0, 0, 0, 0], x[12, 0, 0, 0] = -0.25, 1.5
    box = Box(0.0, 1.0, pulls=pulls)
    final(linear_model(), x, y, "autoattack", epsilon=1.0, box=box)
    assert [options["seed"] for options in asked] == [0, 1]
    assert {options["threat"] for options in asked} == {ThreatModel(1.0, box)}
    assert {options["reach"] for options in asked} == {box if pulls else Box(-0.25, 1.5)}


@pytest.mark.parametrize("attack", ["pgd", "autoattack"])
@pytest.mark.parametrize("training", [True, False])
def test_final_evaluation_leaves_the_model_as_found(attack: Attack, training: bool) -> None:
    model, (x, y) = convolutional_model().train(training), batch(8)
    model[1].train(not training)
    before = weights_of(model)
    final(model, x, y, attack, epsilon=0.5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model[1].training is not training
    assert model.training is model[0].training is training


def test_final_evaluation_is_made_in_eval_mode() -> None:
    """In train mode batch norm would judge an example by its neighbours."""
    model, (x, y) = convolutional_model().train(), batch(20)
    found = final(model, x, y, "pgd", epsilon=0.0)
    expected = (own_labels(model.eval(), x) == y).sum().item() / 20
    assert found == FinalAccuracies(expected, expected, 0.0)
