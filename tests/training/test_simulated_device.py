"""What a GPU would do with a trial, on a simulated device: no tensor is left on the CPU, and no step waits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch

from cosweep.data.batches import DeviceData
from cosweep.diagnostics import DIAGNOSTICS
from cosweep.methods import METHODS
from cosweep.metrics import ABLATIONS
from cosweep.training import TrialSpec, run_trial
from cosweep.training.trainer import Trainer
from tests.simulated_device import COPY, DEVICE, LAUNCH, READ, simulated
from tests.tiny import CPU, digits, tiny_spec

METHODS_AND_NORMS = [(name, norm) for name, method in METHODS.items() for norm in method.norms]
ROUNDS_OTHERWISE = {"grad_align"}
"""Their second derivatives take another path for a device that torch does not know, and agree up to rounding."""


def tiny(**changes: Any) -> TrialSpec:
    """Two epochs of four steps, probed twice."""
    probe = {"every": 4, "examples": 32, "pgd_steps": 4} | changes.pop("probe", {})
    final = {"steps": 2, "restarts": 2, "examples": 32} | changes.pop("final", {})
    return tiny_spec(probe=probe, final=final, **changes)


def trained_on(device: torch.device, spec: TrialSpec) -> list[Any]:
    """All numbers of a trial."""
    with simulated():
        run = run_trial(spec, device, dataset=digits(256))
        curve = [asdict(probe) for probe in run]
    snapshots = [asdict(snapshot) for snapshot in run.snapshots]
    return [curve, str(run.verdict), run.robust_acc, {name: str(found) for name, found in run.final.items()}, snapshots]


@pytest.mark.parametrize(("name", "norm"), METHODS_AND_NORMS)
def test_a_step_waits_for_nothing_and_copies_nothing(name: str, norm: str) -> None:
    spec = tiny(method={"name": name, "epsilon": "16/255", "norm": norm}, data={"augment": "crop_flip"})
    with simulated() as counts:
        trainer = Trainer(spec, DeviceData(digits(256), spec.data, spec.interventions, 0, DEVICE), DEVICE)
        trainer.advance()  # which brings the order of its epoch, and a first check of fast_adv_plus
        for _ in range(2):
            counts.clear()
            trainer.advance()
            assert counts[READ] == 0
            assert counts[COPY] == 0
            assert counts[LAUNCH] > 100


@pytest.mark.slow
@pytest.mark.parametrize(("name", "norm"), METHODS_AND_NORMS)
def test_a_method_trains_on_the_device_as_on_the_cpu(name: str, norm: str) -> None:
    spec = tiny(method={"name": name, "epsilon": "16/255", "norm": norm})
    there, here = trained_on(DEVICE, spec), trained_on(CPU, spec)
    if name in ROUNDS_OTHERWISE:
        losses = [[probe["train_loss"] for probe in found[0]] for found in (there, here)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    else:
        assert there == here


EVERY_INTERVENTION: list[dict[str, Any]] = [
    {"kind": "inject", "beta": "24/255"},
    {"kind": "inject", "beta": "24/255", "carriers": "dct_l2", "clamp": True},
    {"kind": "inject", "beta": "24/255", "carriers": "random_sign"},
    {"kind": "inject", "beta": "24/255", "carriers": "high_frequency"},
    {"kind": "inject_orthogonal", "beta": "24/255"},
    {"kind": "low_pass", "bandwidth": 5},
    {"kind": "high_pass", "bandwidth": 5},
    {"kind": "shuffled", "beta": "24/255"},
    {"kind": "shared", "beta": "24/255"},
    {"kind": "grouped", "beta": "24/255", "groups": 5},
    {"kind": "partial", "beta": "24/255", "share": 0.5},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        *({"interventions": [intervention]} for intervention in EVERY_INTERVENTION),
        {"model": {"name": "small_cnn"}},
        {"model": {"name": "wide_resnet", "depth": 10, "width": 1}},
        {"model": {"name": "preact_resnet", "width": 4, "blocks": [1, 1], "low_pass": 4}},
        {"optimizer": {"name": "adam", "lr_max": 0.01, "batch_size": 64, "epochs": 2}},
        {"data": {"source": "digits", "train_examples": 256, "augment": "crop_flip"}},
        {"probe": {"diagnostics": [{"name": name} for name in DIAGNOSTICS], "diagnostic_limit": 1e9, "snapshots": 2}},
        {"interventions": EVERY_INTERVENTION[:1], "final": {"on": list(ABLATIONS)}},
        {"probe": {"every": None}},
    ],
)
def test_all_else_of_a_trial_runs_on_the_device_as_on_the_cpu(changes: dict[str, Any]) -> None:
    spec = tiny(**changes)
    assert str(trained_on(DEVICE, spec)) == str(trained_on(CPU, spec))  # as texts, NaN equals NaN


@pytest.mark.slow
def test_autoattack_runs_on_the_device_as_on_the_cpu(few_queries: None) -> None:
    spec = tiny(final={"attack": "autoattack", "examples": 16})
    assert trained_on(DEVICE, spec) == trained_on(CPU, spec)


def test_the_simulated_device_refuses_what_a_gpu_refuses_and_counts() -> None:
    with simulated() as counts:
        ones = torch.ones(3).to(DEVICE)
        with pytest.raises(RuntimeError, match="tensors of two devices"):
            ones + torch.ones(3)
        assert (ones + 1).sum().item() == 6
        assert ones.cpu().tolist() == [1, 1, 1]
    assert (counts[COPY], counts[READ], counts[LAUNCH]) == (2, 1, 2)
