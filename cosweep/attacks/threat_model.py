"""The threat model: which perturbations an attack may choose from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cosweep.attacks.projection import Norm, clip_ball, clip_box
from cosweep.units import Box


@dataclass(frozen=True)
class ThreatModel:
    """All perturbations whose norm is at most epsilon and that leave the image in the box.

    Attributes:
        epsilon: Radius of the ball, on the pixel scale.
        box: Range of valid pixels.
        norm: Of the ball, and of the steps of attacks.
    """

    epsilon: float
    box: Box
    norm: Norm = "linf"

    def clip(self, delta: Tensor, x: Tensor) -> Tensor:
        """``delta`` (N, C, H, W) clipped to the ball, then to the box around ``x``."""
        return clip_box(clip_ball(delta, self.epsilon, self.norm), x, self.box)
