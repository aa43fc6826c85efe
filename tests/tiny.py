"""Small real things to test with: batches, models, data sets and trials that run in a blink."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cosweep.data import Dataset
from cosweep.data.batches import DeviceData
from cosweep.data.sources import Digits
from cosweep.training import TrialSpec
from cosweep.training.trainer import Trainer
from cosweep.units import Box

CPU = torch.device("cpu")
UNIT_BOX = Box(0.0, 1.0)


def batch(n: int, shape: tuple[int, int, int] = (1, 8, 8), classes: int = 10, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random images (n, C, H, W) in [0, 1], zeros and ones among them, and labels."""
    rng = torch.Generator().manual_seed(seed)
    x = (torch.rand(n, *shape, generator=rng) * 1.4 - 0.2).clamp(0, 1)
    return x, torch.randint(classes, (n,), generator=rng)


def linear_model(shape: tuple[int, int, int] = (1, 8, 8), classes: int = 10, seed: int = 0) -> nn.Sequential:
    """Flatten and one linear layer with fixed random weights."""
    return _seeded(seed, lambda: nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes)))


def convolutional_model(channels: int = 1, classes: int = 10, seed: int = 0) -> nn.Sequential:
    """Convolution, batch norm, ReLU, pooling and a linear layer: weights, buffers and two modes."""
    return _seeded(
        seed,
        lambda: nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes)
        ),
        torch.zeros(2, channels, 8, 8),
    )


class Sine(nn.Module):
    """Waves in place of kinks."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(15 * x)


def smooth_model(channels: int = 1, classes: int = 10, seed: int = 0) -> nn.Sequential:
    """Two convolutions with a sine between: a loss that is curved everywhere, and no other layers."""
    return _seeded(
        seed,
        lambda: nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), Sine(), nn.Conv2d(8, classes, 8), nn.Flatten()),
    )


def _seeded(seed: int, make: Any, example: Tensor | None = None) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Sequential = make()
        if example is not None:
            model.eval()(example)
    return model.train()


def random_dataset(train: int = 30, test: int = 20, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> Dataset:
    """Random grey levels and labels."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (train + test, *shape), dtype=np.uint8)
    y = rng.integers(0, 10, train + test)
    return Dataset(x[:train], y[:train], x[train:], y[train:], num_classes=10)


_TINY: dict[str, Mapping[str, Any]] = {
    "data": {"source": "digits", "train_examples": 256},
    "model": {"name": "preact_resnet", "width": 4, "blocks": [1, 1]},
    "method": {"name": "fgsm", "epsilon": "16/255"},
    "optimizer": {"batch_size": 64, "epochs": 2},
    "probe": {"every": 3, "examples": 64, "pgd_steps": 4},
    "final": {"steps": 2, "restarts": 1, "examples": 64},
}


def tiny_spec(**changes: Any) -> TrialSpec:
    """Eight steps on 256 digits; ``changes`` are merged into the sections they name, unless they name a component."""
    raw = {section: _merged(_TINY.get(section, {}), changed) for section, changed in {**_TINY, **changes}.items()}
    return TrialSpec.from_dict(raw)


def _merged(tiny: Mapping[str, Any], changed: Any) -> Any:
    if not isinstance(changed, Mapping):
        return changed
    same = all(changed[key] == tiny[key] for key in ("name", "source") if key in changed and key in tiny)
    return {**tiny, **changed} if same else changed


@cache
def digits(train_examples: int | None = None) -> Dataset:
    """The digits, read once."""
    return Digits(train_examples=train_examples).load()


def tiny_trainer(spec: TrialSpec) -> Trainer:
    """Trainer of a spec whose data are digits."""
    dataset = digits(spec.data.train_examples)
    data = DeviceData(dataset, spec.data, spec.interventions, spec.seed, CPU)
    return Trainer(spec, data, CPU)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {name: value.clone() for name, value in model.state_dict().items()}
