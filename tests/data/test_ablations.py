"""Ablations: what each shows of intervened images."""

from __future__ import annotations

import pytest
import torch

from cosweep.data.batches import DeviceData
from cosweep.data.carriers import dct_sign
from cosweep.data.injections import Inject, InjectOrthogonal, Shared, Shuffled, another, project_out, span_basis
from cosweep.data.pass_filters import LowPass
from cosweep.data.sources import Digits
from cosweep.metrics import ABLATIONS, Ablation
from tests.tiny import CPU, digits

CARRIERS = dct_sign(10, (1, 8, 8))
BETA = 0.2


def shown(ablation: Ablation, *interventions: Inject | LowPass) -> torch.Tensor:
    x, _ = DeviceData(digits(), Digits(), interventions, 0, CPU).test_subset(40, ablation)
    return x


def originals() -> tuple[torch.Tensor, torch.Tensor]:
    return DeviceData(digits(), Digits(), [], 0, CPU).test_subset(40)


def test_each_ablation_of_an_injection_is_what_its_name_says() -> None:
    x, y = originals()
    feature = BETA * CARRIERS[y]
    expected = {
        "injected": x + feature,
        "clean": x,
        "carrier_only": feature,
        "reversed": x - feature,
        "orthogonal": project_out(x, span_basis(CARRIERS)),
    }
    for ablation in ABLATIONS:
        if ablation != "permuted":
            torch.testing.assert_close(shown(ablation, Inject(beta=BETA)), expected[ablation], atol=1e-5, rtol=0)


def test_permuted_images_carry_the_feature_of_another_class_each() -> None:
    x, y = originals()
    added = shown("permuted", Inject(beta=BETA)) - x
    carried = torch.stack([(added - BETA * c).flatten(1).norm(dim=1) for c in CARRIERS]).argmin(dim=0)
    assert (carried != y).all()
    torch.testing.assert_close(added, BETA * CARRIERS[carried], atol=1e-6, rtol=0)
    assert len(set(((carried - y) % 10).tolist())) > 6


@pytest.mark.parametrize("control", [Shared(beta=BETA), Shuffled(beta=BETA)])
def test_a_control_is_permuted_to_another_carrier_than_its_own(control: Inject) -> None:
    apart = shown("permuted", control) - shown("injected", control)
    assert (apart.flatten(1).abs().amax(dim=1) > BETA).all()


def test_another_carrier_is_fixed_for_an_example_and_all_others_are_drawn() -> None:
    y, example = torch.zeros(5000, dtype=torch.int64), torch.arange(5000)
    wrong = another(y, example, 10)
    counts = torch.bincount(wrong, minlength=10)
    assert counts[0] == 0
    assert counts[1:].min() > 450
    some = torch.tensor([4000, 3])
    assert torch.equal(another(y[some], example[some], 10), wrong[some])


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_interventions_that_add_nothing_still_act(ablation: Ablation) -> None:
    x, _ = originals()
    low = shown("injected", LowPass(bandwidth=4))
    expected = {"clean": x, "carrier_only": torch.zeros_like(x)}.get(ablation, low)
    torch.testing.assert_close(shown(ablation, LowPass(bandwidth=4)), expected, atol=1e-6, rtol=0)


def test_ablations_compose_over_all_interventions() -> None:
    x, y = originals()
    reversed_ = shown("reversed", InjectOrthogonal(beta=BETA), LowPass(bandwidth=8))
    expected = project_out(x, span_basis(CARRIERS)) - BETA * CARRIERS[y]
    torch.testing.assert_close(reversed_, expected, atol=1e-5, rtol=0)
