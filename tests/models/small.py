"""Models of the menu, small enough to train in a test."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cosweep.models import MODELS, Model

_OPTIONS: dict[str, dict[str, Any]] = {
    "preact_resnet": {"width": 4},
    "preact_resnet18": {"width": 4},
    "wide_resnet": {"depth": 10, "width": 1},
    "torchvision": {"architecture": "resnet18"},
}
SMALL_MODELS: dict[str, dict[str, Any]] = {name: {"name": name, **_OPTIONS.get(name, {})} for name in MODELS}
"""For each model: the section of a trial that asks for it."""


def small(name: str, **options: Any) -> Model:
    """A small model of that name."""
    return MODELS[name](**_OPTIONS.get(name, {}) | options)


def built(
    name: str, shape: tuple[int, int, int] = (1, 8, 8), *, classes: int = 10, seed: int = 0, **options: Any
) -> nn.Sequential:
    """Network of a small model behind a normalisation with mean 0.4 and deviation 0.2."""
    mean, std = torch.full((shape[0],), 0.4), torch.full((shape[0],), 0.2)
    return small(name, **options).build(classes, shape, mean, std, seed)
