"""Learning-rate schedules."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR, MultiStepLR

from cosweep.training.schedules import SCHEDULES, constant, multistep, triangular

PEAKS = [0.0, 0.2, 0.4, 0.5, 1.0]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("peak", PEAKS)
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_a_rate_is_a_positive_fraction_of_the_largest(name: str, peak: float, steps: int) -> None:
    rates = [SCHEDULES[name]((step + 0.5) / steps, peak) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("peak", PEAKS)
def test_the_largest_rate_is_reached(name: str, peak: float) -> None:
    assert max(SCHEDULES[name](step / 1000, peak) for step in range(1001)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("done", "peak", "rate"),
    [
        (0.0, 0.5, 0.0),
        (0.25, 0.5, 0.5),
        (0.5, 0.5, 1.0),
        (0.75, 0.5, 0.5),
        (1.0, 0.5, 0.0),
        (0.2, 0.4, 0.5),
        (0.4, 0.4, 1.0),
        (0.7, 0.4, 0.5),
        (0.0, 0.0, 1.0),
        (0.5, 0.0, 0.5),
        (0.5, 1.0, 0.5),
        (1.0, 1.0, 1.0),
    ],
)
def test_triangular_rises_to_its_peak_and_falls_to_zero(done: float, peak: float, rate: float) -> None:
    assert triangular(done, peak) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("done", "rate"), [(0.0, 1.0), (0.49, 1.0), (0.5, 0.1), (0.74, 0.1), (0.75, 0.01), (0.99, 0.01)]
)
def test_multistep_divides_by_ten_at_one_half_and_three_quarters(done: float, rate: float) -> None:
    assert multistep(done, 0.5) == rate


def test_constant_is_constant() -> None:
    assert {constant(done / 10, 0.5) for done in range(11)} == {1.0}


def test_triangular_is_torchs_cyclic_schedule_half_a_step_later() -> None:
    """CyclicLR over twice the steps has a value in the middle of each."""
    steps = 40
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = CyclicLR(optimizer, base_lr=0.0, max_lr=1.0, step_size_up=steps * 4 // 5, step_size_down=steps * 6 // 5)
    rates = []
    for _ in range(2 * steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert [triangular((step + 0.5) / steps, 0.4) for step in range(steps)] == pytest.approx(rates[1::2], abs=1e-12)


@pytest.mark.parametrize(("milestones", "last"), [([15, 22], 0.01), ([15, 22.5], 0.1)])
def test_multistep_is_torchs_whose_last_milestone_must_be_a_whole_number(milestones: list[float], last: float) -> None:
    """The released code computes milestones as fractions, and of 30 times 391 steps three quarters are none."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = MultiStepLR(optimizer, milestones)  # type: ignore[arg-type]
    rates = []
    for _ in range(30):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    ours = [multistep((step + 0.5) / 30, 0.5) for step in range(30)]
    assert ours[:22] == pytest.approx(rates[:22])
    assert ours[22:] == [0.01] * 8
    assert rates[22:] == pytest.approx([last] * 8)
