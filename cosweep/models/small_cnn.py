"""The smallest network in which catastrophic overfitting has been shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from cosweep.models.base import Model
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class SmallCNN(Model):
    """One convolution with ``filters`` 3x3 filters, ReLU, and a linear layer."""

    name: ClassVar[str] = "small_cnn"
    source: ClassVar[str] = "Andriushchenko and Flammarion, NeurIPS 2020, section 4"

    filters: int = number(4, low=1, high=4096)

    def network(self, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
        channels, height, width = shape
        return nn.Sequential(
            nn.Conv2d(channels, self.filters, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(self.filters * height * width, num_classes),
        )
