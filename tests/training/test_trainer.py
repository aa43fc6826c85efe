"""The trainer: a step follows from the seed and its number, whatever happens around it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import CyclicLR

from cosweep.attacks import ThreatModel
from cosweep.methods import METHODS
from cosweep.training.evaluation import Prober
from cosweep.training.schedules import SCHEDULES
from cosweep.training.trainer import Trainer
from tests.models.small import SMALL_MODELS
from tests.tiny import digits, tiny_spec, tiny_trainer


def advanced(trainer: Trainer, steps: int) -> str:
    for _ in range(steps):
        trainer.advance()
    return trainer.digest()


def varied(**changes: Any) -> Trainer:
    return tiny_trainer(tiny_spec(**changes))


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd"},
    "adam": {"name": "adam"},
    "sgd with cycled momentum": {"name": "sgd", "momentum_min": 0.5},
}


@pytest.mark.parametrize(
    ("method", "optimizer", "model"),
    [
        *((method, "sgd", "preact_resnet") for method in METHODS),
        *(("fgsm", "sgd", model) for model in SMALL_MODELS),
        *(("fgsm", optimizer, "preact_resnet") for optimizer in OPTIMIZERS),
    ],
)
def test_training_from_a_snapshot_retraces_every_bit(method: str, optimizer: str, model: str) -> None:
    def fresh() -> Trainer:
        return varied(
            data={"augment": "crop_flip"},
            interventions=[{"kind": "inject"}],
            model=SMALL_MODELS[model],
            method={"name": method, "epsilon": "16/255"},
            optimizer={**OPTIMIZERS[optimizer], "lr_max": 0.01, "batch_size": 64, "epochs": 2},
        )

    straight, rewound = fresh(), fresh()
    digests = [advanced(straight, 1) for _ in range(6)]
    advanced(rewound, 3)
    snapshot = rewound.snapshot()
    for _ in range(3):  # a snapshot stays usable after it was restored and trained on
        assert [advanced(rewound, 1) for _ in range(3)] == digests[3:]
        rewound.restore(snapshot)
        assert (rewound.digest(), rewound.step, rewound.lr) == (digests[2], 3, snapshot["lr"])
    assert len(set(digests)) == 6


def test_restoring_brings_the_training_metrics_back() -> None:
    straight, rewound = varied(), varied()
    advanced(straight, 5)
    advanced(rewound, 3)
    snapshot = rewound.snapshot()
    advanced(rewound, 4)
    rewound.take_train_metrics()
    rewound.restore(snapshot)
    advanced(rewound, 2)
    assert rewound.take_train_metrics() == straight.take_train_metrics()


def test_probing_in_between_changes_nothing() -> None:
    probed, left_alone = varied(), varied()
    x, y = probed.data.test_subset(32)
    prober = Prober(x, y, ThreatModel(0.1, probed.data.box), 2, seed=0)
    for _ in range(5):
        before = probed.digest()
        prober.measure(probed.model)
        torch.rand(3)
        assert probed.digest() == before
        assert advanced(probed, 1) == advanced(left_alone, 1)


def test_same_spec_gives_the_same_weights_and_another_seed_others() -> None:
    one, same, other = (advanced(varied(seed=seed), 5) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_an_injection_of_strength_zero_is_no_injection_bit_for_bit() -> None:
    """Images once kept the strides of the array they came in, and one channel then chose another kernel."""
    injected = varied(interventions=[{"kind": "inject", "beta": 0}], model={"name": "preact_resnet", "width": 8})
    plain = varied(interventions=[], model={"name": "preact_resnet", "width": 8})
    index = torch.arange(64)
    assert injected.data.train_batch(index, 0)[0].stride() == plain.data.train_batch(index, 0)[0].stride()
    assert advanced(injected, 4) == advanced(plain, 4)


def test_the_seed_changes_weights_order_and_noise() -> None:
    one, other = varied(seed=1), varied(seed=2)
    assert one.digest() != other.digest()
    assert not torch.equal(one.data.epoch_order(0), other.data.epoch_order(0))


def test_digest_sees_one_bit_of_one_weight_and_the_buffers() -> None:
    trainer = varied()
    seen = {trainer.digest()}
    with torch.no_grad():
        weight = next(trainer.model.parameters()).view(-1)
        weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
        seen.add(trainer.digest())
        dict(trainer.model.named_buffers())["0.mean"].add_(1e-3)
        seen.add(trainer.digest())
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("examples", "batch", "sizes"), [(70, 64, [64, 6]), (64, 64, [64]), (65, 64, [64, 1]), (10, 64, [10])]
)
def test_every_example_is_trained_on_in_every_epoch_the_short_last_batch_too(
    examples: int, batch: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = varied(data={"train_examples": examples}, optimizer={"batch_size": batch, "epochs": 2})
    seen: list[Tensor] = []
    draw = trainer.data.train_batch

    def recorded(index: Tensor, step: int) -> tuple[Tensor, Tensor]:
        seen.append(index)
        return draw(index, step)

    monkeypatch.setattr(trainer.data, "train_batch", recorded)
    assert (trainer.steps_per_epoch, trainer.total_steps) == (len(sizes), 2 * len(sizes))
    advanced(trainer, trainer.total_steps)
    assert [len(index) for index in seen] == sizes * 2
    epochs = torch.cat(seen).view(2, examples)
    assert torch.equal(epochs.sort(dim=1).values, torch.arange(examples).expand(2, -1))
    assert examples < 11 or not torch.equal(epochs[0], epochs[1])
    assert trainer.epoch == 2.0


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_rate_follows_the_schedule_at_the_middle_of_each_step(schedule: str, optimizer: str) -> None:
    trainer = varied(
        data={"train_examples": 64},
        optimizer={"name": optimizer, "schedule": schedule, "lr_max": 0.03, "peak": 0.4, "batch_size": 16, "epochs": 2},
    )
    for step in range(trainer.total_steps):
        trainer.advance()
        expected = 0.03 * SCHEDULES[schedule]((step + 0.5) / 8, 0.4)
        assert trainer.lr == expected
        assert [group["lr"] for group in trainer.optimizer.param_groups] == [expected]


@pytest.mark.parametrize("peak", [0.4, 0.5])
def test_momentum_is_cycled_as_torchs_cyclic_schedule_does_half_a_step_later(peak: float) -> None:
    trainer = varied(
        data={"train_examples": 80},
        optimizer={"lr_max": 0.03, "momentum_min": 0.8, "peak": peak, "batch_size": 16, "epochs": 2},
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.03, momentum=0.9)
    up = round(20 * peak)  # over twice the steps, so that every other value is that of the middle of one
    scheduler = CyclicLR(optimizer, base_lr=0.0, max_lr=0.03, step_size_up=up, step_size_down=20 - up)
    optimizer.step()
    for _ in range(trainer.total_steps):
        scheduler.step()
        trainer.advance()
        for name in ("lr", "momentum"):
            found, expected = (o.param_groups[0][name] for o in (trainer.optimizer, optimizer))
            assert found == pytest.approx(expected, abs=1e-12)
        scheduler.step()


def test_momentum_stays_what_it_is_if_nothing_else_is_said() -> None:
    trainer = varied()
    advanced(trainer, trainer.total_steps // 2)
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.9
    cycled = varied(optimizer={"momentum_min": 0.9})
    assert advanced(cycled, trainer.step) == trainer.digest()
    assert advanced(varied(optimizer={"momentum_min": 0.8}), trainer.step) != trainer.digest()


def test_training_metrics_are_means_over_examples_not_over_batches() -> None:
    trainer = varied(
        data={"train_examples": 13}, model={"name": "small_cnn"}, method={"epsilon": 0},
        optimizer={"batch_size": 10, "epochs": 1},
    )  # fmt: skip
    losses, hits = 0.0, 0
    for rows in (slice(0, 10), slice(10, 13)):
        index = trainer.data.epoch_order(0)[rows]
        with torch.no_grad():
            logits = trainer.model(trainer.data.x_train[index])
        losses += functional.cross_entropy(logits, trainer.data.y_train[index], reduction="sum").item()
        hits += int((logits.argmax(dim=1) == trainer.data.y_train[index]).sum())
        trainer.advance()
    means = trainer.take_train_metrics()
    assert means.train_loss == pytest.approx(losses / 13, rel=1e-5)
    assert means.train_acc == pytest.approx(hits / 13)
    assert (means.train_abnormal, means.train_gain) == (0.0, 0.0)  # with epsilon 0 nothing changes


def test_training_metrics_start_anew_after_they_were_taken() -> None:
    trainer, other = varied(), varied()
    advanced(trainer, 2)
    trainer.take_train_metrics()
    advanced(trainer, 1)
    advanced(other, 2)
    other.take_train_metrics()
    other.advance()
    assert trainer.take_train_metrics() == other.take_train_metrics()


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss(method: str) -> None:
    trainer = varied(method={"name": method, "epsilon": "4/255"}, optimizer={"epochs": 8}, model={"width": 8})
    advanced(trainer, 4)
    at_first = trainer.take_train_metrics().train_loss
    advanced(trainer, trainer.total_steps - 8)
    trainer.take_train_metrics()
    advanced(trainer, 4)
    at_last = trainer.take_train_metrics().train_loss
    assert at_last < 0.7 * at_first


def test_the_model_learns_from_the_training_images_it_was_given() -> None:
    trainer = varied(data={"train_examples": 100})
    assert trainer.data.train_examples == 100
    assert torch.equal(trainer.data.y_train, torch.tensor(digits(100).y_train))
