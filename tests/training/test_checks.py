"""Faults that only the images can tell: found before any trial starts, with a remedy that is one."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from typing import Any

import pytest

from cosweep.data import Dataset, ImageSet
from cosweep.data.interventions import BoundIntervention
from cosweep.data.pass_filters import LowPass
from cosweep.diagnostics import DIAGNOSTICS
from cosweep.errors import Fault
from cosweep.training import TrialSpec
from cosweep.training.checks import Checker
from tests.tiny import digits, random_dataset, tiny_spec


def faults(spec: TrialSpec, dataset: Dataset | None = None) -> list[Fault]:
    return list(Checker().faults(spec, digits(256) if dataset is None else dataset))


@pytest.mark.parametrize(("architecture", "draws"), [("resnet18", False), ("efficientnet_b0", True)])
def test_a_network_that_draws_as_it_trains_is_refused_for_several_workers_alone(architecture: str, draws: bool) -> None:
    spec = tiny_spec(model={"name": "torchvision", "architecture": architecture})
    assert list(Checker().faults(spec, digits(256))) == []
    found = list(Checker(workers=2).faults(spec, digits(256)))
    assert [fault.path for fault in found] == ["model"] * draws
    assert all("draws random numbers as it trains (dropout or its like)" in fault.message for fault in found)


def only_fault(spec: TrialSpec, dataset: Dataset | None = None) -> Fault:
    (fault,) = faults(spec, dataset)
    return fault


def number_after(text: str, message: str) -> float:
    found = re.search(re.escape(text) + r" ([0-9.]+(?:e[+-]?[0-9]+)?)", message)
    assert found, message
    return float(found[1])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"interventions": [{"kind": "low_pass", "bandwidth": 8}, {"kind": "grouped", "groups": 10}]},
        {"final": {"attack": "autoattack"}, "method": {"norm": "l2"}},
        {"probe": {"diagnostics": [{"name": name, "examples": 1} for name in DIAGNOSTICS], "diagnostic_every": 3}},
    ],
)
def test_a_trial_that_can_run_has_no_faults(changes: dict[str, Any]) -> None:
    assert faults(tiny_spec(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            {"interventions": [{"kind": "low_pass", "bandwidth": 9}]},
            "interventions.0",
            "bandwidth must be at most 8, the smaller side of images of 8x8; got 9",
        ),
        (
            {"interventions": [{"kind": "inject"}, {"kind": "high_pass", "bandwidth": 16}]},
            "interventions.1",
            "bandwidth must be at most 8, the smaller side of images of 8x8; got 16",
        ),
        (
            {"interventions": [{"kind": "band_stop", "band_low": 2, "band_high": 12}]},
            "interventions.0",
            "band_high must be at most 8, the smaller side of images of 8x8; got 12",
        ),
        (
            {"interventions": [{"kind": "grouped", "groups": 11}]},
            "interventions.0",
            "groups must be at most 10, the number of classes; got 11",
        ),
        (
            {"model": {"name": "small_cnn", "low_pass": 9}},
            "model",
            "low_pass must be at most 8, the smaller side of images of 8x8; got 9",
        ),
        (
            {"model": {"name": "torchvision", "architecture": "convnext_tiny"}},
            "model",
            r"architecture: convnext_tiny} cannot train on a batch of 64 images of 8x8 with 1 channel: .*size; give "
            r"another model, image size \(data\.size\) or batch size",
        ),
        (
            # The last batch of an epoch has one example, and batch norm of one pixel of one example fails.
            {"optimizer": {"batch_size": 51}, "model": {"blocks": [1, 1, 1, 1]}},
            "model",
            "cannot train on a batch of 1 image of 8x8 with 1 channel: Expected more than 1 value per channel",
        ),
        (
            {"probe": {"every": 4}},
            "probe.every",
            "4 leaves 2 probes in 8 steps; detector collapse needs 3: probe every 2 or train longer",
        ),
        (
            {"probe": {"every": 8}},
            "probe.every",
            "8 leaves 1 probe in 8 steps; detector collapse needs 3: probe every 2 or train longer",
        ),
        (
            {"probe": {"every": 1}, "optimizer": {"batch_size": 256, "epochs": 2}},
            "optimizer.epochs",
            "leave 2 steps; detector collapse needs 3 probes: train longer",
        ),
        (
            # 64 examples of 22 passes and 64 of 13, against 3 steps on 64 examples of 4 passes each.
            {"probe": {"diagnostics": [{"name": "curvature"}, {"name": "ray"}]}},
            "probe.diagnostics",
            r"cost 2\.92 times the training between two measurements, by passes through the network \(most: "
            r"curvature\), and may cost 1; set probe\.diagnostic_every to 3, give them fewer examples, or set "
            r"probe\.diagnostic_limit to 2\.92",
        ),
    ],
)
def test_each_fault_is_told_at_its_place_with_the_remedy(changes: dict[str, Any], path: str, message: str) -> None:
    fault = only_fault(tiny_spec(**changes))
    assert fault.path == path
    assert re.search(message, fault.message), fault.message
    assert "\n" not in fault.message


def test_all_faults_of_a_trial_are_told_together() -> None:
    spec = tiny_spec(
        interventions=[{"kind": "grouped", "groups": 11}, {"kind": "low_pass", "bandwidth": 9}],
        model={"name": "small_cnn", "low_pass": 9},
        probe={"every": 100, "diagnostics": [{"name": "curvature"}], "diagnostic_limit": 0.001},
    )
    paths = ["interventions.0", "interventions.1", "model", "probe.every", "probe.diagnostics"]
    assert [fault.path for fault in faults(spec)] == paths


def test_a_missing_package_is_a_fault_of_trials_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    spec = tiny_spec(final={"attack": "autoattack"})
    message = "attack autoattack needs the package pyautoattack; pip install pyautoattack"
    assert only_fault(spec) == Fault("final.attack", message)
    assert faults(tiny_spec()) == []


@pytest.mark.parametrize(("side", "norm", "fits"), [(24, "l2", False), (24, "linf", True), (4, "l2", False)])
def test_images_that_square_cannot_tile_are_a_fault_in_l2(side: int, norm: str, fits: bool) -> None:
    """Such a trial once failed in its final evaluation, after the whole training."""
    spec = tiny_spec(final={"attack": "autoattack"}, method={"norm": norm})
    found = faults(spec, random_dataset(256, 20, (1, side, side)))
    assert [fault.path for fault in found] == ([] if fits else ["final.attack"])
    assert fits or f"cannot take images of {side}x{side}" in found[0].message


# --- the advice is enough, and no more than that ---------------------------------------------------------------------

COSTLY = [
    (["curvature"], {"every": 3}, 64, {"name": "fgsm"}),
    (["curvature", "ray", "delta_cos", "delta_spectrum", "abnormal"], {"every": 1}, 8, {"name": "fgsm"}),
    (["curvature", "delta_cos"], {"every": 2, "pgd_steps": 50, "diagnostic_limit": 0.3}, 64, {"name": "pgd"}),
    (["ray"], {"every": 2, "diagnostic_limit": 0.05}, 100, {"name": "free"}),
    (["delta_spectrum"], {"every": 1, "diagnostic_limit": 0.7}, 3, {"name": "n_fgsm"}),
    (["abnormal"], {"every": 3, "examples": 10, "diagnostic_limit": 0.001}, 64, {"name": "rs_fgsm"}),
    (["curvature"], {"every": 1, "diagnostic_limit": 1e-5}, 7, {"name": "gat"}),
    (["curvature"], {"every": None, "diagnostic_limit": 0.01}, 7, {"name": "gat"}),
]


def costly(names: Sequence[str], probe: dict[str, Any], size: int, method: dict[str, Any], **more: Any) -> TrialSpec:
    options = {"diagnostics": [{"name": name} for name in names], **probe, **more}
    return tiny_spec(probe=options, optimizer={"batch_size": size}, method={**method, "epsilon": 0.1})


@pytest.mark.parametrize(("names", "probe", "size", "method"), COSTLY)
def test_the_distance_advised_between_diagnostics_is_the_smallest_that_is_enough(
    names: list[str], probe: dict[str, Any], size: int, method: dict[str, Any]
) -> None:
    message = only_fault(costly(names, probe, size, method)).message
    every = int(number_after("set probe.diagnostic_every to", message))
    assert every > 1
    assert faults(costly(names, probe, size, method, diagnostic_every=every)) == []
    still = only_fault(costly(names, probe, size, method, diagnostic_every=every - 1))
    assert still.path == "probe.diagnostics"


@pytest.mark.parametrize(("names", "probe", "size", "method"), COSTLY)
def test_the_limit_advised_is_enough_and_hardly_more(
    names: list[str], probe: dict[str, Any], size: int, method: dict[str, Any]
) -> None:
    """A limit rounded to the nearest was below the cost half of the time."""
    message = only_fault(costly(names, probe, size, method)).message
    limit = number_after("set probe.diagnostic_limit to", message)
    assert faults(costly(names, {**probe, "diagnostic_limit": limit}, size, method)) == []
    still = only_fault(costly(names, {**probe, "diagnostic_limit": 0.98 * limit}, size, method))
    assert still.path == "probe.diagnostics"


def test_no_more_held_out_images_than_the_probe_has_are_counted() -> None:
    few = random_dataset(256, 5)
    spec = tiny_spec(probe={"diagnostics": [{"name": "ray"}], "diagnostic_limit": 0.1})
    cost = 5 * 13 / (4 * 64 * 3)
    assert faults(spec, few) == []
    assert cost < 0.1 < 64 * 13 / (4 * 64 * 3)
    assert only_fault(spec).path == "probe.diagnostics"


@pytest.mark.parametrize(("examples", "batch", "epochs"), [(256, 64, 2), (250, 64, 1), (100, 10, 1), (256, 256, 3)])
def test_the_distance_advised_between_probes_is_enough(examples: int, batch: int, epochs: int) -> None:
    def spec(every: int) -> TrialSpec:
        return tiny_spec(
            data={"train_examples": examples},
            optimizer={"batch_size": batch, "epochs": epochs},
            probe={"every": every},
        )

    every = int(number_after("probe every", only_fault(spec(1000), digits(examples)).message))
    assert faults(spec(every), digits(examples)) == []


# --- shared parts ----------------------------------------------------------------------------------------------------


def test_what_trials_share_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[LowPass] = []
    bind = LowPass.bind

    def counted(self: LowPass, images: ImageSet) -> BoundIntervention:
        bound.append(self)
        return bind(self, images)

    monkeypatch.setattr(LowPass, "bind", counted)
    checker = Checker()
    for bandwidth in (3, 9):
        for seed in (0, 1, 2):
            spec = tiny_spec(interventions=[{"kind": "low_pass", "bandwidth": bandwidth}], seed=seed)
            found = list(checker.faults(spec, digits(256)))
            assert len(found) == (bandwidth == 9)  # told of each trial all the same
    assert [intervention.bandwidth for intervention in bound] == [3, 9]
