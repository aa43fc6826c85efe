"""What an intervention is: a change to the data, on train and test images alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cosweep.specs import Component


@dataclass(frozen=True)
class ImageSet:
    """What an intervention is made ready for.

    Attributes:
        num_classes: K.
        shape: (C, H, W) of an image.
        examples: Number of train and test images together; each has its number.
        device: Where the images are.
    """

    num_classes: int
    shape: tuple[int, int, int]
    examples: int
    device: torch.device


@dataclass(frozen=True)
class BoundIntervention:
    """An intervention ready for images: transform(x) + feature(y, example), clamped or not.

    Attributes:
        transform: Changes images (N, C, H, W) without regard to their labels; None leaves them.
        feature: What is added to images with labels (N,) and numbers (N,), or if its third argument is true, the
            same made of another carrier than the image's own; None adds nothing.
        carriers: (K, C, H, W) patterns that ``feature`` adds multiples of; None without a feature.
        clamp: Whether the result is clipped to [0, 1].
    """

    transform: Callable[[Tensor], Tensor] | None = None
    feature: Callable[[Tensor, Tensor, bool], Tensor] | None = None
    carriers: Tensor | None = None
    clamp: bool = False

    def __call__(
        self, x: Tensor, y: Tensor, example: Tensor, *, strength: float = 1.0, permuted: bool = False
    ) -> Tensor:
        """Intervened images (N, C, H, W), with ``strength`` times the feature; the input is left as it is."""
        out = x.clone() if self.transform is None else self.transform(x)
        if self.feature is not None and strength:
            out = out + strength * self.feature(y, example, permuted)
        return out.clamp(0, 1) if self.clamp else out


@dataclass(frozen=True, kw_only=True)
class Intervention(Component):
    """Base of the interventions. One acts on any batch alone, so it composes with augmentation.

    Attributes:
        clamp: Whether intervened images are clipped to [0, 1]; the released code does not, and a clipped
            image shows less of its feature. A perturbation keeps its bound either way.
    """

    key: ClassVar[str] = "kind"
    idle_at_zero: ClassVar[tuple[str, ...]] = ()
    """Options of which any at 0 leaves every image as it is, so that the trial counts as one without it."""

    clamp: bool = False

    @abstractmethod
    def bind(self, images: ImageSet) -> BoundIntervention:
        """The intervention ready for a set of images.

        Raises:
            CosweepError: If it cannot act on these classes or images.
        """
