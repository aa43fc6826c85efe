"""How the trainer runs a method: its warm-up, its replays, the mode of batch norm, and what a model draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cosweep.attacks import ThreatModel, withstands_pgd
from cosweep.methods import METHODS, Batch
from cosweep.methods.fgsm import FGSM
from cosweep.seeding import RandomStream, derive_seed
from cosweep.training import evaluation
from cosweep.training import trainer as trainer_of_steps
from cosweep.training.trainer import Trainer
from tests.methods.batches import WIDE_BOX, whole
from tests.tiny import batch, linear_model, tiny_spec, tiny_trainer
from tests.training.test_loop import finished

# --- warm-up ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Recorded(FGSM):
    """FGSM that remembers its size at every step."""

    sizes: ClassVar[list[tuple[float, float]]] = []

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        self.sizes.append((self.epsilon, self.alpha))
        return super().perturb(model, batch)


@pytest.mark.parametrize(
    ("warmup", "factors"),
    [
        (0.0, [1.0] * 8),
        (1.0, [1 / 8, 3 / 8, 5 / 8, 7 / 8, 1.0, 1.0, 1.0, 1.0]),
        (1.5, [1 / 12, 3 / 12, 5 / 12, 7 / 12, 9 / 12, 11 / 12, 1.0, 1.0]),
        (0.25, [1 / 2, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        (0.1, [1.0] * 8),
    ],
)
def test_epsilon_and_alpha_grow_linearly_from_zero_at_the_middle_of_each_step(
    warmup: float, factors: list[float]
) -> None:
    """Four steps an epoch."""
    Recorded.sizes.clear()
    method = Recorded(epsilon=0.1, alpha=0.06, warmup_epochs=warmup)
    trainer = tiny_trainer(replace(tiny_spec(), method=method))
    for _ in range(8):
        trainer.advance()
    assert [epsilon for epsilon, _ in Recorded.sizes] == pytest.approx([0.1 * f for f in factors])
    assert [alpha for _, alpha in Recorded.sizes] == pytest.approx([0.06 * f for f in factors])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("epoch", "factor"), [(0.5, 0.25), (1.0, 0.5), (1.99, 0.995), (2.0, 1.0), (3.0, 1.0)])
def test_a_bound_grows_with_the_warm_up(name: str, epoch: float, factor: float) -> None:
    method = METHODS[name](epsilon=0.08, warmup_epochs=2.0)
    assert method.at_epoch(epoch).bound == pytest.approx(factor * method.bound)
    assert method.at_epoch(epoch).epsilon == pytest.approx(factor * 0.08)
    assert (method.at_epoch(epoch) is method) is (epoch >= 2)


@pytest.mark.parametrize(("name", "radii"), [("rs_fgsm", 1.0), ("pgd", 1.0), ("n_fgsm", 2.0)])
def test_a_random_start_grows_with_the_warm_up(name: str, radii: float) -> None:
    """The released code draws it from the whole ball at once."""
    model, (x, y) = linear_model(), batch(50)
    method = METHODS[name](epsilon=0.08, alpha=1e-6, warmup_epochs=2.0).at_epoch(0.5)  # type: ignore[call-arg]
    start = method.perturb(model, whole(method, x, y, WIDE_BOX))
    radius = 0.02 * radii
    assert 0.98 * radius < start.abs().max() <= radius + 2e-6
    assert start.abs().mean().item() == pytest.approx(radius / 2, rel=0.05)


def test_probes_and_final_evaluation_do_not_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their numbers are to be compared along a curve."""
    radii: list[float] = []

    def recorded(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, **options: Any) -> Tensor:
        radii.append(threat.epsilon)
        return withstands_pgd(model, x, y, threat, **options)

    monkeypatch.setattr(evaluation, "withstands_pgd", recorded)
    spec = tiny_spec(method={"name": "rs_fgsm", "epsilon": "16/255", "warmup_epochs": 1.9})
    finished(spec)
    assert radii == [16 / 255] * 4


def test_a_warmed_up_training_differs_until_it_is_over_and_repeats() -> None:
    def digests(warmup: float) -> list[str]:
        trainer = tiny_trainer(tiny_spec(method={"name": "rs_fgsm", "epsilon": 0.1, "warmup_epochs": warmup}))
        found = []
        for _ in range(6):
            trainer.advance()
            found.append(trainer.digest())
        return found

    assert digests(1.0) == digests(1.0)
    assert digests(1.0)[0] != digests(0.0)[0]
    assert digests(0.1) == digests(0.0)


