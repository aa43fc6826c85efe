"""The image classifiers of torchvision, by name, untrained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from cosweep.errors import CosweepError, Fault, unknown_name
from cosweep.models.base import Model

_LEFT_OUT = {  # beginning of the name, and why
    ("alexnet", "vgg"): "its adaptive pooling has no deterministic gradient on a GPU, so no training could be retraced",
    ("googlenet", "inception_v3"): "in training it returns logits of auxiliary heads besides its own",
}


@dataclass(frozen=True, kw_only=True)
class TorchvisionModel(Model):
    """A classifier of torchvision, untrained, for larger images; not alexnet, vgg*, googlenet and inception_v3.

    Those are left out: the first two cannot be retraced on a GPU, the others return more than logits.
    """

    name: ClassVar[str] = "torchvision"
    source: ClassVar[str] = "torchvision.models"
    draws: ClassVar[bool] = True

    architecture: str = "resnet50"

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        known = architectures()
        if self.architecture in known:
            return
        if why := _why_left_out(self.architecture):
            yield Fault("architecture", f"{self.architecture!r} is left out: {why}; use another, such as resnet18")
        else:
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

    return [name for name in models.list_models(module=models) if not _why_left_out(name)]


def _why_left_out(architecture: str) -> str:
    """Why a network of torchvision cannot be named; empty if it is not one of those."""
    return next((why for names, why in _LEFT_OUT.items() if architecture.startswith(names)), "")


class _GreyToColour(nn.Module):
    """(N, 1, H, W) images as (N, 3, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)
