"""The signals that training gives at no extra pass."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from cosweep.methods import METHODS, Batch
from cosweep.parallel import ALONE
from cosweep.seeding import RandomStream
from cosweep.training.train_metrics import TrainMeans, TrainMetrics
from tests.tiny import CPU, UNIT_BOX
from tests.training.test_trainer import advanced, varied

PGD_OR_FREE = {"pgd", "free"}


def logits_of(right: list[float]) -> torch.Tensor:
    """Logits of two classes, of which the first, the label, has this margin."""
    return torch.tensor([[margin, 0.0] for margin in right])


def counted(metrics: TrainMetrics, before: list[float] | None, after: list[float]) -> None:
    n = len(after)
    batch = Batch(torch.zeros(n, 1, 2, 2), torch.zeros(n, dtype=torch.long), UNIT_BOX, RandomStream(0), torch.arange(n))
    if before is not None:
        batch.show_start(logits_of(before))
    logits = logits_of(after)
    metrics.add(functional.cross_entropy(logits, batch.y), logits, batch)


def test_abnormal_examples_and_the_gain_are_counted() -> None:
    metrics = TrainMetrics(CPU)
    counted(metrics, before=[1.0, 1.0, -1.0, 2.0], after=[-1.0, 0.5, 1.0, 3.0])  # wrong, lower, right, higher
    means = metrics.take(ALONE)
    assert (means.train_acc, means.train_abnormal, means.train_gain) == (0.75, 0.5, 0.0)
    counted(metrics, before=[-1.0, -1.0], after=[1.0, -2.0])
    counted(metrics, before=[-1.0, 1.0], after=[1.0, 0.5])
    means = metrics.take(ALONE)
    assert (means.train_acc, means.train_abnormal, means.train_gain) == (0.75, 0.5, 0.5)
    assert metrics.take(ALONE) == TrainMeans(0.0, 0.0, None, None)


def test_steps_that_show_no_start_count_for_loss_and_accuracy_alone() -> None:
    metrics = TrainMetrics(CPU)
    counted(metrics, before=None, after=[1.0, 1.0, -1.0])
    counted(metrics, before=[1.0], after=[2.0])
    means = metrics.take(ALONE)
    assert (means.train_acc, means.train_abnormal, means.train_gain) == (0.75, 1.0, 0.0)


def test_a_snapshot_holds_the_sums() -> None:
    metrics, other = TrainMetrics(CPU), TrainMetrics(CPU)
    counted(metrics, [1.0, -1.0], [0.5, 1.0])
    other.restore(metrics.snapshot())
    for each in (metrics, other):
        counted(each, [1.0], [2.0])
    assert metrics.take(ALONE) == other.take(ALONE)


@pytest.mark.parametrize("name", METHODS)
def test_every_single_step_method_gives_the_signals(name: str) -> None:
    """That they take no pass is among the laws of methods: the stated cost is the number of passes made."""
    trainer = varied(method={"name": name, "epsilon": "4/255"})
    advanced(trainer, 2)
    means = trainer.take_train_metrics()
    if name in PGD_OR_FREE:
        assert means.train_abnormal is None
        assert means.train_gain is None
    else:
        assert means.train_abnormal is not None
        assert means.train_gain is not None
        assert 0 <= means.train_abnormal <= 1
        assert -1 <= means.train_gain <= 1
