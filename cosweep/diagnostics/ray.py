"""The loss between an image and its FGSM example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from cosweep.attacks import labels_right
from cosweep.diagnostics.base import Diagnostic, Measured, View
from cosweep.metrics import Measurement
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class Ray(Diagnostic):
    """Mean loss at ``points`` steps from x to x + delta_FGSM, and the share of examples with a distorted boundary.

    Distorted is an example that is right at both ends and wrong somewhere between.

    Attributes:
        points: Steps of equal length; the authors' figure takes 100.
    """

    name: ClassVar[str] = "ray"
    source: ClassVar[str] = "Kim et al., AAAI 2021, section 3"
    columns: ClassVar[tuple[Measurement, ...]] = (
        Measurement(
            "distorted_share", "fraction", "share of examples right at both ends of the FGSM ray and wrong between"
        ),
        Measurement("ray_loss", "nats", "mean loss at equal steps from x to x + delta", many=True),
    )

    points: int = number(10, low=2, high=1000)

    def passes(self, pgd_steps: int) -> float:
        return 2 + self.points + 1

    @torch.no_grad()
    def measure(self, view: View) -> Measured:
        losses: list[float] = []
        right: list[torch.Tensor] = []
        for k in range(self.points + 1):
            logits = view.model(view.x + view.fgsm_delta * (k / self.points))
            losses.append(functional.cross_entropy(logits, view.y).item())
            right.append(labels_right(logits, view.y))
        distorted = right[0] & right[-1] & ~torch.stack(right).all(dim=0)
        return {"ray_loss": losses, "distorted_share": int(distorted.sum()) / len(distorted)}
