"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016), without dropout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from cosweep.errors import Fault
from cosweep.models.base import Model
from cosweep.models.preact_resnet import PreActNetwork
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class WideResNet(Model):
    """Wide ResNet, WRN-depth-width: three stages of 16, 32 and 64 channels times ``width``.

    Shortcut convolutions read the pre-activation. Weights start as PyTorch's layers draw them, as in all networks here.

    Attributes:
        depth: 6n + 4 for n blocks in each stage: all convolutions, those of three shortcuts among them.
        width: The widening factor, k in the paper.
    """

    name: ClassVar[str] = "wide_resnet"
    source: ClassVar[str] = "Zagoruyko and Komodakis, BMVC 2016"

    depth: int = number(28, low=10, high=6004)
    width: int = number(10, low=1, high=256)

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        if self.depth % 6 != 4:
            below = self.depth - (self.depth - 4) % 6
            yield Fault("depth", f"must be 6n + 4, got {self.depth}; write {below} or {below + 6}")

    def network(self, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
        widths = [channels * self.width for channels in (16, 32, 64)]
        return PreActNetwork(shape[0], num_classes, 16, widths, [(self.depth - 4) // 6] * 3)
