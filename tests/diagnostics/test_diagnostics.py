"""Laws over all diagnostics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cosweep.attacks import Norm, ThreatModel, lengths
from cosweep.diagnostics import DIAGNOSTICS
from cosweep.diagnostics.curvature import Curvature
from cosweep.diagnostics.ray import Ray
from cosweep.metrics import ProbeMetrics
from cosweep.results.schema import CURVE_COLUMNS
from cosweep.training.evaluation import Prober
from cosweep.units import Box
from tests.diagnostics.views import measured, view
from tests.tiny import UNIT_BOX, batch, convolutional_model, linear_model, smooth_model, weights_of

WIDE_BOX = Box(-0.5, 1.5)


def values(columns: Mapping[str, Any]) -> list[float]:
    return [v for value in columns.values() for v in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize("name", DIAGNOSTICS)
@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_model_images_and_generators_as_found(name: str, training: bool) -> None:
    model, (x, y) = convolutional_model().train(training), batch(20)
    model(x).sum().backward()
    model[1].train(not training)  # a frozen part stays frozen
    states, images, generator = weights_of(model), x.clone(), torch.get_rng_state()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    modes = [module.training for module in model.modules()]
    Prober(x, y, ThreatModel(0.1, UNIT_BOX), 3, seed=0).diagnose(model, [DIAGNOSTICS[name]()])
    assert all(torch.equal(value, states[key]) for key, value in model.state_dict().items())
    assert len(gradients) == 4 + 2
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)
        assert parameter.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(x, images)
    assert not x.requires_grad
    assert x.grad is None


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_the_same_model_gives_the_same_numbers(name: str) -> None:
    model, (x, y) = smooth_model(), batch(20)
    first = measured(name, model, x, y, epsilon=0.9)
    torch.rand(5)
    with torch.no_grad():  # whatever the caller's mode is
        assert measured(name, model, x, y, epsilon=0.9) == first
    assert measured(name, smooth_model(seed=1), x, y, epsilon=0.9) != first


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_a_diagnostic_measures_the_columns_that_it_declares(name: str) -> None:
    found = measured(name, smooth_model(), *batch(20))
    assert {column.name: column.many for column in DIAGNOSTICS[name].columns} == {
        column: isinstance(value, list) for column, value in found.items()
    }
    assert {type(v) for v in values(found)} == {float}


def test_every_declared_column_is_in_the_schema_once() -> None:
    declared = [column.name for diagnostic in DIAGNOSTICS.values() for column in diagnostic.columns]
    others = {"trial_id"} | {field.name for field in fields(ProbeMetrics)}
    assert sorted(declared) == sorted({column.name for column in CURVE_COLUMNS} - others)


LIMITS = {"delta_cos": (-1.0, 1.0), "curvature": (-math.inf, math.inf), "ray_loss": (0.0, math.inf)}


@pytest.mark.parametrize("name", DIAGNOSTICS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("box", [UNIT_BOX, WIDE_BOX, Box(0.2, 0.8, pulls=True)])
def test_numbers_are_finite_and_within_their_limits_in_either_norm_and_any_box(name: str, norm: Norm, box: Box) -> None:
    x, y = batch(20)
    for column, value in measured(name, smooth_model(), x * 1.6 - 0.3, y, norm=norm, box=box).items():
        low, high = LIMITS.get(column, (0.0, 1.0))
        numbers = value if isinstance(value, list) else [value]
        assert all(math.isfinite(v) and low - 1e-6 <= v <= high + 1e-6 for v in numbers)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_measurement_depends_on_the_norm(norm: Norm) -> None:
    """All but the curvature look at a perturbation."""
    model, (x, y) = smooth_model(), batch(20)
    linf, other = (
        {column: v for name in DIAGNOSTICS for column, v in measured(name, model, x, y, norm=n).items()}
        for n in ("linf", norm)
    )
    differing = {column for column in linf if linf[column] != other[column]}
    assert differing <= linf.keys() - {"curvature"}
    assert ({"delta_cos", "delta_spectrum", "ray_loss"} <= differing) is (norm == "l2")


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("box", [UNIT_BOX, WIDE_BOX])
def test_perturbations_fill_the_ball_and_keep_the_box(norm: Norm, box: Box) -> None:
    x, y = batch(20)
    x = x * (box.high - box.low) + box.low
    seen = view(smooth_model(), x, y, norm=norm, box=box, epsilon=0.2)
    for delta in (seen.fgsm_delta, seen.pgd_delta):
        sizes = delta.abs().flatten(1).amax(dim=1) if norm == "linf" else lengths(delta)
        assert 0.18 < sizes.max() <= 0.2 + 1e-6
        assert (x + delta).min() >= box.low - 1e-6
        assert (x + delta).max() <= box.high + 1e-6
        assert not delta.requires_grad


def test_diagnostics_together_measure_what_each_measures_alone() -> None:
    """Those of as many examples share their perturbations."""
    model, (x, y) = smooth_model(), batch(20)
    prober = Prober(x, y, ThreatModel(0.1, UNIT_BOX), 3, seed=0)
    mixed = [cls(examples=5 if index % 2 else 64) for index, cls in enumerate(DIAGNOSTICS.values())]
    together = prober.diagnose(model, mixed)
    assert together == prober.diagnose(model, mixed[::-1])
    for diagnostic in mixed:
        n = diagnostic.examples
        alone = diagnostic.measure(view(model, x[:n], y[:n]))
        assert {column: together[column] for column in alone} == alone


def test_a_prober_hands_its_own_settings_on() -> None:
    model, (x, y) = smooth_model(), batch(20)
    for name, cls in DIAGNOSTICS.items():
        prober = Prober(x, y, ThreatModel(0.07, WIDE_BOX, "l2"), 5, seed=3)
        settings = {"epsilon": 0.07, "pgd_steps": 5, "box": WIDE_BOX, "seed": 3, "norm": "l2"}
        assert prober.diagnose(model, [cls()]) == measured(name, model, x, y, **settings)


@pytest.mark.parametrize("name", DIAGNOSTICS)
@pytest.mark.parametrize("weight", [math.nan, math.inf, 3e38])
def test_a_network_that_gives_no_finite_numbers_is_measured_without_an_error(name: str, weight: float) -> None:
    """Curvature once failed on the last probe of a diverged trial, which then had no result."""
    model, (x, y) = linear_model(), batch(8)
    with torch.no_grad():
        next(model.parameters()).fill_(weight)
    numbers = values(measured(name, model, x, y))
    assert numbers
    assert name not in ("curvature", "ray") or any(math.isnan(v) for v in numbers)


# --- what each costs -------------------------------------------------------------------------------------------------


class ConvolutionCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context that adds up the multiplications of all convolutions, forward, backward and double backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if "convolution" in str(packet):
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def passes_made(model: nn.Module, name: str, pgd_steps: int, **options: Any) -> float:
    """Passes through a network of convolutions alone, by their multiplications beside those of one forward pass."""
    x, y = batch(6)
    with ConvolutionCounter() as one, torch.no_grad():
        model(x)
    assert one.total > 0
    with ConvolutionCounter() as all_:
        DIAGNOSTICS[name](**options).measure(view(model, x, y, pgd_steps=pgd_steps))
    return float(all_.total / one.total)


@pytest.mark.parametrize("name", [name for name in DIAGNOSTICS if name != "curvature"])
@pytest.mark.parametrize("pgd_steps", [1, 10])
def test_stated_passes_are_those_made(name: str, pgd_steps: int) -> None:
    assert passes_made(smooth_model(), name, pgd_steps) == DIAGNOSTICS[name]().passes(pgd_steps)


@pytest.mark.parametrize("points", [2, 30])
def test_passes_along_the_ray_grow_with_its_points(points: int) -> None:
    assert passes_made(smooth_model(), "ray", 1, points=points) == Ray(points=points).passes(1)


@pytest.mark.parametrize("iterations", [1, 10, 20])
def test_stated_passes_of_curvature_are_within_a_factor_of_two_of_those_made(iterations: int) -> None:
    """A backward pass through a backward pass takes torch three passes by multiplications, and is counted as two."""
    stated = Curvature(iterations=iterations).passes(1)
    made = passes_made(smooth_model(), "curvature", 1, iterations=iterations)
    assert stated <= made <= 2 * stated
