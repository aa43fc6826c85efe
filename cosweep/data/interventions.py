"""Interventions: changes to the data, on train and test images alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cosweep.data.carriers import CARRIERS
from cosweep.specs import Component, choice, pixel_quantity

Apply = Callable[[Tensor, Tensor], Tensor]
"""(N, C, H, W) images and (N,) labels to images of the same shape; the input is left as it is."""


@dataclass(frozen=True, kw_only=True)
class Intervention(Component):
    """Base of the interventions. One acts on any batch alone, so it composes with augmentation."""

    key: ClassVar[str] = "kind"

    @abstractmethod
    def bind(self, num_classes: int, shape: tuple[int, int, int], device: torch.device) -> Apply:
        """The intervention as a function of (x, y), ready for images of one shape.

        Raises:
            CosweepError: If it cannot act on these classes or images.
        """


@dataclass(frozen=True, kw_only=True)
class Inject(Intervention):
    """Adds the class's carrier: x + beta * v(y), not clipped, as in the released code."""

    name: ClassVar[str] = "inject"
    source: ClassVar[str] = "Ortiz-Jimenez et al., TMLR 2023, section 3"

    beta: float = pixel_quantity(8 / 255)
    carriers: str = choice("dct_sign", CARRIERS)

    def bind(self, num_classes: int, shape: tuple[int, int, int], device: torch.device) -> Apply:
        carriers = CARRIERS[self.carriers](num_classes, shape).to(device)
        return lambda x, y: inject(x, y, carriers, self.beta)


@dataclass(frozen=True, kw_only=True)
class InjectOrthogonal(Inject):
    """Removes the span of all carriers from x, then injects: the data cannot interfere with v(y)."""

    name: ClassVar[str] = "inject_orthogonal"
    source: ClassVar[str] = "Ortiz-Jimenez et al., TMLR 2023, section 4"

    def bind(self, num_classes: int, shape: tuple[int, int, int], device: torch.device) -> Apply:
        carriers = CARRIERS[self.carriers](num_classes, shape).to(device)
        basis = span_basis(carriers)
        return lambda x, y: inject(project_out(x, basis), y, carriers, self.beta)


def inject(x: Tensor, y: Tensor, carriers: Tensor, beta: float) -> Tensor:
    """Images with their class's carrier added at strength ``beta`` (paper, section 3).

    Args:
        x: (N, C, H, W), pixels in [0, 1].
        y: (N,), integers in [0, K).
        carriers: (K, C, H, W), entries +1 or -1.
        beta: Added amplitude, same scale as ``x``; 8/255 is eight grey levels.

    Returns:
        (N, C, H, W) in [-beta, 1 + beta].
    """
    return x + carriers[y] * beta


def span_basis(carriers: Tensor) -> Tensor:
    """Orthonormal basis (R, C*H*W) of the carriers' span; R is their rank.

    A singular value decomposition, since the paper's ten carriers have rank five: the QR of the
    released code removes five unrelated directions besides.
    """
    flat = carriers.flatten(1).to("cpu", torch.float64)
    _, values, rows = torch.linalg.svd(flat, full_matrices=False)
    rank = int((values > values[0] * 1e-9).sum())
    basis: Tensor = rows[:rank]
    return basis.to(carriers.device, carriers.dtype)


def project_out(x: Tensor, basis: Tensor) -> Tensor:
    """Images (N, C, H, W) without their component in the span of an orthonormal basis (R, C*H*W)."""
    flat = x.flatten(1)
    return (flat - flat @ basis.T @ basis).view_as(x)


INTERVENTIONS: dict[str, type[Intervention]] = {
    "inject": Inject,
    "inject_orthogonal": InjectOrthogonal,
}
