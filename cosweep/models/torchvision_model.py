"""The image classifiers of torchvision, by name, untrained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from cosweep.errors import CosweepError, Fault, unknown_name
from cosweep.models.base import Model

_NOT_LOGITS = ("googlenet", "inception_v3")  # in training these return logits of auxiliary heads besides
_NOT_DETERMINISTIC = ("alexnet", "vgg")  # adaptive pooling to more than one pixel has no such gradient on a GPU


@dataclass(frozen=True, kw_only=True)
class TorchvisionModel(Model):
    """An image classifier of torchvision, such as ``architecture: resnet50``, untrained; for larger images."""

    name: ClassVar[str] = "torchvision"
    source: ClassVar[str] = "torchvision.models"
    draws: ClassVar[bool] = True

    architecture: str = "resnet50"

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        known = architectures()
        if self.architecture not in known:
            yield Fault("architecture", unknown_name("architecture", self.architecture, known))

    def network(self, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
        from torchvision.models import get_model

        channels, height, width = shape
        if channels not in (1, 3):
            raise CosweepError(
                f"torchvision's networks take images of 1 or 3 channels, got {channels}; use another model"
            )
        options: dict[str, Any] = {}  # the two kinds of network that are built for one size of image
        if self.architecture.startswith("vit_"):
            options = {"image_size": height}
        elif self.architecture.startswith("maxvit_"):
            options = {"input_size": (height, width)}
        network: nn.Module = get_model(self.architecture, weights=None, num_classes=num_classes, **options)
        return network if channels == 3 else nn.Sequential(_GreyToColour(), network)


def architectures() -> list[str]:
    """Names of torchvision's image classifiers that return logits alone and train deterministically on a GPU."""
    # Here and not above, since importing torchvision takes a second.
    from torchvision import models

    return [
        name for name in models.list_models(module=models) if not name.startswith((*_NOT_LOGITS, *_NOT_DETERMINISTIC))
    ]


class _GreyToColour(nn.Module):
    """(N, 1, H, W) images as (N, 3, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)
