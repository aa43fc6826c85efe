"""Several workers train, probe and judge as one does on the same global batch; law over all methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cosweep.data import batches
from cosweep.data.batches import DeviceData
from cosweep.errors import CosweepError
from cosweep.methods import METHODS
from cosweep.parallel import ALONE, Workers
from cosweep.training import run_trial
from cosweep.training.trainer import Trainer
from cosweep.training.trial_spec import TrialSpec
from tests.group import run_group
from tests.tiny import CPU, digits, tiny_spec

STEPS = 6  # two epochs, so that what is remembered for an example is used
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"method": {"name": name, "epsilon": "32/255"}} for name in METHODS},
    "eval mode": {"method": {"name": "n_fgsm", "epsilon": "32/255", "attack_mode": "eval"}},
    "grad_align as released": {"method": {"name": "grad_align", "epsilon": "32/255", "as_released": True}},
    "free as released": {"method": {"name": "free", "epsilon": "32/255", "replays": 2, "as_released": True}},
    "l2": {"method": {"name": "pgd", "epsilon": 0.5, "norm": "l2", "steps": 2}},
    "elle on noise": {"method": {"name": "elle", "epsilon": "16/255", "base": "n_fgsm"}},
    "aaer on noise": {"method": {"name": "aaer", "epsilon": "32/255", "base": "n_fgsm", "fall_gradient": True}},
    "pgd after a check": {"method": {"name": "fast_adv_plus", "epsilon": "32/255", "check_every": 2, "drop": 0.0}},
    "torchvision": {
        # Narrow ones magnify rounding: a weight of shufflenet_v2 moved by 1e-13 moves its loss by .02 in two steps.
        "model": {"name": "torchvision", "architecture": "resnet18"},
        "method": {"name": "fgsm", "epsilon": 0.5, "norm": "l2"},  # pixels skipped by strides have a gradient of 0
        "data": {"train_examples": 160},  # two examples' statistics and long steps of a deep network magnify rounding
        "optimizer": {"lr_max": 0.001},
    },
    "no batch norm": {"model": {"name": "small_cnn"}},
    "adam": {"optimizer": {"name": "adam", "lr_max": 0.01}},
    "augmented": {"data": {"augment": "crop_flip"}},
}


def spec_of(variant: str) -> TrialSpec:
    """Batches of 64, 64 and 2, which no three workers share equally; one has no row of the last."""
    changes = VARIANTS[variant]
    return tiny_spec(**{**changes, "data": {"train_examples": 130, **changes.get("data", {})}})


def trained(workers: Workers, variant: str) -> dict[str, Any]:
    """State after some steps in double precision, in which rounding turns no sign of a gradient."""
    spec = spec_of(variant)
    data = DeviceData(digits(spec.data.train_examples), spec.data, spec.interventions, spec.seed, CPU)
    for name in ("x_train", "x_test", "mean", "std"):
        setattr(data, name, getattr(data, name).double())
    trainer = Trainer(spec, data, CPU, workers)
    for _ in range(STEPS):
        trainer.advance()
    state = {name: value.double() for name, value in trainer.snapshot()["memory"].items()}
    metrics = trainer.take_train_metrics()._asdict()
    return {"digest": trainer.digest(), **metrics, **trainer.model.state_dict(), **state}


def all_trained(workers: Workers) -> dict[str, dict[str, Any]]:
    torch.set_default_dtype(torch.float64)
    try:
        return {variant: trained(workers, variant) for variant in VARIANTS}
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    return all_trained(ALONE)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_group(all_trained, 3, tmp_path_factory.mktemp("group"))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_workers_end_with_the_weights_the_memory_and_the_metrics_of_a_lone_one(
    variant: str, alone: dict[str, dict[str, Any]], together: list[dict[str, Any]]
) -> None:
    expected = {name: value for name, value in alone[variant].items() if name != "digest"}
    for found in together:
        assert found[variant].keys() == alone[variant].keys()
        for name, value in expected.items():
            other = found[variant][name]
            if value is None:  # a method without such a pass says so, on several workers too
                assert other is None, name
                continue
            kind = value if isinstance(value, Tensor) else torch.tensor(value)
            other = torch.as_tensor(other)
            torch.testing.assert_close(other, kind, rtol=1e-6, atol=1e-9, msg=f"{name}: {other} is not {kind}")


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_workers_have_the_same_bits(variant: str, together: list[dict[str, Any]]) -> None:
    assert len({found[variant]["digest"] for found in together}) == 1


BREAKS = {
    "data": {"source": "digits"},
    "interventions": [{"kind": "inject", "beta": "32/255"}],
    "model": {"width": 8},
    "method": {"epsilon": "128/255"},
    "optimizer": {"epochs": 6},
    "probe": {"every": None, "examples": 128, "pgd_steps": 10, "snapshots": 1},
    "final": {"steps": 5, "restarts": 2, "examples": 129, "on": ["injected", "clean"]},
    "stop": {"co": {"after_steps": 20}},
}
FEW: dict[str, Any] = {"probe": {"examples": 1}, "final": {"examples": 1, "restarts": 2}}


def outcome(workers: Workers, changes: dict[str, Any]) -> tuple[Any, ...]:
    """Verdict, curve and final evaluation of a whole trial in double precision."""
    images = batches._images
    torch.set_default_dtype(torch.float64)
    batches._images = lambda *arguments: images(*arguments).double()
    try:
        run = run_trial(tiny_spec(**changes), dataset=digits(None if changes is BREAKS else 256), workers=workers)
        losses = [(probe.train_loss, probe.grad_cos) for probe in run]
        assert run.workers is workers
        counted = [(p.step, p.train_acc, p.clean_acc, p.fgsm_acc, p.pgd_acc) for p in run.curve]
        return run.verdict, run.status, run.steps, run.final, counted, losses
    finally:
        batches._images = images
        torch.set_default_dtype(torch.float32)


def outcomes(workers: Workers) -> list[tuple[Any, ...]]:
    return [outcome(workers, changes) for changes in (BREAKS, FEW)]


@pytest.mark.slow
def test_two_workers_judge_as_one_does_and_both_know_it(tmp_path: Path) -> None:
    """Looks, the replay and its check are in it; in the second trial one of the workers has nothing to measure."""
    alone, both = outcomes(ALONE), run_group(outcomes, 2, tmp_path)
    assert both[0] == both[1]
    assert alone[0][0].co
    for one, two in zip(alone, both[0], strict=True):
        assert two[:-1] == one[:-1]
        for measured, expected in zip(two[-1], one[-1], strict=True):
            assert measured == pytest.approx(expected, rel=1e-6)


def test_a_network_that_draws_as_it_trains_is_refused() -> None:
    spec = tiny_spec(model={"name": "torchvision", "architecture": "efficientnet_b0"})
    data = DeviceData(digits(256), spec.data, spec.interventions, spec.seed, CPU)
    with pytest.raises(CosweepError, match=r"several workers cannot draw as one does; set resources\.workers to 1"):
        Trainer(spec, data, CPU, Workers(0, 2))


def test_rows_are_shared_out_in_order_and_none_is_left_out() -> None:
    for total in (0, 1, 2, 3, 64, 65):
        parts = [range(total)[Workers(rank, 3).rows(total)] for rank in range(3)]
        assert [row for part in parts for row in part] == list(range(total))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