# --- replays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("replays", "numbers"), [(1, [0, 1, 2, 3, 4, 5, 6, 7]), (3, [0, 0, 0, 1, 1, 1, 2, 2])])
def test_replays_train_on_the_same_batch_augmentation_included(
    replays: int, numbers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = tiny_trainer(tiny_spec(method={"name": "free", "replays": replays}, data={"augment": "crop_flip"}))
    draw, seen = trainer.data.train_batch, []

    def recorded(index: Tensor, step: int) -> tuple[Tensor, Tensor]:
        seen.append(draw(index, step))
        return seen[-1]

    monkeypatch.setattr(trainer.data, "train_batch", recorded)
    for _ in range(8):
        trainer.advance()
    for (x, y), number in zip(seen, numbers, strict=True):
        order = trainer.data.epoch_order(number // 4)
        index = order[64 * (number % 4) : 64 * (number % 4 + 1)]
        torch.testing.assert_close((x, y), draw(index, number), rtol=0, atol=0)
    assert len({float(x.double().square().sum()) for x, _ in seen}) == len(set(numbers))


def test_every_epoch_of_batches_that_are_replayed_has_every_example(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = tiny_trainer(tiny_spec(method={"name": "free", "replays": 2}, data={"train_examples": 100}))
    seen: list[Tensor] = []
    draw = trainer.data.train_batch

    def recorded(index: Tensor, step: int) -> tuple[Tensor, Tensor]:
        seen.append(index)
        return draw(index, step)

    monkeypatch.setattr(trainer.data, "train_batch", recorded)
    assert (trainer.steps_per_epoch, trainer.total_steps) == (2, 4)
    for _ in range(4):
        trainer.advance()
    assert [len(index) for index in seen] == [64, 64, 36, 36]
    assert torch.equal(torch.cat(seen[::2]).sort().values, torch.arange(100))


# --- batch norm while attacking --------------------------------------------------------------------------------------


def statistics(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.model.named_buffers() if "running" in name}


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        ({"name": "fgsm"}, 2),
        ({"name": "rs_fgsm"}, 2),
        ({"name": "n_fgsm"}, 2),
        ({"name": "pgd", "steps": 3}, 4),
        ({"name": "multi_grad", "samples": 3}, 4),
        ({"name": "free"}, 1),  # its training pass is its attack
    ],
)
def test_running_statistics_are_updated_by_the_attack_in_train_mode_alone(method: dict[str, Any], passes: int) -> None:
    for mode, updates in (("train", passes), ("eval", 1)):
        trainer = tiny_trainer(tiny_spec(method={**method, "epsilon": 0.1, "attack_mode": mode}))
        trainer.advance()
        layers = [layer for layer in trainer.model.modules() if isinstance(layer, _BatchNorm)]
        assert {int(layer.num_batches_tracked or 0) for layer in layers} == {updates}
        assert len(layers) > 2


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_an_attack_moves_running_statistics_in_train_mode_and_leaves_them_in_eval_mode(mode: str) -> None:
    trainer = tiny_trainer(tiny_spec(method={"name": "pgd", "epsilon": 0.1, "attack_mode": mode}))
    before = statistics(trainer)
    index = torch.arange(64)
    x, y = trainer.data.train_batch(index, 0)
    step = Batch(x, y, trainer.data.box, RandomStream(0), index)
    trainer.spec.method.attack(trainer.model.train(), step)
    after = statistics(trainer)
    assert len(before) > 2
    assert [torch.equal(before[name], after[name]) for name in before] == [mode == "eval"] * len(before)
    assert all(module.training for module in trainer.model.modules())


# --- models that draw ------------------------------------------------------------------------------------------------

DROPOUT = {"name": "torchvision", "architecture": "mnasnet0_5"}


def drawing_trainer() -> Trainer:
    trainer = tiny_trainer(tiny_spec(model=DROPOUT, optimizer={"batch_size": 16, "lr_max": 0.01}))
    assert any(isinstance(module, nn.Dropout) and module.p > 0 for module in trainer.model.modules())
    return trainer


def test_dropout_repeats_from_a_snapshot_whatever_was_drawn_meanwhile() -> None:
    """Snapshots once lost the version of this network's parts, without which it takes no weights back."""
    trainer, digests = drawing_trainer(), []
    trainer.advance()
    snapshot = trainer.snapshot()
    for draws in (0, 5):
        trainer.restore(snapshot)
        torch.rand(draws)
        before = torch.get_rng_state()
        for _ in range(2):
            trainer.advance()
        assert torch.equal(torch.get_rng_state(), before)
        digests.append(trainer.digest())
    assert digests[0] == digests[1]


def test_dropout_draws_what_the_seed_and_the_step_say(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str | int, ...]] = []

    def trained(offset: int) -> str:
        def recorded(seed: int, *labels: str | int) -> int:
            asked.append((seed, *labels))
            return derive_seed(seed, *labels) + offset * (labels[0] == "model")

        monkeypatch.setattr(trainer_of_steps, "derive_seed", recorded)
        trainer = drawing_trainer()
        for _ in range(2):
            trainer.advance()
        return trainer.digest()

    one, same, other = trained(0), trained(0), trained(1)
    assert one == same != other
    assert [labels for labels in asked if labels[1] == "model"] == [(0, "model", 0), (0, "model", 1)] * 3
